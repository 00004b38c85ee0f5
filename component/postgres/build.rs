//! Detects the PostgreSQL server and the pooler that the tests start.

use std::path::Path;

#[path = "tests/programs.rs"]
mod programs;

/// Sets `cfg(server)` and `cfg(pooler)` if they are installed; tests that need a missing
/// one are ignored.
fn main() {
    println!("cargo::rustc-check-cfg=cfg(server, pooler)");
    if programs::directory().is_some() {
        println!("cargo::rustc-cfg=server");
    }
    if Path::new(programs::POOLER).exists() {
        println!("cargo::rustc-cfg=pooler");
    }
    // Cargo treats a missing file as always changed, so its directory is watched instead.
    for watched in [
        [programs::INSTALLED, "/usr/lib"],
        [programs::POOLER, "/usr/sbin"],
    ] {
        for path in watched.iter().filter(|one| Path::new(one).exists()).take(1) {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    println!("cargo::rerun-if-changed=tests/programs.rs");
    println!("cargo::rerun-if-changed=build.rs");
}
