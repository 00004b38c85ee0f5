//! Prints the environment that cargo needs to build a component, as shell commands for
//! `setup`: variables for a C compiler, unless they are set, and for Debian's Rust, unless Rust
//! has the target. If the toolchain is not complete, prints what is missing and fails. `setup`
//! compiles this file with rustc alone.

use std::env;
use std::ffi::OsString;
use std::process::ExitCode;

use toolchain::Toolchain;

mod toolchain;

fn main() -> ExitCode {
    let oldest = env::args().nth(1).expect("the oldest Rust is an argument");
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    match Toolchain::find("cargo".into(), rustc, &oldest) {
        Ok(toolchain) => {
            let mut variables = toolchain.c;
            if !toolchain.rustflags.is_empty() {
                let directory = toolchain.cargo.parent().expect("cargo is in a directory");
                println!("export PATH={}:\"$PATH\"", directory.display());
                let flags = OsString::from(toolchain.rustflags.join(" "));
                variables.push(("CARGO_TARGET_WASM32_WASIP2_RUSTFLAGS", flags));
                variables.extend(toolchain.rust);
            }
            for (name, value) in variables {
                println!("export {name}={}", quoted(&value.to_string_lossy()));
            }
            ExitCode::SUCCESS
        }
        Err(missing) => {
            eprintln!("{missing}");
            ExitCode::FAILURE
        }
    }
}

/// Text as one word of a shell command.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}
