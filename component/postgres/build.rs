//! Looks for the server and the pooler that the tests start.

use std::path::Path;

#[path = "tests/programs.rs"]
mod programs;

/// Where Debian's package puts the pooler.
const POOLER: &str = "/usr/sbin/pgbouncer";

/// Sets `cfg(server)` and `cfg(pooler)`, without which the tests say that they are ignored.
fn main() {
    println!("cargo::rustc-check-cfg=cfg(server, pooler)");
    if programs::directory().is_some() {
        println!("cargo::rustc-cfg=server");
    }
    if Path::new(POOLER).exists() {
        println!("cargo::rustc-cfg=pooler");
    }
    // A file that is missing would count as changed for ever.
    for watched in [[programs::INSTALLED, "/usr/lib"], [POOLER, "/usr/sbin"]] {
        for path in watched.iter().filter(|one| Path::new(one).exists()).take(1) {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    println!("cargo::rerun-if-changed=tests/programs.rs");
    println!("cargo::rerun-if-changed=build.rs");
}
