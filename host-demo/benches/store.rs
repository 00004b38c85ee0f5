//! `cargo bench`: runs `wasi-sessions bench` with the arguments that it is given.

use std::env;
use std::process::{Command, exit};

fn main() {
    // Cargo adds one for its own harness.
    let arguments = env::args_os().skip(1).filter(|word| word != "--bench");
    let ended = Command::new(env!("CARGO_BIN_EXE_wasi-sessions"))
        .arg("bench")
        .args(arguments)
        .status()
        .expect("wasi-sessions can be started");
    exit(ended.code().unwrap_or(1));
}
