//! Looks for the server that the tests start.

use std::path::Path;

#[path = "tests/programs.rs"]
mod programs;

/// Sets `cfg(server)`, without which the tests say that they are ignored.
fn main() {
    println!("cargo::rustc-check-cfg=cfg(server)");
    if programs::directory().is_some() {
        println!("cargo::rustc-cfg=server");
    }
    // A directory that is missing would count as changed for ever.
    let watched = [programs::INSTALLED, "/usr/lib"];
    for directory in watched.iter().filter(|one| Path::new(one).exists()).take(1) {
        println!("cargo::rerun-if-changed={directory}");
    }
    println!("cargo::rerun-if-changed=tests/programs.rs");
    println!("cargo::rerun-if-changed=build.rs");
}
