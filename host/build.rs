//! Builds or finds the components that the crate embeds: the one over SQLite, and with the
//! feature `postgres` the one over PostgreSQL.
//!
//! In the repository the components are built from their sources. The published package
//! has them in `component.wasm` and `postgres.wasm` beside this file, and needs no WASI
//! toolchain. With `WASI_SESSIONS_COMPONENT=<file>` or `WASI_SESSIONS_POSTGRES=<file>`
//! that file is embedded instead; a relative path is resolved from the workspace.

use std::env;
use std::fs;
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
    });
    if env::var_os("CARGO_FEATURE_POSTGRES").is_some() {
        embed(&Component {
            package: "wasi-sessions-postgres",
            sources: &["component/postgres/Cargo.toml", "component/postgres/src"],
            given: "WASI_SESSIONS_POSTGRES",
            packaged: "postgres.wasm",
            embedded: "WASI_SESSIONS_POSTGRES_FILE",
        });
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
}

fn embed(component: &Component) {
    println!("cargo::rerun-if-env-changed={}", component.given);
    let file = match env::var_os(component.given) {
        Some(file) if !file.is_empty() => prebuilt(&wasi::workspace().join(file)),
        _ if is_package() => prebuilt(&manifest_directory().join(component.packaged)),
        _ => {
            let common = ["component/exports", "component/rules"];
            let sources: Vec<_> = common.iter().chain(component.sources).copied().collect();
            wasi::build(component.package, &sources)
        }
    };
    let embedded = file.and_then(|file| wasi::embed(&file, component.embedded));
    // `cargo::error` makes cargo print the line and fail.
    if let Err(error) = embedded {
        println!("cargo::error={error}");
    }
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
