//! Tests of `wasi-sessions serve`: responses, failing components, limits and the log.

use std::fs;
use std::io::{Read, Write};
use std::thread;
use std::time::{Duration, Instant};

use wasi_sessions::Stores;
use wasi_sessions::web::{Error, Server};

use crate::command::{bare, command, run_cli};
use crate::fixture::{CACHE, Home, compiled_in};
use crate::guests;
use crate::served::Site;

mod refusals;
mod reuse;
mod stopping;

/// Serves the tests' own guest with these arguments.
fn guest(home: &Home, arguments: &[&str]) -> Site {
    let component = ["--component", guests::FILE, "--admin"];
    Site::start(home, &[&component, arguments].concat())
}

/// A time-out short enough for a test to reach. A busy machine may not answer within it.
const SOON: [&str; 2] = ["--timeout", "700ms"];

#[test]
fn a_component_answers_with_an_instance_for_each_request() {
    let home = Home::new();
    let site = guest(&home, &[]);
    for _ in 0..3 {
        let hello = site.get("/hello?id=1");
        assert_eq!((hello.status, hello.body.as_str()), (200, "hello"));
    }
    let head = site.ask("HEAD", "/hello", &[], b"");
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert_eq!(site.get("/elsewhere").status, 404);
    let large = site.get("/large");
    assert_eq!((large.status, large.body.len()), (200, 10_000_000));
}

#[test]
fn a_connection_carries_many_requests() {
    let home = Home::new();
    let site = guest(&home, &[]);
    let mut stream = site.connect();
    let request = format!("GET /hello HTTP/1.1\r\nHost: {}\r\n\r\n", site.address);
    let mut seen = String::new();
    for round in 1..=5 {
        stream.write_all(request.as_bytes()).unwrap();
        while seen.matches("\r\n0\r\n\r\n").count() < round {
            let mut part = [0; 1024];
            let length = stream.read(&mut part).unwrap();
            assert_ne!(length, 0, "closed after {round}: {seen}");
            seen.push_str(std::str::from_utf8(&part[..length]).unwrap());
        }
    }
    assert_eq!(seen.matches("HTTP/1.1 200 OK").count(), 5);
}

#[test]
fn a_component_has_its_environment_and_nothing_else() {
    let home = Home::new();
    let site = guest(&home, &["--operator-token", "secret"]);
    assert_eq!(site.get("/environment").body, "OPERATOR_TOKEN=secret");
    assert_eq!(site.get("/reach-out").body, "");
    drop(site);
    let site = guest(&home, &[]);
    assert_eq!(site.get("/environment").body, "");
}

#[test]
fn a_body_over_the_limit_is_413_however_it_is_announced() {
    let home = Home::new();
    let site = guest(&home, &["--body-limit", "100000"]);
    let fits = site.post("/length", &vec![b'x'; 100_000]);
    assert_eq!((fits.status, fits.body.as_str()), (200, "100000"));
    let head = format!("POST /length HTTP/1.1\r\nHost: {}\r\n", site.address);

    let announced = format!("{head}Content-Length: 100001\r\n\r\n");
    let refused = site.exchange(announced.as_bytes());
    assert!(refused.starts_with(b"HTTP/1.1 413 "));

    let chunk = [&b"c351\r\n"[..], &[b'x'; 50_001], b"\r\n"].concat();
    let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n");
    let refused = site.exchange(&[chunked.as_bytes(), &chunk, &chunk].concat());
    assert!(refused.starts_with(b"HTTP/1.1 413 "));
    assert_eq!(site.get("/hello").status, 200);
}

#[test]
fn an_instance_that_computes_or_waits_too_long_is_stopped_with_504() {
    let home = Home::new();
    let site = guest(&home, &SOON);
    for path in ["/spin", "/wait"] {
        let started = Instant::now();
        let late = site.get(path);
        assert_eq!(late.status, 504, "{path}");
        assert!(started.elapsed() >= Duration::from_millis(700), "{path}");
        // The default is 30 seconds.
        assert!(started.elapsed() < Duration::from_secs(20), "{path}");
    }
    // A client that never sends its body gets a 408.
    let request = format!(
        "POST /length HTTP/1.1\r\nHost: {}\r\nContent-Length: 10\r\n\r\nhalf",
        site.address
    );
    let late = site.exchange(request.as_bytes());
    assert!(late.starts_with(b"HTTP/1.1 408 "));
}

