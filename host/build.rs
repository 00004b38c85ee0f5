//! Builds or finds the component that the crate embeds.
//!
//! In the repository the component is built from its sources. The published package
//! has it in `component.wasm` beside this file, and needs no WASI toolchain. With
//! `WASI_SESSIONS_COMPONENT=<file>` that file is embedded instead; a relative path
//! is resolved from the workspace.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

#[path = "build/wasi.rs"]
mod wasi;

/// The first bytes of a component; those of a core module differ in the last four.
const COMPONENT_HEADER: &[u8] = b"\0asm\x0d\0\x01\0";

fn main() {
    println!("cargo::rerun-if-env-changed=WASI_SESSIONS_COMPONENT");
    let component = match env::var_os("WASI_SESSIONS_COMPONENT") {
        Some(file) if !file.is_empty() => prebuilt(&wasi::workspace().join(file)),
        _ if is_package() => prebuilt(&manifest_directory().join("component.wasm")),
        _ => wasi::build(
            "wasi-sessions-component",
            &[
                "component/exports",
                "component/rules",
                "component/sqlite/src",
            ],
        ),
    };
    let embedded = component.and_then(|file| wasi::embed(&file, "WASI_SESSIONS_COMPONENT_FILE"));
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
