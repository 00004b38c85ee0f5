//! Names the file of the component to the crate, which embeds it.
//!
//! In the repository the component is built from its sources. The published package
//! has it in `component.wasm` beside this file, and needs no WASI toolchain. With
//! `WASI_SESSIONS_COMPONENT=<file>` that file is embedded instead; a relative path
//! starts at the workspace.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

#[path = "build/wasi.rs"]
mod wasi;

/// How a component starts; a core module has another last half.
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
    // Cargo shows what is logged so as one line, and fails.
    if let Err(error) = embedded {
        println!("cargo::error={error}");
    }
}

/// Whether this is the published package, which has no sources of the component. In
/// the repository a file that a release left behind must not hide the sources.
fn is_package() -> bool {
    !wasi::workspace()
        .join("component/sqlite/Cargo.toml")
        .exists()
}

fn manifest_directory() -> PathBuf {
    env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default().into()
}

/// A component that is built already.
fn prebuilt(file: &Path) -> Result<PathBuf, String> {
    println!("cargo::rerun-if-changed={}", file.display());
    let about = |problem: &str| {
        let file = file.display();
        format!("the component {file} {problem}")
    };
    let start = fs::read(file).map_err(|error| about(&format!("cannot be read: {error}")))?;
    if !start.starts_with(COMPONENT_HEADER) {
        return Err(about("is no WebAssembly component"));
    }
    Ok(file.to_owned())
}
