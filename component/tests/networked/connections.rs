//! What a network may do between a store and its server.

use super::proxy::{Network, Proxy};
use crate::engine::{Engine, Error, Options, Store};
use crate::fixture::{Database, NOW, SETUP, is_live, server_port};

/// A database that is reached through a proxy, and a store that has it open for calls of
/// at most `limit` milliseconds, and has prepared the statements of the tests.
fn proxied(limit: u64) -> (Proxy, Store) {
    let database = Database::with(SETUP, |options| options.gc_frequency = 0);
    // Creates the table, for which there is more time.
    drop(database.open());
    let proxy = Proxy::start(server_port());
    let options = Options {
        sync_timeout: limit,
        ..database.options.clone()
    };
    let mut store = Store::open(&at_port(&database, proxy.port), options, NOW).unwrap();
    store.set(NOW, "first", b"", None).unwrap();
    store.get(NOW, "first").unwrap();
    store.destroy(NOW, "first").unwrap();
    (proxy, store)
}

/// The URL of a database with another port.
fn at_port(database: &Database, port: u16) -> String {
    let server = format!(":{}/", server_port());
    database.url().replace(&server, &format!(":{port}/"))
}

fn is_unknown<T: std::fmt::Debug>(answer: Result<T, Error>) -> bool {
    match answer {
        Err(Error::Other(words)) => words.contains("unknown"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_connection_is_kept_across_calls() {
    let (proxy, mut store) = proxied(30_000);
    for _ in 0..10 {
        store.set(NOW, "mine", b"", None).unwrap();
    }
    assert_eq!(proxy.connections(), 1);
}

#[test]
fn a_write_whose_answer_is_lost_says_that_its_outcome_is_unknown() {
    let (proxy, mut store) = proxied(30_000);
    proxy.set(Network::LosesAnswers);
    assert!(is_unknown(store.set(NOW, "mine", b"a", None)));
    proxy.set(Network::Works);
    // It was done once.
    let session = store.get(NOW, "mine").unwrap().unwrap();
    assert_eq!((session.version, session.data), (1, b"a".to_vec()));
    assert_eq!(store.destroy(NOW, "other"), Ok(false));

    proxy.set(Network::LosesRequests);
    assert!(is_unknown(store.destroy(NOW, "mine")));
    proxy.set(Network::Works);
    assert!(is_live(&mut store, NOW, "mine"));
}

#[test]
fn a_read_whose_answer_is_lost_is_retried_once() {
    let (proxy, mut store) = proxied(3000);
    store.set(NOW, "mine", b"a", None).unwrap();
    // The first answer is lost while the network already works again for the second.
    proxy.set(Network::LosesAnswers);
    let healer = std::thread::spawn({
        let before = proxy.connections();
        move || {
            while proxy.connections() == before {
                std::thread::yield_now();
            }
            proxy.set(Network::Works);
            proxy
        }
    });
    let session = store.get(NOW, "mine").unwrap().unwrap();
    assert_eq!(session.data, b"a");
    healer.join().unwrap();
}

#[test]
fn a_late_answer_is_never_given_to_another_request() {
    let (proxy, mut store) = proxied(3000);
    store.set(NOW, "alice", b"alice", None).unwrap();
    store.set(NOW, "bob", b"bob", None).unwrap();
    for round in 0..3 {
        proxy.set(Network::SwallowsAnswers);
        assert_eq!(store.get(NOW, "alice"), Err(Error::Busy));
        proxy.set(Network::Works);
        let session = store.get(NOW, "bob").unwrap().unwrap();
        assert_eq!(session.data, b"bob", "round {round}");
        store.set(NOW, "bob", b"bob", None).unwrap();
    }
    proxy.set(Network::SwallowsAnswers);
    assert!(is_unknown(store.set(NOW, "bob", b"late", None)));
    proxy.set(Network::Works);
    let session = store.get(NOW, "alice").unwrap().unwrap();
    assert_eq!(session.data, b"alice");
}

#[test]
fn an_unreachable_server_is_busy_after_sync_timeout() {
    let (proxy, mut store) = proxied(3000);
    proxy.set(Network::LosesRequests);
    let _ = store.get(NOW, "mine");
    assert_eq!(store.get(NOW, "mine"), Err(Error::Busy));
    proxy.set(Network::SwallowsAll);
    assert_eq!(store.set(NOW, "mine", b"", None), Err(Error::Busy));
    proxy.set(Network::Works);
    assert_eq!(store.get(NOW, "mine"), Ok(None));

    // Nothing listens on this port: its listener is gone.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = port.local_addr().unwrap().port();
    let database = Database::with(SETUP, |options| options.sync_timeout = 100);
    let url = at_port(&database, port);
    let opened = Store::open(&url, database.options.clone(), NOW);
    assert_eq!(opened.err(), Some(Error::Busy));
}

#[test]
fn a_server_that_swallows_everything_leaves_time_for_the_next() {
    let (proxy, _) = proxied(30_000);
    proxy.set(Network::SwallowsAll);
    let database = Database::with(SETUP, |options| options.sync_timeout = 6000);
    let one = format!("127.0.0.1:{}", server_port());
    let both = format!("127.0.0.1:{},{one}", proxy.port);
    let url = database.url().replace(&one, &both);
    let before = proxy.connections();
    let mut store = Store::open(&url, database.options.clone(), NOW).unwrap();
    assert_eq!(proxy.connections(), before + 1);
    store.set(NOW, "mine", b"", None).unwrap();
}
