//! Tests that idle, slow or silent clients of `wasi-sessions serve` do not harm others.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::command::{command, run_cli};
use crate::fixture::Home;
use crate::guests;
use crate::served::Site;

const REQUEST: &[u8] = b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n";
const HALF: &[u8] = b"GET /hello HTTP/1.1\r\nHo";

/// Time-outs of connections that do not pass during a test.
const LONG: [&str; 6] = [
    "--head-timeout",
    "1h",
    "--idle-timeout",
    "1h",
    "--body-timeout",
    "1h",
];

/// What a server that stops logs if requests were not finished in time.
const STOPPED: &str = "WARN requests that are still in flight are stopped";

/// Serves the tests' own guest with these arguments.
fn guest(home: &Home, arguments: &[&str]) -> Site {
    let component = ["--component", guests::FILE, "--admin"];
    Site::start(home, &[&component, arguments].concat())
}

/// Opens a connection and sends `bytes` on it.
fn after(site: &Site, bytes: &[u8]) -> TcpStream {
    let mut stream = site.connect();
    stream.write_all(bytes).unwrap();
    stream
}

/// Opens a connection, which is idle after one request.
fn idle(site: &Site) -> TcpStream {
    let mut stream = after(site, REQUEST);
    hello(&mut stream);
    stream
}

/// Reads the answer to `/hello`.
fn hello(stream: &mut TcpStream) {
    let mut seen = String::new();
    while !seen.ends_with("hello\r\n0\r\n\r\n") {
        let mut part = [0; 1024];
        let length = stream.read(&mut part).unwrap();
        assert_ne!(length, 0, "closed after {seen:?}");
        seen.push_str(std::str::from_utf8(&part[..length]).unwrap());
    }
}

/// Reads until the server closes the connection.
fn rest(stream: &mut TcpStream) -> String {
    let mut rest = vec![];
    let _ = stream.read_to_end(&mut rest);
    String::from_utf8(rest).unwrap()
}

/// Checks that other requests are answered. One that waited for a time-out of the connections
/// before it would hang, since these are [`LONG`].
fn check_others(site: &Site) {
    for _ in 0..20 {
        assert_eq!(site.get("/hello").status, 200);
    }
}

#[test]
fn the_longest_idle_connection_gives_way_to_a_new_one() {
    let home = Home::new();
    let site = guest(&home, &["--connections", "3"]);
    let (mut first, mut second, mut third) = (idle(&site), idle(&site), idle(&site));
    first.write_all(REQUEST).unwrap();
    hello(&mut first);
    let mut new = idle(&site);
    assert_eq!(rest(&mut second), "");
    for open in [&mut first, &mut third, &mut new] {
        open.write_all(REQUEST).unwrap();
        hello(open);
    }
}

