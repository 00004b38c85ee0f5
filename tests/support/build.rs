//! Builds the components that only tests run.

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
        let component = wasi::build(package, sources);
        let embedded = component.and_then(|file| wasi::embed(&file, name));
        // `cargo::error` makes cargo print the line and fail.
        if let Err(error) = embedded {
            println!("cargo::error={error}");
        }
    }
}
