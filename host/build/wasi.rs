//! Builds packages of this workspace for WASI, for the build scripts of the
//! crates that embed them.
//!
//! A component is compiled by a separate cargo into a separate directory below the target
//! directory, because its compiler may differ from the host's. All components share that
//! directory, and so one build of the standard library.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, exit};

use toolchain::{TARGET, Toolchain};

mod toolchain;

/// Flags for libsqlite3-sys. They enable what is efficient in WASI (one call for a page
/// instead of a seek and a stream), and omit what a session store does not use.
const SQLITE_FLAGS: &str = "\
    -DUSE_PREAD -DHAVE_FDATASYNC=1 -DSQLITE_MAX_MMAP_SIZE=0 \
    -DSQLITE_DEFAULT_MEMSTATUS=0 -DSQLITE_USE_ALLOCA -DSQLITE_DQS=0 \
    -DSQLITE_LIKE_DOESNT_MATCH_BLOBS -DSQLITE_OMIT_AUTHORIZATION \
    -DSQLITE_OMIT_DATETIME_FUNCS -DSQLITE_OMIT_DEPRECATED -DSQLITE_OMIT_DESERIALIZE \
    -DSQLITE_OMIT_JSON -DSQLITE_OMIT_LOAD_EXTENSION \
    -DSQLITE_OMIT_SHARED_CACHE -DSQLITE_OMIT_TRACE -USQLITE_ENABLE_API_ARMOR \
    -USQLITE_ENABLE_COLUMN_METADATA -USQLITE_ENABLE_DBSTAT_VTAB -USQLITE_ENABLE_FTS3 \
    -USQLITE_ENABLE_FTS3_PARENTHESIS -USQLITE_ENABLE_FTS5 -USQLITE_ENABLE_RTREE \
    -USQLITE_ENABLE_LOAD_EXTENSION -USQLITE_ENABLE_STAT4 -USQLITE_SOUNDEX";

/// A flag for rustc: indices of functions and addresses are not padded to five bytes, which
/// makes a component 8% smaller.
const SMALL: &str = "-Clink-arg=--compress-relocations";

/// Environment variables of the host's build that would mislead the component's cargo.
/// Variables about networks and directories are kept.
const FOREIGN: [&str; 9] = [
    "CARGO",
    "DEBUG",
    "HOST",
    "LD_LIBRARY_PATH",
    "NUM_JOBS",
    "OPT_LEVEL",
    "OUT_DIR",
    "PROFILE",
    "TARGET",
];
const FOREIGN_PREFIXES: [&str; 9] = [
    "CARGO_CFG_",
    "CARGO_ENCODED_",
    "CARGO_FEATURE_",
    "CARGO_MANIFEST_",
    "CARGO_PKG_",
    "DEP_",
    "RUSTC",
    "RUSTDOC",
    "RUSTFLAGS",
];

/// For rustc, in a component that uses sockets of the standard library through tokio.
#[allow(dead_code)]
pub const SOCKETS: &str = "--cfg=tokio_unstable";

/// Whether components can use sockets of the standard library. Rust's target has them;
/// the C library beside Debian's Rust does not. Cargo reruns the build script when the target
/// is installed.
#[allow(dead_code)]
pub fn has_sockets() -> bool {
    let has_sockets = find_toolchain().is_ok_and(|toolchain| toolchain.rustflags.is_empty());
    if !has_sockets && let Some(targets) = toolchain::targets(&variable("RUSTC")) {
        println!("cargo::rerun-if-changed={}", targets.display());
    }
    has_sockets
}

fn find_toolchain() -> Result<Toolchain, String> {
    let oldest = variable("CARGO_PKG_RUST_VERSION");
    Toolchain::find(
        variable("CARGO"),
        variable("RUSTC"),
        &oldest.to_string_lossy(),
    )
}