#[test]
fn idle_connections_give_way_first_then_incomplete_heads_then_bodies() {
    let home = Home::new();
    let site = guest(&home, &[&["--connections", "4"], &LONG[..]].concat());
    let mut body = site.begin("/length");
    let mut silent = site.connect();
    let mut first = idle(&site);
    let mut half = after(&site, HALF);
    let _second = idle(&site);
    assert_eq!(rest(&mut silent), "");
    let _third = idle(&site);
    assert_eq!(rest(&mut first), "");
    half.write_all(&REQUEST[HALF.len()..]).unwrap();
    hello(&mut half);

    // The body is slow, but not stalled.
    body.write_all(b"-").unwrap();
    let _halves = [after(&site, HALF), after(&site, HALF), after(&site, HALF)];
    body.write_all(b"l").unwrap();
    check_others(&site);
    body.write_all(b"ast").unwrap();
    let answer = rest(&mut body);
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[test]
fn stalled_bodies_give_way_to_new_clients() {
    let home = Home::new();
    let site = guest(&home, &["--connections", "2"]);
    let mut bodies = [site.begin("/length"), site.begin("/length")];
    assert_eq!(site.get("/hello").status, 200);
    // One has given way, and the other one can continue.
    let [first, second] = bodies.each_mut().map(|body| {
        let _ = body.write_all(b"-last");
        rest(body)
    });
    let answered = first.starts_with("HTTP/1.1 200 ") != second.starts_with("HTTP/1.1 200 ");
    let closed = first.is_empty() != second.is_empty();
    assert!(answered && closed, "{first:?}, {second:?}");
}

#[test]
fn a_new_client_waits_while_all_others_have_requests() {
    let home = Home::new();
    let site = guest(&home, &["--connections", "2"]);
    let large = b"GET /large HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let mut requests = [after(&site, large), after(&site, large)];
    for request in &mut requests {
        request.read_exact(&mut [0; 1]).unwrap();
    }
    let mut new = after(&site, REQUEST);
    assert!(rest(&mut requests[0]).len() > 10_000_000);
    hello(&mut new);
}

#[test]
fn many_silent_clients_do_not_keep_others_waiting() {
    let home = Home::new();
    let site = guest(&home, &[&["--connections", "40"], &LONG[..]].concat());
    let _idle: Vec<_> = (0..60).map(|_| idle(&site)).collect();
    check_others(&site);
    let _silent: Vec<_> = (0..60).map(|_| site.connect()).collect();
    check_others(&site);
    let _halves: Vec<_> = (0..60).map(|_| after(&site, HALF)).collect();
    check_others(&site);
}

#[test]
fn idle_connections_give_way_when_no_more_files_can_be_opened() {
    let home = Home::new();
    let site = limited(&home, "ulimit -n 80");
    let _idle: Vec<_> = (0..120).map(|_| idle(&site)).collect();
    check_others(&site);
}

#[test]
fn a_component_is_served_in_four_gigabytes_of_address_space() {
    let home = Home::new();
    let site = limited(&home, "ulimit -v 4194304");
    check_others(&site);
}

/// Serves the tests' own guest from a shell that sets a limit first.
fn limited(home: &Home, limit: &str) -> Site {
    let serve = ["serve", "--address", "127.0.0.1:0", "--admin"];
    let guest = ["--component", guests::FILE];
    let serve = command(home, &[&serve[..], &guest, &LONG].concat());
    let mut limited = Command::new("sh");
    limited.args(["-c", &format!("{limit}; exec \"$0\" \"$@\"")]);
    limited.arg(serve.get_program()).args(serve.get_args());
    for (name, value) in serve.get_envs() {
        limited.env(name, value.unwrap_or_default());
    }
    Site::spawn(limited)
}

#[test]
fn stalled_uploads_hold_no_instance() {
    let home = Home::new();
    let site = guest(&home, &LONG);
    let head = "POST /length HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nhalf";
    let _uploads: Vec<_> = (0..300).map(|_| after(&site, head.as_bytes())).collect();
    check_others(&site);
}

#[test]
fn a_head_that_is_late_is_408() {
    let home = Home::new();
    let site = guest(&home, &["--head-timeout", "5s"]);
    let mut silent = site.connect();
    let mut half = after(&site, HALF);
    let mut again = idle(&site);
    again.write_all(HALF).unwrap();
    for half in [&mut half, &mut again] {
        let answer = rest(half);
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    }
    assert_eq!(rest(&mut silent), "");
}

#[test]
fn an_idle_connection_is_closed_in_time() {
    let home = Home::new();
    let site = guest(&home, &["--idle-timeout", "300ms"]);
    let mut idle = idle(&site);
    let started = Instant::now();
    assert_eq!(rest(&mut idle), "");
    // The default is a minute.
    assert!(started.elapsed() < Duration::from_secs(20));
}

#[test]
fn a_body_that_is_late_is_408() {
    let home = Home::new();
    let site = guest(&home, &["--body-timeout", "5s"]);
    let head = "POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n";
    let uploads = [0, 5, 100_000].map(|sent| {
        let request = [head.as_bytes(), &vec![b'x'; sent]].concat();
        (sent, after(&site, &request))
    });
    for (sent, mut upload) in uploads {
        let answer = rest(&mut upload);
        assert!(answer.starts_with("HTTP/1.1 408 "), "{sent}: {answer}");
    }
    let log = site.stop();
    assert!(!log.contains("WARN"), "{log}");
}

#[test]
fn an_upload_continues_after_the_response_when_the_server_stops() {
    let home = Home::new();
    let site = guest(&home, &["--head-timeout", "5s"]);
    let head = "POST /answer-and-read HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n";
    let mut upload = after(&site, head.as_bytes());
    upload.write_all(&[b'x'; 70_000]).unwrap();
    let mut seen = String::new();
    while !seen.ends_with("answered\r\n0\r\n\r\n") {
        let mut part = [0; 1024];
        let length = upload.read(&mut part).unwrap();
        assert_ne!(length, 0, "closed after {seen:?}");
        seen.push_str(std::str::from_utf8(&part[..length]).unwrap());
    }
    upload.write_all(&[b'x'; 10_000]).unwrap();
    site.begin_to_stop();
    upload.write_all(&[b'x'; 20_000]).unwrap();
    assert_eq!(rest(&mut upload), "");
    let (_, log) = site.ended();
    assert!(!log.contains("WARN"), "{log}");
    let uploaded = run_cli(&home, &["get", "uploaded"]);
    assert_eq!(uploaded.code, 0, "{log}");
}

#[test]
fn an_upload_after_the_response_does_not_give_way_and_is_idle_afterwards() {
    let home = Home::new();
    let site = guest(&home, &["--connections", "2", "--body-timeout", "60s"]);
    let head = "POST /answer-and-read HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n";
    let mut upload = after(&site, head.as_bytes());
    upload.write_all(&[b'x'; 70_000]).unwrap();
    upload.read_exact(&mut [0; 1]).unwrap();
    let mut idle = idle(&site);
    assert_eq!(site.get("/hello").status, 200);
    assert_eq!(rest(&mut idle), "");
    upload.write_all(&[b'x'; 30_000]).unwrap();
    let started = Instant::now();
    while site.get("/count").body != "1" {
        assert!(started.elapsed() < Duration::from_secs(120));
    }
    upload.write_all(REQUEST).unwrap();
    hello(&mut upload);
}

#[test]
fn a_client_that_reads_nothing_frees_its_instance_long_before_the_request_is_late() {
    let home = Home::new();
    let site = guest(&home, &["--body-timeout", "300ms"]);
    let own = site.sockets();
    let started = Instant::now();
    let mut unread = after(&site, b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n");
    unread.read_exact(&mut [0; 1]).unwrap();
    while site.sockets() > own {
        assert!(started.elapsed() < Duration::from_secs(20));
    }
    // A stop waits for all instances.
    let log = site.stop();
    assert!(started.elapsed() < Duration::from_secs(20));
    assert!(!log.contains("WARN"), "{log}");
    assert!(log.contains(r#"path="/large" status=499 "#), "{log}");
}

#[test]
fn a_stop_closes_connections_without_a_request_at_once() {
    let home = Home::new();
    let site = guest(&home, &[]);
    let _idle = idle(&site);
    let _silent = site.connect();
    let _half = after(&site, HALF);
    let mut again = idle(&site);
    again.write_all(HALF).unwrap();
    let log = site.stop();
    // Requests would have some seconds first.
    assert!(!log.contains(STOPPED), "{log}");
}

#[test]
fn a_stop_ends_the_requests_that_would_go_on() {
    let home = Home::new();
    let site = guest(&home, &[]);
    let _waits = after(&site, b"GET /wait HTTP/1.0\r\n\r\n");
    let mut unread = after(&site, b"GET /large HTTP/1.0\r\n\r\n");
    unread.read_exact(&mut [0; 1]).unwrap();
    let _upload = site.begin("/length");
    let long = b"POST /length HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n";
    let mut started_upload = after(&site, long);
    started_upload.write_all(&[b'x'; 100_000]).unwrap();
    let log = site.stop();
    assert!(log.contains(STOPPED), "{log}");
}