#[test]
fn instances_that_compute_for_ever_do_not_starve_others() {
    let home = Home::new();
    let site = guest(&home, &["--timeout", "10m"]);
    let request = format!("GET /spin HTTP/1.1\r\nHost: {}\r\n\r\n", site.address);
    let spinning = [(); 16].map(|()| {
        let mut stream = site.connect();
        stream.write_all(request.as_bytes()).unwrap();
        stream
    });
    for _ in 0..5 {
        assert_eq!(site.get("/hello").status, 200);
    }
    drop(site);
    for mut stream in spinning {
        let mut answer = vec![];
        let _ = stream.read_to_end(&mut answer);
        assert_eq!(answer, b"", "it computed until the server was killed");
    }

    // Many are stopped in time, too.
    let site = guest(&home, &SOON);
    thread::scope(|scope| {
        let spinning: Vec<_> = (0..16).map(|_| scope.spawn(|| site.get("/spin"))).collect();
        for spinning in spinning {
            assert_eq!(spinning.join().unwrap().status, 504);
        }
    });
}

#[test]
fn an_instance_that_traps_or_never_answers_is_500_and_others_continue() {
    let home = Home::new();
    let site = guest(&home, &[]);
    for path in ["/trap", "/silent", "/grow"] {
        let failed = site.get(path);
        assert_eq!(failed.status, 500, "{path}");
        assert_eq!(failed.body, "500 Internal Server Error\n");
        let text = Some("text/plain; charset=utf-8");
        assert_eq!(failed.header("content-type"), text);
        assert_eq!(site.get("/hello").status, 200);
    }
}

#[test]
fn a_truncated_response_is_not_taken_for_a_complete_one() {
    let home = Home::new();
    let site = guest(&home, &["--timeout", "10s"]);
    let request = |path: &str| {
        let address = site.address;
        format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")
    };
    let broken = site.exchange(request("/trap-in-the-body").as_bytes());
    let broken = String::from_utf8(broken).unwrap();
    assert!(broken.starts_with("HTTP/1.1 200 OK"));
    assert!(broken.len() > 100_000);
    assert!(!broken.ends_with("0\r\n\r\n"));

    let cut = r#"WARN the component failed method=GET path="/trap-in-the-body" reason="#;

    // A complete response is sent even if the instance then never ends.
    let whole = site.exchange(request("/spin-after-the-body").as_bytes());
    let whole = String::from_utf8(whole).unwrap();
    assert!(whole.ends_with("answered\r\n0\r\n\r\n"), "{whole}");
    let log = site.stop();
    assert_eq!(log.matches(cut).count(), 1, "{log}");
}

#[test]
fn a_client_that_does_not_read_loses_its_connection() {
    let home = Home::new();
    let site = guest(&home, &["--timeout", "10s", "--body-timeout", "1h"]);
    let own = site.sockets();
    let mut clients: Vec<_> = (0..8).map(|_| site.connect()).collect();
    let request = format!("GET /large HTTP/1.1\r\nHost: {}\r\n\r\n", site.address);
    for client in &mut clients {
        client.write_all(request.as_bytes()).unwrap();
        // The response has begun.
        client.read_exact(&mut [0; 1]).unwrap();
    }
    // The server closes all connections although no client reads.
    let started = Instant::now();
    while site.sockets() > own {
        assert!(started.elapsed() < Duration::from_secs(120));
    }
    for client in &mut clients {
        let mut response = vec![];
        let _ = client.read_to_end(&mut response);
        assert!(response.len() < 10_000_000);
    }
    assert_eq!(site.get("/hello").status, 200);
}

#[test]
fn an_instance_cannot_exhaust_the_servers_memory() {
    let home = Home::new();
    let site = guest(&home, &[]);
    assert_eq!(site.get("/hello").status, 200);
    let before = site.most_memory();
    for path in ["/hoard-fields", "/hoard-bodies"] {
        assert_eq!(site.get(path).status, 500, "{path}");
    }
    let taken = site.most_memory() - before;
    assert!(taken < 80 << 20, "{taken}");
    assert_eq!(site.get("/hello").status, 200);
}

