//! Builds the components that only tests run.

use std::path::PathBuf;

#[path = "../../host/build/wasi.rs"]
mod wasi;

fn main() {
    let postgres = [
        "component/exports",
        "component/postgres/Cargo.toml",
        "component/postgres/src",
        "component/rules",
    ];
    for (package, sources, name) in [
        ("web-demo", &["web-demo"][..], "WEB_DEMO_COMPONENT_FILE"),
        (
            "test-guest",
            &["tests/guests/test_guest"],
            "TEST_GUEST_COMPONENT_FILE",
        ),
        (
            "counter",
            &["tests/guests/counter"],
            "COUNTER_COMPONENT_FILE",
        ),
        (
            "wasi-sessions-postgres",
            &postgres,
            "POSTGRES_COMPONENT_FILE",
        ),
    ] {
        embed(wasi::build(package, sources, None), name);
    }
    let mariadb = [
        "component/exports",
        "component/mariadb/Cargo.toml",
        "component/mariadb/src",
        "component/rules",
    ];
    let package = "wasi-sessions-mariadb";
    match wasi::has_sockets() {
        true => embed(
            wasi::build(package, &mariadb, Some(wasi::SOCKETS)),
            "MARIADB_COMPONENT_FILE",
        ),
        false => println!("cargo::warning={package} is left out: it needs Rust's own target"),
    }
}

fn embed(component: Result<PathBuf, String>, name: &str) {
    let embedded = component.and_then(|file| wasi::embed(&file, name));
    // `cargo::error` makes cargo print the line and fail.
    if let Err(error) = embedded {
        println!("cargo::error={error}");
    }
}
