//! Tests of HTTP in `wasi-sessions serve`: valid and truncated requests, hosts and responses.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use crate::fixture::Home;
use crate::guests;
use crate::served::Site;

/// Serves the tests' own guest.
fn guest(home: &Home) -> Site {
    Site::start(home, &["--component", guests::FILE, "--admin"])
}

/// The answer to these bytes, as text.
fn answer(site: &Site, request: &[u8]) -> String {
    String::from_utf8(site.exchange(request)).unwrap()
}

/// Checks the status of the answer to each of these requests.
fn check(site: &Site, cases: &[(&str, &str)]) {
    for (request, status) in cases {
        let answer = answer(site, request.as_bytes());
        let line = answer.lines().next().unwrap_or_default();
        assert_eq!(line.split(' ').nth(1), Some(*status), "{request:?}: {line}");
    }
    assert_eq!(site.get("/hello").status, 200);
}

#[test]
fn a_request_names_its_host_exactly_once() {
    let home = Home::new();
    let site = guest(&home);
    let start = "GET /hello HTTP/1.1\r\n";
    let hosts = [
        ("", "400"),
        ("Host:\r\n", "400"),
        ("Host: \r\n", "400"),
        ("Host: a\r\nHost: a\r\n", "400"),
        ("Host: a b\r\n", "400"),
        ("Host: a/b\r\n", "400"),
        ("Host: user@a\r\n", "400"),
        ("Host: :80\r\n", "400"),
        ("Host: a:99999\r\n", "400"),
        ("Host: a:x\r\n", "400"),
        ("Host: a\r\n", "200"),
        ("Host: a:\r\n", "200"),
        ("Host: [::1]:80\r\n", "200"),
    ];
    let requests: Vec<(String, &str)> = hosts
        .map(|(host, status)| {
            let request = format!("{start}{host}Connection: close\r\n\r\n");
            (request, status)
        })
        .into();
    let cases: Vec<(&str, &str)> = requests
        .iter()
        .map(|(request, status)| (request.as_str(), *status))
        .collect();
    check(&site, &cases);
    let log = site.stop();
    assert!(!log.contains("WARN"), "{log}");
}

#[test]
fn an_http_1_0_request_without_a_host_is_for_the_servers_address() {
    let home = Home::new();
    let site = guest(&home);
    let target = answer(&site, b"GET /target HTTP/1.0\r\n\r\n");
    let expected = format!("\r\n\r\n{} /target", site.address);
    assert!(target.ends_with(&expected), "{target}");
    for method in ["OPTIONS", "HEAD", "POST", "PUT", "DELETE"] {
        let probe = format!("{method} /hello HTTP/1.0\r\n\r\n");
        let answer = answer(&site, probe.as_bytes());
        assert!(answer.starts_with("HTTP/1.0 200 "), "{method}: {answer}");
    }
    check(&site, &[("GET /hello HTTP/1.0\r\nHost:\r\n\r\n", "400")]);
}

#[test]
fn a_target_is_a_path_an_absolute_uri_or_an_asterisk_for_options() {
    let home = Home::new();
    let site = guest(&home);
    let absolute = answer(
        &site,
        b"GET http://other.test:81/target?q HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    );
    assert!(absolute.contains("other.test:81 /target?q"), "{absolute}");
    check(
        &site,
        &[
            ("OPTIONS * HTTP/1.0\r\n\r\n", "200"),
            ("GET * HTTP/1.1\r\nHost: a\r\n\r\n", "400"),
            ("GET a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", "400"),
            ("GET ftp://a/hello HTTP/1.1\r\nHost: a\r\n\r\n", "400"),
            ("GET http://a/hello HTTP/1.1\r\n\r\n", "400"),
            ("CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", "501"),
            ("GET /%ff%00 HTTP/1.0\r\n\r\n", "404"),
            ("GET /ü HTTP/1.0\r\n\r\n", "404"),
            ("GET /\u{1} HTTP/1.0\r\n\r\n", "400"),
        ],
    );
    let latin = site.exchange(b"GET /\xfc HTTP/1.0\r\n\r\n");
    assert!(latin.starts_with(b"HTTP/1.1 400 "));
    // HTTP/2 is not supported: such a connection is closed.
    assert_eq!(answer(&site, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), "");
}

#[test]
fn a_head_of_64_kib_is_accepted_and_a_longer_one_is_431() {
    let home = Home::new();
    let site = guest(&home);
    let start = "GET /hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX: ";
    let head = |length: usize| {
        let filling = "x".repeat(length - start.len() - 4);
        format!("{start}{filling}\r\n\r\n")
    };
    let many = format!("GET /hello HTTP/1.0\r\n{}\r\n", "x: y\r\n".repeat(101));
    check(
        &site,
        &[
            (&head(65_536), "200"),
            (&head(65_537), "431"),
            (&head(90_000), "431"),
            (&head(500_000), "431"),
            (&many, "431"),
        ],
    );
}

#[test]
fn a_body_has_one_length() {
    let home = Home::new();
    let site = guest(&home);
    let post = |rest: &str| format!("POST /length HTTP/1.1\r\nHost: a\r\n{rest}");
    let chunked = "Transfer-Encoding: chunked\r\n";
    check(
        &site,
        &[
            (
                &post("Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd"),
                "400",
            ),
            (&post("Content-Length: -1\r\n\r\n"), "400"),
            (&post("Content-Length: +3\r\n\r\nabc"), "400"),
            (&post("Transfer-Encoding: gzip\r\n\r\nabc"), "400"),
            (&post(&format!("{chunked}\r\nzz\r\nabc")), "400"),
            (
                "POST /length HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                "400",
            ),
        ],
    );
    let trailers = post(&format!(
        "{chunked}Connection: close\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\n\r\n"
    ));
    let trailers = answer(&site, trailers.as_bytes());
    assert!(trailers.contains("\r\n\r\n1\r\n5\r\n"), "{trailers}");
    // The chunks determine the length; bytes after them are not taken for another request.
    let both = post(&format!(
        "Content-Length: 3\r\n{chunked}\r\n5\r\nhello\r\n0\r\n\r\nGET /hello HTTP/1.0\r\n\r\n"
    ));
    let both = answer(&site, both.as_bytes());
    assert_eq!(both.matches("HTTP/1.").count(), 1, "{both}");
    let refused = post("Content-Length: 99999999\r\nExpect: 100-continue\r\n\r\n");
    let refused = answer(&site, refused.as_bytes());
    assert!(refused.starts_with("HTTP/1.1 413 "), "{refused}");
}

#[test]
fn a_body_that_the_client_cuts_short_is_400_and_not_the_components_fault() {
    let home = Home::new();
    let site = guest(&home);
    for (announced, sent) in [(10, 5), (10, 0), (500_000, 100_000)] {
        let mut stream = site.connect();
        let head = format!("POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: {announced}\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(&vec![b'x'; sent]).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 "), "{sent}: {answer}");
    }
    let log = site.stop();
    assert!(!log.contains("WARN"), "{log}");
    let line = r#"INFO method=POST path="/read" status=400 "#;
    assert_eq!(log.matches(line).count(), 3, "{log}");
}