#[test]
fn a_time_out_may_be_longer_than_a_lifetime() {
    let home = Home::new();
    let site = guest(&home, &["--timeout", "18446744073709551615s"]);
    assert_eq!(site.get("/large").status, 200);
    site.stop();
}

#[test]
fn the_standard_error_of_a_component_is_logged_up_to_a_limit() {
    let home = Home::new();
    let site = guest(&home, &[]);
    assert_eq!(site.get("/say").status, 200);
    assert_eq!(site.get("/say-much").status, 200);
    assert_eq!(site.get("/panic").status, 500);
    let log = site.stop();
    for line in [
        r#"line="one""#,
        r#"line="two \u{1b}""#,
        r#"line="unfinished""#,
    ] {
        assert_eq!(log.matches(line).count(), 1, "{log}");
    }
    assert!(log.contains("the guest's last words"), "{log}");
    assert_eq!(log.matches(&"x".repeat(1024)).count(), 99);
    assert!(!log.contains(&"x".repeat(1025)));
    assert_eq!(log.matches("the component says more").count(), 1);
}

#[test]
fn invalid_requests_are_refused() {
    let home = Home::new();
    let site = guest(&home, &[]);
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(200_000));
    for (request, status) in [
        ("nonsense\r\n\r\n", "400"),
        ("GET /hello HTTP/1.1\r\n\r\n", "400"),
        (long.as_str(), "431"),
    ] {
        let refused = site.exchange(request.as_bytes());
        let refused = String::from_utf8(refused).unwrap();
        let expected = format!("HTTP/1.1 {status} ");
        assert!(refused.starts_with(&expected), "{refused}");
    }
    assert_eq!(site.get("/hello").status, 200);
}

#[test]
fn the_log_has_a_line_for_each_request_and_no_ids() {
    let home = Home::new();
    let site = guest(&home, &[]);
    let id = site.post("/create", b"a-payload").body;
    let cookie = format!("session={id}");
    let path = format!("/hello?id={id}");
    let hello = site.ask("GET", &path, &[("Cookie", &cookie)], b"");
    assert_eq!(hello.status, 200);
    assert_eq!(site.get("/trap?secret").status, 500);
    let log = site.stop();
    for line in [
        r#"INFO method=POST path="/create" status=200 milliseconds="#,
        r#"INFO method=GET path="/hello" status=200 milliseconds="#,
        r#"INFO method=GET path="/trap" status=500 milliseconds="#,
    ] {
        assert_eq!(log.matches(line).count(), 1, "{log}");
    }
    assert!(log.contains("WARN the component failed"), "{log}");
    for secret in [id.as_str(), "a-payload", "secret", "session="] {
        assert!(!log.contains(secret), "{log}");
    }
}

#[test]
fn sessions_survive_the_server_only_with_a_directory() {
    let home = Home::new();
    let site = guest(&home, &[]);
    let id = site.post("/create", b"kept").body;
    let in_use = run_cli(&home, &["get", &id]);
    assert_eq!(in_use.code, 4, "{}", in_use.errors);
    site.stop();
    assert_eq!(run_cli(&home, &["get", &id]).output, "kept");
    let site = guest(&home, &[]);
    assert_eq!(site.post("/create", b"more").status, 200);
    site.stop();
    assert_eq!(run_cli(&home, &["stats", "--json"]).json()["live"], 2);

    let temporary = home.beside("temporary");
    fs::create_dir(&temporary).unwrap();
    let serve = [
        "serve",
        "--address",
        "127.0.0.1:0",
        "--component",
        guests::FILE,
        "--admin",
    ];
    let mut serve = bare(&serve);
    serve.env("TMPDIR", &temporary);
    let site = Site::spawn(serve);
    assert_eq!(site.post("/create", b"{}").status, 200);
    assert_eq!(fs::read_dir(&temporary).unwrap().count(), 1);
    let log = site.stop();
    assert!(log.contains("--directory <DIR> keeps them"), "{log}");
    assert_eq!(fs::read_dir(&temporary).unwrap().count(), 0);
}

#[test]
fn the_demo_is_served_by_default() {
    let home = Home::new();
    let site = Site::start(&home, &[]);
    let front = site.get("/");
    assert_eq!(front.status, 200, "{}", front.body);
    assert!(front.body.contains("<html"), "{}", front.body);
}
