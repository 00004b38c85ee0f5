//! Tests of stopping `wasi-sessions serve`: requests in flight are finished, within a limit.

use std::io::{Read, Write};
use std::thread;
use std::time::{Duration, Instant};

use crate::command::run_cli;
use crate::fixture::Home;
use crate::served::Site;

use super::{SOON, guest};

#[test]
fn a_stop_keeps_every_answered_write_and_finishes_requests_in_flight() {
    let home = Home::new();
    let site = guest(&home, &[]);
    let ids = thread::scope(|scope| {
        let clients: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    let mut ids = vec![];
                    // Ends when the server no longer answers.
                    while let Some(id) = created(&site) {
                        ids.push(id);
                    }
                    ids
                })
            })
            .collect();
        assert_eq!(site.post("/create", b"{}").status, 200);
        site.terminate();
        let ids = clients
            .into_iter()
            .flat_map(|client| client.join().unwrap());
        ids.collect::<Vec<String>>()
    });
    let (status, log) = site.ended();
    assert_eq!(status.code(), Some(0), "{log}");
    for id in &ids {
        let read = run_cli(&home, &["get", id]);
        assert_eq!((read.code, read.output.as_str()), (0, "{}"));
    }
}

/// Creates a session over HTTP; returns its id, or `None` without an answer. An answer must
/// be complete.
fn created(site: &Site) -> Option<String> {
    let mut stream = std::net::TcpStream::connect(site.address).ok()?;
    let request = format!(
        "POST /create HTTP/1.0\r\nHost: {}\r\nContent-Length: 2\r\n\r\n{{}}",
        site.address
    );
    stream.write_all(request.as_bytes()).ok()?;
    let mut response = String::new();
    stream.read_to_string(&mut response).ok()?;
    let (head, id) = response.split_once("\r\n\r\n")?;
    assert!(head.starts_with("HTTP/1.0 200 "), "{response}");
    assert_eq!(id.len(), 43, "{response}");
    Some(id.to_owned())
}

#[test]
fn a_stop_waits_for_requests_in_flight() {
    let home = Home::new();
    let site = guest(&home, &[]);
    let mut request = site.begin("/create");
    site.begin_to_stop();
    request.write_all(b"-last").unwrap();
    let mut response = String::new();
    request.read_to_string(&mut response).unwrap();
    assert!(response.starts_with("HTTP/1.1 200 OK"), "{response}");
    let id = response.lines().find(|line| line.len() == 43).unwrap();
    let (status, log) = site.ended();
    assert_eq!(status.code(), Some(0), "{log}");
    assert_eq!(run_cli(&home, &["get", id]).output, "first-last");
}

#[test]
fn a_stop_waits_no_longer_than_a_request_may_take() {
    let home = Home::new();
    let site = guest(&home, &SOON);
    // On a busy machine a request may be late before its body is read.
    let begun = (0..100).find_map(|_| site.try_begin("/create"));
    let _never_complete = begun.expect("the server begins to read the body");
    let started = Instant::now();
    let log = site.stop();
    // Requests with more time have 7 seconds.
    assert!(started.elapsed() < Duration::from_secs(7), "{log}");
}

#[test]
fn a_client_that_goes_away_does_not_stop_its_request() {
    let home = Home::new();
    let site = guest(&home, &[]);
    let mut stream = site.connect();
    let request = format!(
        "GET /wait-for-go HTTP/1.1\r\nHost: {}\r\n\r\n",
        site.address
    );
    stream.write_all(request.as_bytes()).unwrap();
    wait_for_sessions(&site, "1");
    drop(stream);
    assert_eq!(site.get("/go").status, 200);
    wait_for_sessions(&site, "3");
    let log = site.stop();
    let line = r#"INFO method=GET path="/wait-for-go" status=499 "#;
    assert_eq!(log.matches(line).count(), 1, "{log}");
}

/// Waits until the store has `count` sessions.
fn wait_for_sessions(site: &Site, count: &str) {
    let started = Instant::now();
    while site.get("/count").body != count {
        assert!(started.elapsed() < Duration::from_secs(120));
    }
}