#[test]
fn a_client_that_closes_its_sending_side_gets_its_answer() {
    let home = Home::new();
    let site = guest(&home);
    for request in [
        "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /hello HTTP/1.0\r\n\r\n",
        "POST /hello HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}",
    ] {
        let mut stream = site.connect();
        stream.write_all(request.as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.contains(" 200 OK\r\n"), "{answer}");
        assert!(answer.contains("hello"), "{answer}");
    }
    let log = site.stop();
    assert_eq!(log.matches("status=200").count(), 3, "{log}");
}

#[test]
fn a_client_that_goes_away_is_one_line_with_499_and_no_warning() {
    let home = Home::new();
    let site = guest(&home);
    let mut stream = site.connect();
    let request = b"GET /wait-and-write HTTP/1.1\r\nHost: a\r\n\r\n";
    stream.write_all(request).unwrap();
    wait_for_sessions(&site, "1");
    drop(stream);
    assert_eq!(site.get("/go").status, 200);
    wait_for_sessions(&site, "3");
    let log = site.stop();
    let line = r#"INFO method=GET path="/wait-and-write" status=499 "#;
    assert_eq!(log.matches(line).count(), 1, "{log}");
    assert_eq!(log.matches("/wait-and-write").count(), 1, "{log}");
    assert!(!log.contains("WARN"), "{log}");
}

#[test]
fn a_trap_after_a_response_without_a_body_is_in_the_log() {
    let home = Home::new();
    let site = guest(&home);
    for request in [
        "HEAD /trap-after-the-body HTTP/1.0\r\n\r\n",
        "GET /trap-after/204 HTTP/1.0\r\n\r\n",
        "GET /trap-after/304 HTTP/1.0\r\n\r\n",
    ] {
        let answer = answer(&site, request.as_bytes());
        assert!(answer.ends_with("\r\n\r\n"), "{answer}");
    }
    assert_eq!(site.get("/go").status, 200);
    let log = site.stop();
    let failed = log.matches("WARN the component failed").count();
    assert_eq!(failed, 3, "{log}");
}

#[test]
fn a_component_can_write_the_body_of_a_response_to_head() {
    let home = Home::new();
    let site = guest(&home);
    let answer = answer(&site, b"HEAD /insist HTTP/1.0\r\n\r\n");
    assert!(answer.ends_with("\r\n\r\n"), "{answer}");
    let log = site.stop();
    assert!(!log.contains("WARN"), "{log}");
}

/// Waits until the store has `count` sessions.
fn wait_for_sessions(site: &Site, count: &str) {
    let started = Instant::now();
    while site.get("/count").body != count {
        assert!(started.elapsed() < Duration::from_secs(120));
    }
}

#[test]
fn a_components_status_below_200_is_500_and_in_the_log() {
    let home = Home::new();
    let site = guest(&home);
    for status in [100, 101, 103, 199] {
        let request = format!(
            "GET /status/{status} HTTP/1.1\r\nHost: a\r\nUpgrade: x\r\n\
             Connection: upgrade, close\r\n\r\n"
        );
        let answer = answer(&site, request.as_bytes());
        assert!(answer.starts_with("HTTP/1.1 500 "), "{status}: {answer}");
    }
    let log = site.stop();
    let reason = "the component responded with a status below 200";
    assert_eq!(log.matches(reason).count(), 4, "{log}");
}

#[test]
fn a_response_without_a_body_ends_with_its_head_and_connection_headers_are_refused() {
    let home = Home::new();
    let site = guest(&home);
    for request in [
        "HEAD /hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        "GET /status/204 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        "GET /status/304 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    ] {
        let answer = answer(&site, request.as_bytes());
        assert!(answer.ends_with("\r\n\r\n"), "{answer}");
        assert_eq!(answer.matches("\r\n\r\n").count(), 1, "{answer}");
    }
    for name in ["connection", "transfer-encoding", "upgrade", "a:b", ""] {
        let set = site.get(&format!("/header/{name}"));
        assert_eq!(set.body, "false", "{name}");
    }
}
