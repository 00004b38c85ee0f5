//! Tests of hostile clients and guests: nothing that they send stops the server, and the
//! resources of a guest are bounded.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::{Config, TestRunner};

use crate::fixture::Home;
use crate::guests;
use crate::served::Site;

/// The longest that a request may take beside guests that take all they can: much longer than
/// it does, since other tests may occupy the processors.
const LONGEST: Duration = Duration::from_secs(30);

/// Valid requests, and some that are almost valid.
const CORPUS: &[&str] = &[
    "GET /hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    "POST /length HTTP/1.1\r\nHost: a:80\r\nContent-Length: 3\r\n\r\nabc",
    "POST /length HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    "POST /create HTTP/1.0\r\nContent-Length: 2\r\n\r\n{}",
    "OPTIONS * HTTP/1.1\r\nHost: [::1]:80\r\n\r\n",
    "HEAD http://a/hello?q=%00 HTTP/1.1\r\nHost: b\r\nExpect: 100-continue\r\n\r\n",
    "GET /hello HTTP/1.1\r\nHost: a\r\n\r\nGET /hello HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /target HTTP/1.1\r\nHost: a\r\nCookie: id=x; id=\"y\"; __Host-id==\r\nUpgrade: h2c\r\n\r\n",
];

/// Byte sequences that servers often handle wrongly.
const PIECES: &[&[u8]] = &[
    b"\r\n",
    b"\n",
    b"\r",
    b"\0",
    b" ",
    b"\t",
    b":",
    b";",
    b"%",
    b"\xff",
    b"\xc3\x28",
    b"HTTP/2.0",
    b"HTTP/1.0",
    b"Host: c\r\n",
    b"Content-Length: 18446744073709551616\r\n",
    b"Content-Length: -1\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: x\r\n",
    b"ffffffffffffffff\r\n",
    b"0\r\n\r\n",
    b"CONNECT ",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"http://",
    b"//",
    b"@",
    b"#",
    b"Cookie: =;;=\r\n",
    b"Connection: upgrade\r\n",
    &[b'x'; 70_000],
];

/// A request of the corpus with random edits.
fn request() -> impl Strategy<Value = Vec<u8>> {
    let edit = (any::<Index>(), 0..6_usize, select(PIECES));
    (select(CORPUS), vec(edit, 0..5)).prop_map(|(seed, edits)| {
        edits
            .iter()
            .fold(seed.as_bytes().to_vec(), |bytes, (at, length, piece)| {
                let at = at.index(bytes.len() + 1);
                let end = (at + length).min(bytes.len());
                [&bytes[..at], piece, &bytes[end..]].concat()
            })
    })
}

/// Sends these bytes and closes the sending side; returns all that the server sends.
fn answer(site: &Site, request: &[u8]) -> Vec<u8> {
    let mut stream = site.connect();
    // Fails if the server answers and closes before it has read everything.
    let _ = stream.write_all(request);
    let _ = stream.shutdown(Shutdown::Write);
    let mut answer = vec![];
    let _ = stream.read_to_end(&mut answer);
    answer
}

#[test]
fn any_bytes_of_a_client_are_answered_in_http_or_not_at_all() {
    let home = Home::new();
    let arguments = [
        "--component",
        guests::FILE,
        "--admin",
        "--body-timeout",
        "1s",
    ];
    let site = Site::start(&home, &arguments);
    let mut runner = TestRunner::new(Config::with_cases(500));
    let ran = runner.run(&request(), |request| {
        let answer = answer(&site, &request);
        prop_assert!(answer.is_empty() || answer.starts_with(b"HTTP/1."));
        Ok(())
    });
    ran.unwrap();
    assert_eq!(site.get("/hello").body, "hello");
    let log = site.stop();
    assert!(!log.contains("panic"), "{log}");
}

#[test]
fn a_guest_that_opens_too_many_stores_gets_a_clear_error() {
    let home = Home::new();
    let site = Site::start(&home, &["--component", guests::FILE, "--admin"]);
    let hoarded = site.get("/hoard-stores");
    assert_eq!(hoarded.status, 200, "{}", hoarded.body);
    let (count, refusal) = hoarded.body.split_once(' ').unwrap();
    assert!(count.parse::<u32>().unwrap() < 1000, "{count}");
    assert!(refusal.contains("no more resources"), "{refusal}");
    assert_eq!(site.get("/hello").body, "hello");
}

#[test]
fn huge_batches_of_guests_get_a_clear_error_and_others_are_answered_meanwhile() {
    let home = Home::new();
    let arguments = ["--component", guests::FILE, "--admin", "--timeout", "10m"];
    let site = Site::start(&home, &arguments);
    let words = site.get("/batches").body;
    let lines: Vec<&str> = words.lines().collect();
    assert!(lines[0].contains("1001 in one batch"), "{words}");
    assert!(lines[1].contains("more memory or time"), "{words}");
    assert_eq!(lines[2..], ["0 of 20", "1 of 1", "0 of 1"], "{words}");

    let done = AtomicBool::new(false);
    let longest = thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    assert_eq!(site.get("/batches").status, 200);
                }
            });
        }
        let mut longest = Duration::ZERO;
        for _ in 0..100 {
            let started = Instant::now();
            let status = site.post("/create", b"{}").status;
            longest = longest.max(started.elapsed());
            if status != 200 || longest > LONGEST {
                done.store(true, Ordering::Relaxed);
                panic!("{status} after {longest:?}");
            }
        }
        done.store(true, Ordering::Relaxed);
        longest
    });
    println!("beside four guests with huge batches a request took at most {longest:?}");
}
