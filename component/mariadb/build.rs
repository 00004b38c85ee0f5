//! Looks for the server that the tests start.

use std::path::Path;

#[path = "tests/programs.rs"]
mod programs;

/// Sets `cfg(server)`, without which the tests say that they are ignored.
fn main() {
    println!("cargo::rustc-check-cfg=cfg(server)");
    if programs::are_installed() {
        println!("cargo::rustc-cfg=server");
    }
    // A file that is missing would count as changed for ever.
    let watched = [programs::SERVER, "/usr/sbin"];
    for path in watched.iter().filter(|one| Path::new(one).exists()).take(1) {
        println!("cargo::rerun-if-changed={path}");
    }
    println!("cargo::rerun-if-changed=tests/programs.rs");
    println!("cargo::rerun-if-changed=build.rs");
}
