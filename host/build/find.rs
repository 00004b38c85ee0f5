//! Prints the environment that cargo needs to build a component, as shell commands for
//! `setup`: nothing if Rust has the target, otherwise variables for Debian's Rust. If the
//! toolchain, which includes a C compiler, is not complete, prints what is missing and
//! fails. `setup` compiles this file with rustc alone.

use std::env;
use std::ffi::OsString;
use std::process::ExitCode;

use toolchain::Toolchain;

mod toolchain;

fn main() -> ExitCode {
    let oldest = env::args().nth(1).expect("the oldest Rust is an argument");
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    match Toolchain::find("cargo".into(), rustc, &oldest) {
        Ok(toolchain) if toolchain.rustflags.is_empty() => ExitCode::SUCCESS,
        Ok(toolchain) => {
            let directory = toolchain.cargo.parent().expect("cargo is in a directory");
            println!("export PATH={}:\"$PATH\"", directory.display());
            let rustflags = OsString::from(toolchain.rustflags.join(" "));
            let flags = ("CARGO_TARGET_WASM32_WASIP2_RUSTFLAGS", rustflags);
            let variables = toolchain.rust.iter().chain(&toolchain.c);
            for (name, value) in variables.chain([&flags]) {
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
