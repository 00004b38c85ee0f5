//! Builds the component and names its file to the crate, which embeds it.
//!
//! The component is compiled by a cargo of its own, into a directory of its own
//! below the target directory: its compiler may be another than the host's. With
//! `WASI_SESSIONS_COMPONENT=<file>` that file is embedded and nothing is built.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, exit};

use toolchain::Toolchain;

#[path = "build/toolchain.rs"]
mod toolchain;

const TARGET: &str = "wasm32-wasip2";

/// How a component starts; a core module has another last half.
const COMPONENT_HEADER: &[u8] = b"\0asm\x0d\0\x01\0";

/// For libsqlite3-sys: what WASI does well (one call for a page, in place of a
/// seek and a stream), and nothing that a session store does not use.
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

/// Variables that are about the host's build and would lead the component's
/// cargo astray. What is about networks and directories stays.
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

fn main() {
    println!("cargo::rerun-if-env-changed=WASI_SESSIONS_COMPONENT");
    let component = match env::var_os("WASI_SESSIONS_COMPONENT") {
        Some(file) if !file.is_empty() => prebuilt(&file),
        _ => build(),
    };
    // Cargo shows what is logged so as one line, and fails.
    if let Err(error) = component.and_then(|file| embed(&file)) {
        println!("cargo::error={error}");
    }
}

/// The file that the caller names; a relative path starts at the workspace.
fn prebuilt(file: &OsStr) -> Result<PathBuf, String> {
    let file = workspace().join(file);
    println!("cargo::rerun-if-changed={}", file.display());
    let about = |problem: &str| {
        let file = file.display();
        format!("WASI_SESSIONS_COMPONENT: {file} {problem}")
    };
    let start = fs::read(&file).map_err(|error| about(&format!("cannot be read: {error}")))?;
    if !start.starts_with(COMPONENT_HEADER) {
        return Err(about("is no WebAssembly component"));
    }
    Ok(file)
}

/// Builds the component and returns its file.
fn build() -> Result<PathBuf, String> {
    let workspace = workspace();
    for source in ["Cargo.toml", "Cargo.lock", "component", "host/build", "wit"] {
        let source = workspace.join(source);
        println!("cargo::rerun-if-changed={}", source.display());
    }
    let toolchain = Toolchain::find().map_err(|missing| {
        format!("the component cannot be built: {missing} is missing, which ./setup installs")
    })?;
    let target_directory = target_directory().join("component");
    let output = cargo(&toolchain)
        .args(["build", "--quiet", "--locked", "--profile", "component"])
        .args(["--package", "wasi-sessions-component", "--target", TARGET])
        .arg("--target-dir")
        .arg(&target_directory)
        .output()
        .map_err(|error| format!("{} cannot be run: {error}", toolchain.cargo.display()))?;
    let messages = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        // Cargo shows this, the compiler's own words, only when a script fails.
        eprint!("{messages}");
        exit(1);
    }
    for warning in messages.lines() {
        println!("cargo::warning={warning}");
    }
    let artifacts = target_directory.join(TARGET).join("component");
    Ok(artifacts.join("wasi_sessions_component.wasm"))
}

/// The toolchain's cargo in the workspace, free of the host's build.
fn cargo(toolchain: &Toolchain) -> Command {
    let mut cargo = Command::new(&toolchain.cargo);
    for (name, _) in env::vars_os().filter(|(name, _)| is_foreign(name)) {
        cargo.env_remove(name);
    }
    let rustflags = toolchain.rustflags.join("\u{1f}");
    cargo
        .current_dir(workspace())
        .env("CARGO_ENCODED_RUSTFLAGS", rustflags)
        .env("LIBSQLITE3_FLAGS", SQLITE_FLAGS)
        .envs(toolchain.environment.iter().cloned())
        .args(&toolchain.arguments);
    cargo
}

fn is_foreign(variable: &OsStr) -> bool {
    let name = variable.to_string_lossy();
    FOREIGN.contains(&&*name)
        || FOREIGN_PREFIXES
            .iter()
            .any(|prefix| name.starts_with(prefix))
}

/// Gives the crate a copy of the component, which no other build overwrites.
fn embed(component: &Path) -> Result<(), String> {
    let embedded = PathBuf::from(variable("OUT_DIR")).join("component.wasm");
    fs::copy(component, &embedded)
        .map_err(|error| format!("{} cannot be read: {error}", component.display()))?;
    println!(
        "cargo::rustc-env=WASI_SESSIONS_COMPONENT_FILE={}",
        embedded.display()
    );
    Ok(())
}

/// The directory of the workspace that holds the component's source.
fn workspace() -> PathBuf {
    let mut directory = PathBuf::from(variable("CARGO_MANIFEST_DIR"));
    directory.pop();
    directory
}

/// The target directory, which cargo marks with a file, or else a place of the
/// script's own.
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
