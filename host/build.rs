//! Builds or finds the components that the crate embeds: the one over SQLite, and with the
//! features `mariadb` and `postgres` those over MariaDB and PostgreSQL.
//!
//! In the repository the components are built from their sources. The published package
//! has them in `component.wasm`, `mariadb.wasm` and `postgres.wasm` beside this file, and
//! needs no WASI toolchain. With `WASI_SESSIONS_COMPONENT=<file>`,
//! `WASI_SESSIONS_MARIADB=<file>` or `WASI_SESSIONS_POSTGRES=<file>` that file is embedded
//! instead; a relative path is resolved from the workspace.
//!
//! The component over MariaDB is built only where Rust has its own target for WASI. Elsewhere
//! the feature `mariadb` embeds nothing, with a warning, and the crate refuses MariaDB's URLs.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

#[path = "build/wasi.rs"]
mod wasi;

/// The first bytes of a component; those of a core module differ in the last four.
const COMPONENT_HEADER: &[u8] = b"\0asm\x0d\0\x01\0";

fn main() {
    embed(&Component {
        package: "wasi-sessions-component",
        sources: &["component/sqlite/src"],
        given: "WASI_SESSIONS_COMPONENT",
        packaged: "component.wasm",
        embedded: "WASI_SESSIONS_COMPONENT_FILE",
        fingerprint: "WASI_SESSIONS_COMPONENT_FINGERPRINT",
        has_sockets: false,
    });
    if env::var_os("CARGO_FEATURE_POSTGRES").is_some() {
        embed(&Component {
            package: "wasi-sessions-postgres",
            sources: &["component/postgres/Cargo.toml", "component/postgres/src"],
            given: "WASI_SESSIONS_POSTGRES",
            packaged: "postgres.wasm",
            embedded: "WASI_SESSIONS_POSTGRES_FILE",
            fingerprint: "WASI_SESSIONS_POSTGRES_FINGERPRINT",
            has_sockets: false,
        });
    }
    println!("cargo::rustc-check-cfg=cfg(mariadb_component)");
    if env::var_os("CARGO_FEATURE_MARIADB").is_some() {
        let mariadb = Component {
            package: "wasi-sessions-mariadb",
            sources: &["component/mariadb/Cargo.toml", "component/mariadb/src"],
            given: "WASI_SESSIONS_MARIADB",
            packaged: "mariadb.wasm",
            embedded: "WASI_SESSIONS_MARIADB_FILE",
            fingerprint: "WASI_SESSIONS_MARIADB_FINGERPRINT",
            has_sockets: true,
        };
        if mariadb.is_built() && !wasi::has_sockets() {
            println!(
                "cargo::warning={} is left out: it needs Rust's own target, \
                 `rustup target add wasm32-wasip2`",
                mariadb.package
            );
        } else {
            println!("cargo::rustc-cfg=mariadb_component");
            embed(&mariadb);
        }
    }
}

/// A component that the crate embeds.
struct Component {
    /// The package that it is built from.
    package: &'static str,
    /// The folders of that package alone.
    sources: &'static [&'static str],
    /// The variable of the environment that names a file to embed instead.
    given: &'static str,
    /// Its file in the published package.
    packaged: &'static str,
    /// The variable that names its file to the crate.
    embedded: &'static str,
    /// The variable that gives the crate a hash of that file.
    fingerprint: &'static str,
    /// Whether it uses sockets of the standard library.
    has_sockets: bool,
}

impl Component {
    /// The file in the environment that is to be embedded, if any.
    fn given(&self) -> Option<OsString> {
        println!("cargo::rerun-if-env-changed={}", self.given);
        env::var_os(self.given).filter(|file| !file.is_empty())
    }

    /// Whether it is built from its sources.
    fn is_built(&self) -> bool {
        self.given().is_none() && !is_package()
    }
}

fn embed(component: &Component) {
    let file = match component.given() {
        Some(file) => prebuilt(&wasi::workspace().join(file)),
        None if is_package() => prebuilt(&manifest_directory().join(component.packaged)),
        None => {
            let common = ["component/exports", "component/rules"];
            let sources: Vec<_> = common.iter().chain(component.sources).copied().collect();
            let rustflag = component.has_sockets.then_some(wasi::SOCKETS);
            wasi::build(component.package, &sources, rustflag)
        }
    };
    let embedded = file.and_then(|file| {
        wasi::embed(&file, component.embedded)?;
        give_fingerprint(&file, component.fingerprint)
    });
    // `cargo::error` makes cargo print the line and fail.
    if let Err(error) = embedded {
        println!("cargo::error={error}");
    }
}

/// Sets an environment variable of the crate to a hash of the component.
fn give_fingerprint(component: &Path, name: &str) -> Result<(), String> {
    let bytes = fs::read(component)
        .map_err(|error| format!("{} cannot be read: {error}", component.display()))?;
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    println!("cargo::rustc-env={name}={:016x}", hasher.finish());
    Ok(())
}

/// Whether this is the published package, which has no sources of the component. Not decided
/// by `component.wasm`, which a release may leave behind in the repository.
fn is_package() -> bool {
    !wasi::workspace()
        .join("component/sqlite/Cargo.toml")
        .exists()
}

fn manifest_directory() -> PathBuf {
    env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default().into()
}

/// A component that was built before.
fn prebuilt(file: &Path) -> Result<PathBuf, String> {
    println!("cargo::rerun-if-changed={}", file.display());
    let about = |problem: &str| {
        let file = file.display();
        format!("the component {file} {problem}")
    };
    let start = fs::read(file).map_err(|error| about(&format!("cannot be read: {error}")))?;
    if !start.starts_with(COMPONENT_HEADER) {
        return Err(about("is not a WebAssembly component"));
    }
    Ok(file.to_owned())
}