/// Builds the component of `package`, with one more flag for rustc, and returns its file.
/// Cargo reruns the build script if one of the folders `sources` in the workspace changes.
pub fn build(package: &str, sources: &[&str], rustflag: Option<&str>) -> Result<PathBuf, String> {
    let workspace = workspace();
    let common = ["Cargo.toml", "Cargo.lock", "host/build", "wit"];
    for source in common.iter().chain(sources) {
        let source = workspace.join(source);
        println!("cargo::rerun-if-changed={}", source.display());
    }
    for variable in ["CC_wasm32_wasip2", "WASI_SDK_PATH"] {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    let toolchain = find_toolchain().map_err(|missing| {
        format!("{package} cannot be built: {missing} is missing, which ./setup installs")
    })?;
    let target_directory = target_directory().join("component");
    let output = cargo(&toolchain, rustflag)
        .args(["build", "--quiet", "--locked", "--profile", "component"])
        .args(["--package", package, "--target", TARGET])
        .arg("--target-dir")
        .arg(&target_directory)
        .output()
        .map_err(|error| format!("{} cannot be run: {error}", toolchain.cargo.display()))?;
    let messages = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        // The compiler's messages, which cargo shows only if a script fails.
        eprint!("{messages}");
        exit(1);
    }
    for warning in messages.lines() {
        println!("cargo::warning={warning}");
    }
    let artifacts = target_directory.join(TARGET).join("component");
    Ok(artifacts.join(package.replace('-', "_") + ".wasm"))
}

/// The toolchain's cargo in the workspace, without the environment of the host's build.
fn cargo(toolchain: &Toolchain, rustflag: Option<&str>) -> Command {
    let mut cargo = Command::new(&toolchain.cargo);
    for (name, _) in env::vars_os().filter(|(name, _)| is_foreign(name)) {
        cargo.env_remove(name);
    }
    let rustflags = toolchain.rustflags.iter().map(String::as_str);
    let rustflags: Vec<_> = rustflags.chain([SMALL]).chain(rustflag).collect();
    cargo
        .current_dir(workspace())
        .env("CARGO_ENCODED_RUSTFLAGS", rustflags.join("\u{1f}"))
        .env("LIBSQLITE3_FLAGS", SQLITE_FLAGS)
        .envs(toolchain.rust.iter().cloned())
        .envs(toolchain.c.iter().cloned());
    cargo
}

fn is_foreign(variable: &OsStr) -> bool {
    let name = variable.to_string_lossy();
    FOREIGN.contains(&&*name)
        || FOREIGN_PREFIXES
            .iter()
            .any(|prefix| name.starts_with(prefix))
}

/// Copies the component, so that no other build overwrites it, and sets the environment
/// variable `name` to the copy's path while the crate is compiled.
pub fn embed(component: &Path, name: &str) -> Result<(), String> {
    let file = component.file_name().expect("a component is a file");
    let embedded = PathBuf::from(variable("OUT_DIR")).join(file);
    fs::copy(component, &embedded)
        .map_err(|error| format!("{} cannot be read: {error}", component.display()))?;
    println!("cargo::rustc-env={name}={}", embedded.display());
    Ok(())
}

/// The directory of the workspace: the nearest one above the crate with a `Cargo.lock`, or
/// else the parent of the crate.
pub fn workspace() -> PathBuf {
    let package = PathBuf::from(variable("CARGO_MANIFEST_DIR"));
    let above = || package.ancestors().skip(1);
    let locked = above().find(|directory| directory.join("Cargo.lock").exists());
    locked.or(above().next()).unwrap_or(&package).to_owned()
}

/// The target directory, which cargo marks with `CACHEDIR.TAG`, or else the script's own
/// output directory.
fn target_directory() -> PathBuf {
    let own = PathBuf::from(variable("OUT_DIR"));
    let marked = own
        .ancestors()
        .find(|directory| directory.join("CACHEDIR.TAG").exists());
    marked.unwrap_or(&own).to_owned()
}

/// A variable that cargo sets for every build script.
fn variable(name: &str) -> OsString {
    env::var_os(name).unwrap_or_else(|| panic!("cargo did not set {name}"))
}
