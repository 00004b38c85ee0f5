//! Tests of the errors that callers get when the server, the network or the component fails.

use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use wasi_sessions::{Database, Error, Options, Sessions};

use super::server::{Server, options, over};
use super::waiting::PATIENCE;
use crate::fixture::{create, data};
use crate::process::Port;

on_each_server! {
    no_error_has_the_password,
    servers_that_accept_no_connection_are_named,
    an_address_that_the_host_does_not_read_in_the_url_cannot_be_connected_to,
    a_restart_of_the_server_under_load_loses_nothing_that_was_answered,
    a_component_that_crashes_fails_its_request_and_is_started_again,
    a_clock_that_panics_closes_the_store,
}

fn no_error_has_the_password(server: &Server) {
    let wrong = "wrong-and-secret";
    let url = server.url();
    let with_password = url.replace('@', &format!(":{wrong}@"));
    let (scheme, unverified) = (server.kind().scheme, server.kind().unverified);
    for database in [
        Database::new(&*url).password(wrong),
        Database::new(with_password),
        Database::new(format!("{scheme}://u:{wrong}@host:port/d")),
        Database::new(format!("{scheme}://u:{wrong}@127.0.0.1/d?{unverified}")),
        Database::new(format!("other://u:{wrong}@127.0.0.1/d")),
        Database::new(format!("{scheme}://u:p@{wrong}/word@127.0.0.1/d")),
        Database::new(format!("{scheme}://u:p/{wrong}@127.0.0.1/d")),
    ] {
        let shown = format!("{database:?}");
        let error = over(database).open().wait().unwrap_err();
        let texts = format!("{shown} {error} {error:?}");
        assert!(!texts.contains("secret"), "{texts}");
    }
    let refused = over(Database::new(url).password(wrong)).open().wait();
    let words = refused.unwrap_err().to_string();
    assert!(words.contains(server.kind().denied), "{words}");
    let sessions = server.builder().open().wait().unwrap();
    let shown = format!("{sessions:?}");
    assert!(shown.contains(&server.address().to_string()), "{shown}");
    assert!(!shown.contains("s3cret"), "{shown}");
}

fn servers_that_accept_no_connection_are_named(server: &Server) {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let reserved = Port::reserve();
    let closed = reserved.number;
    let scheme = server.kind().scheme;
    let url = format!("{scheme}://u:secret@127.0.0.1:{closed},127.0.0.1:{port}/d");
    let servers = format!("127.0.0.1:{closed}, 127.0.0.1:{port}");
    let impatient = over(Database::new(url)).options(Options {
        sync_timeout: Duration::from_millis(300),
        ..Options::default()
    });
    let failed = impatient.open().wait().unwrap_err();
    assert_eq!(failed, Error::Unreachable { servers });
}

fn an_address_that_the_host_does_not_read_in_the_url_cannot_be_connected_to(server: &Server) {
    // The component decodes this host name, and the crate does not.
    let url = server.url().replace("127.0.0.1", "%31%32%37.0.0.1");
    let refused = over(Database::new(url)).open().wait().unwrap_err();
    let refused = refused.to_string();
    assert!(refused.contains("does not let it connect"), "{refused}");
}

fn a_restart_of_the_server_under_load_loses_nothing_that_was_answered(server: &Server) {
    const CONNECTIONS: usize = 4;
    const RESTARTS: usize = 3;
    let mut server = server.another();
    let sessions = over(server.database().connections(CONNECTIONS));
    let sessions = sessions.open().wait().unwrap();
    let writers = [(); 8].map(|()| Writer {
        id: create(&sessions, "0"),
        answered: AtomicU64::new(0),
    });
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let _stop = StopAtEnd(&stop);
        let running = writers
            .each_ref()
            .map(|writer| scope.spawn(|| writer.run(&sessions, &stop)));
        for _ in 0..RESTARTS {
            server.stop();
            server.restart();
            writers.iter().for_each(Writer::wait_for_answers);
        }
        stop.store(true, Ordering::SeqCst);
        for (running, writer) in running.into_iter().zip(&writers) {
            let (sent, unknown) = running.join().unwrap();
            let session = sessions.get(&writer.id).wait().unwrap().unwrap();
            let found: u64 = String::from_utf8(session.data).unwrap().parse().unwrap();
            let answered = writer.answered.load(Ordering::SeqCst);
            assert!((answered..=sent).contains(&found));
            // No write was done twice: the version counts the creation, each answered write,
            // and perhaps those whose outcome is unknown.
            let least = 1 + sent - unknown as u64;
            assert!((least..=1 + sent).contains(&session.version));
            // A server that stops ends its connections one after the other.
            assert!(unknown <= RESTARTS * CONNECTIONS, "{unknown}");
        }
    });
    assert_eq!(sessions.check().wait(), Ok(vec![]));
}

/// A caller that writes increasing numbers to a session.
struct Writer {
    id: String,
    /// The last number whose write was answered.
    answered: AtomicU64,
}

impl Writer {
    /// Writes until `stop` is set; returns the last number, and how often the outcome was
    /// unknown.
    fn run(&self, sessions: &Sessions, stop: &AtomicBool) -> (u64, usize) {
        let (mut number, mut unknown) = (0, 0);
        while !stop.load(Ordering::SeqCst) {
            number += 1;
            match sessions.set(&self.id, number.to_string(), None).wait() {
                Ok(_) => self.answered.store(number, Ordering::SeqCst),
                Err(Error::UnknownOutcome(_)) => unknown += 1,
                Err(error) => panic!("{error}"),
            }
            // A read does not fail: it is retried, or waits for a connection.
            let found: u64 = data(sessions, &self.id).unwrap().parse().unwrap();
            let answered = self.answered.load(Ordering::SeqCst);
            assert!((answered..=number).contains(&found));
        }
        (number, unknown)
    }

    fn wait_for_answers(&self) {
        let before = self.answered.load(Ordering::SeqCst);
        let started = Instant::now();
        while self.answered.load(Ordering::SeqCst) < before + 10 {
            assert!(started.elapsed() < PATIENCE);
            thread::yield_now();
        }
    }
}

/// Stops the writers when the test ends, even by a panic.
struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

fn a_component_that_crashes_fails_its_request_and_is_started_again(server: &Server) {
    let sessions = over(server.database().connections(1))
        .memory_limit(16 << 20)
        .options(Options {
            max_data: 64 << 20,
            ..options()
        })
        .open()
        .wait()
        .unwrap();
    for _ in 0..3 {
        let id = create(&sessions, "kept");
        let overlong = sessions.create(vec![0; 32 << 20]).wait();
        assert_eq!(overlong, Err(Error::Crashed));
        assert_eq!(data(&sessions, &id).as_deref(), Some("kept"));
    }
    assert_eq!(sessions.count_sessions(None).wait(), Ok(3));
}

fn a_clock_that_panics_closes_the_store(server: &Server) {
    static PANICS: AtomicBool = AtomicBool::new(false);
    let sessions = server
        .builder()
        .options(options())
        .clock(|| match PANICS.load(Ordering::SeqCst) {
            true => panic!("no time"),
            false => std::time::SystemTime::now(),
        })
        .open()
        .wait()
        .unwrap();
    let id = create(&sessions, "{}");
    PANICS.store(true, Ordering::SeqCst);
    assert_eq!(sessions.get(&id).wait(), Err(Error::Closed));
    PANICS.store(false, Ordering::SeqCst);
    assert_eq!(sessions.get(&id).wait(), Err(Error::Closed));
}
