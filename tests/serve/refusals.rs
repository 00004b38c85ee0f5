//! Tests of what `serve` and the crate's server refuse, and of their errors.

use std::error::Error as _;

use super::*;

#[test]
fn a_time_out_of_zero_is_refused() {
    let home = Home::new();
    for option in [
        "--timeout",
        "--head-timeout",
        "--idle-timeout",
        "--body-timeout",
    ] {
        let refused = run_cli(&home, &["serve", option, "0s"]);
        assert_eq!(refused.code, 2, "{option}");
        assert!(refused.errors.contains("more than 0"), "{}", refused.errors);
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let zero = Duration::ZERO;
    type Set = fn(Server, Duration) -> Server;
    let setters: [(&str, Set); 4] = [
        ("time_out", Server::time_out),
        ("head_time_out", Server::head_time_out),
        ("idle_time_out", Server::idle_time_out),
        ("body_time_out", Server::body_time_out),
    ];
    for (name, set) in setters {
        let server = set(Server::new(b"", Stores::new()), zero);
        let bound = runtime.block_on(server.bind("127.0.0.1:0".parse().unwrap()));
        let refused = bound.err().unwrap().to_string();
        assert_eq!(refused, format!("`{name}` must be more than 0"));
    }
}

#[test]
fn a_server_links_admin_only_if_it_is_allowed() {
    let home = Home::new();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let sessions = home.open();
    let bind = |admin| {
        let stores = Stores::new().with("sessions.db", sessions.clone());
        let component = fs::read(guests::FILE).unwrap();
        let server = Server::new(component, stores).admin(admin);
        let server = server.cache_directory(compiled_in(&CACHE));
        runtime.block_on(server.bind("127.0.0.1:0".parse().unwrap()))
    };
    assert!(bind(true).is_ok());
    let refused = bind(false).err().unwrap();
    assert!(matches!(refused, Error::AdminNotLinked), "{refused}");
}

#[test]
fn compiled_code_is_not_cached_where_a_component_can_write() {
    let home = Home::new();
    let other = Home::new();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let stores = Stores::new().with("a", home.open()).with("b", other.open());
    for store in [&home, &other] {
        let directory = store.path();
        for inside in [directory.clone(), directory.join("compiled")] {
            let server = Server::new(fs::read(guests::FILE).unwrap(), stores.clone());
            let server = server.admin(true).cache_directory(&inside);
            let bound = runtime.block_on(server.bind("127.0.0.1:0".parse().unwrap()));
            let refused = bound.err().unwrap().source().unwrap().to_string();
            assert!(refused.contains("cache directory"), "{refused}");
        }
    }
}

#[test]
fn a_component_that_cannot_be_served_is_an_error_on_one_line() {
    let home = Home::new();
    let serve = |arguments: &[&str]| {
        let serve = ["serve", "--address", "127.0.0.1:0"];
        run_cli(&home, &[&serve, arguments].concat())
    };
    let missing = serve(&["--component", "no-such.wasm"]);
    assert_eq!(missing.code, 3);
    assert!(
        missing
            .error()
            .starts_with("component `no-such.wasm` cannot be read")
    );

    let text = home.beside("text.wasm");
    fs::write(&text, "no component").unwrap();
    let refused = serve(&["--component", text.to_str().unwrap()]);
    assert_eq!(refused.code, 3);
    assert!(
        refused
            .error()
            .starts_with("the web component cannot be run: ")
    );

    let without_admin = serve(&["--component", guests::FILE]);
    assert_eq!(without_admin.code, 3);
    let error = without_admin.error();
    assert!(error.contains("allow it with --admin"), "{error}");

    let site = guest(&Home::new(), &[]);
    let address = site.address.to_string();
    let taken = command(&home, &["serve", "--address", &address]).output();
    let taken = crate::command::Ran::from(taken.unwrap());
    assert_eq!(taken.code, 3);
    let start = format!("cannot listen at {address}: ");
    assert!(taken.error().starts_with(&start), "{}", taken.errors);
}
