//! Builds the component and names its file to the crate, which embeds it.
//!
//! With `WASI_SESSIONS_COMPONENT=<file>` that file is embedded and nothing is
//! built.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::PathBuf;

#[path = "build/wasi.rs"]
mod wasi;

/// How a component starts; a core module has another last half.
const COMPONENT_HEADER: &[u8] = b"\0asm\x0d\0\x01\0";

fn main() {
    println!("cargo::rerun-if-env-changed=WASI_SESSIONS_COMPONENT");
    let component = match env::var_os("WASI_SESSIONS_COMPONENT") {
        Some(file) if !file.is_empty() => prebuilt(&file),
        _ => wasi::build("wasi-sessions-component", "component/sqlite"),
    };
    let embedded = component.and_then(|file| wasi::embed(&file, "WASI_SESSIONS_COMPONENT_FILE"));
    // Cargo shows what is logged so as one line, and fails.
    if let Err(error) = embedded {
        println!("cargo::error={error}");
    }
}

/// The file that the caller names; a relative path starts at the workspace.
fn prebuilt(file: &OsStr) -> Result<PathBuf, String> {
    let file = wasi::workspace().join(file);
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
