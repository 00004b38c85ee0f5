//! What a network may do between a store and its server.

use super::proxy::{Network, Proxy};
use crate::engine::{Engine, Error, Options, Outcome, Store, Written};
use crate::fixture::{Database, NOW, SETUP, server_port};
use crate::process::Port;
use std::time::{Duration, Instant};

/// The time limit of a test's waiting, much longer than it takes.
pub const PATIENCE: Duration = Duration::from_secs(300);

/// A database that is reached through a proxy, and a store that has it open for calls of
/// at most `limit` milliseconds, and has prepared the statements of the tests.
fn proxied(limit: u64) -> (Proxy, Store) {
    let database = Database::with(SETUP, |options| options.gc_frequency = 0);
    // Creates the table, which takes longer than a call.
    drop(database.open());
    let proxy = Proxy::start(server_port());
    let options = Options {
        sync_timeout: limit,
        ..database.options.clone()
    };
    let url = at_port(&database, proxy.port);
    let mut store = patiently(|| Store::open(&url, options.clone(), NOW));
    prepare(&mut store);
    (proxy, store)
}

/// Repeats a call until it succeeds: a busy machine has too little time for it at first.
fn patiently<T>(mut call: impl FnMut() -> Result<T, Error>) -> T {
    let started = Instant::now();
    loop {
        match call() {
            Ok(done) => return done,
            Err(error) => assert!(started.elapsed() < PATIENCE, "{error:?}"),
        }
    }
}

/// Opens a store, and says whether that took longer than its `sync_timeout`. A busy machine may
/// take as long before the server has answered, which is tried again.
pub fn opens_after_time_out(database: &Database) -> bool {
    let limit = u128::from(database.options.sync_timeout);
    for _ in 0..100 {
        let started = Instant::now();
        match database.try_open(|_| {}) {
            Ok(_) => return started.elapsed().as_millis() > limit,
            Err(error) => assert_eq!(error, Error::Busy),
        }
    }
    panic!("it is never done in time");
}

/// Connects the store, and prepares the statements of the tests.
fn prepare(store: &mut Store) {
    patiently(|| store.set(NOW, "first", b"", None));
    patiently(|| store.get(NOW, "first"));
    patiently(|| store.destroy(NOW, "first"));
}

/// The URL of a database with another port.
pub fn at_port(database: &Database, port: u16) -> String {
    let server = format!(":{}/", server_port());
    database.url().replace(&server, &format!(":{port}/"))
}

/// Checks that the outcome of a write is unknown with this network. The write is not sent, and
/// is tried again, if it comes so late after others that the store first asks whether the
/// connection is alive.
fn check_unknown<T: std::fmt::Debug>(
    (proxy, store): (&Proxy, &mut Store),
    network: Network,
    write: impl Fn(&mut Store) -> Result<T, Error>,
) {
    let started = Instant::now();
    while started.elapsed() < PATIENCE {
        proxy.set(Network::Works);
        prepare(store);
        proxy.set(network);
        match write(store) {
            Err(Error::UnknownOutcome(_)) => return,
            Err(Error::Busy) => {}
            other => panic!("{other:?}"),
        }
    }
    panic!("the write was never sent");
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
fn hot_functions_take_one_round_trip() {
    let (proxy, mut store) = proxied(120_000);
    store.set(NOW, "mine", b"{}", None).unwrap();
    let mut round = |number: u64| -> [u32; 6] {
        let mut before = proxy.round_trips();
        let mut taken = || {
            let all = proxy.round_trips();
            all - std::mem::replace(&mut before, all)
        };
        let now = NOW + number;
        assert!(store.get(now, "mine").unwrap().is_some());
        let get = taken();
        let Ok(Outcome::Written(Written { version, .. })) = store.set(now, "mine", b"{}", None)
        else {
            panic!("the session is there");
        };
        let set = taken();
        let updated = store.update(now, "mine", b"{}", None, Some(version));
        assert!(matches!(updated, Ok(Outcome::Written(_))), "{updated:?}");
        let update = taken();
        let touched = store.touch(now, "mine", Some(5000 + number));
        assert_eq!(touched, Ok(Some(now + 5000 + number)));
        let touch = taken();
        let created = store.create(now, b"{}", None, Some("alice")).unwrap();
        let create = taken();
        assert_eq!(store.destroy(now, &created.id), Ok(true));
        [get, set, update, touch, create, taken()]
    };
    // MariaDB prepares a statement at its first use.
    round(0);
    let started = Instant::now();
    for number in 1.. {
        let begun = Instant::now();
        let taken = round(number);
        // It asks a connection that was unused for a second whether it is alive.
        if begun.elapsed() < Duration::from_millis(900) {
            assert_eq!(taken, [1; 6]);
            break;
        }
        assert!(started.elapsed() < PATIENCE);
    }
    assert_eq!(proxy.connections(), 1);
}

#[test]
fn a_write_whose_answer_is_lost_says_that_its_outcome_is_unknown() {
    let (proxy, mut store) = proxied(10_000);
    let set = |store: &mut Store| store.set(NOW, "mine", b"a", None);
    check_unknown((&proxy, &mut store), Network::LosesAnswers, set);
    proxy.set(Network::Works);
    // It was done once.
    let session = patiently(|| store.get(NOW, "mine")).unwrap();
    assert_eq!((session.version, session.data), (1, b"a".to_vec()));

    let destroy = |store: &mut Store| store.destroy(NOW, "mine");
    check_unknown((&proxy, &mut store), Network::LosesRequests, destroy);
    proxy.set(Network::Works);
    assert!(patiently(|| store.get(NOW, "mine")).is_some());
}

#[test]
fn a_read_whose_answer_is_lost_is_retried_once() {
    let (proxy, mut store) = proxied(30_000);
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
    patiently(|| store.set(NOW, "alice", b"alice", None));
    patiently(|| store.set(NOW, "bob", b"bob", None));
    for round in 0..3 {
        proxy.set(Network::SwallowsAnswers);
        assert_eq!(store.get(NOW, "alice"), Err(Error::Busy));
        proxy.set(Network::Works);
        let session = patiently(|| store.get(NOW, "bob")).unwrap();
        assert_eq!(session.data, b"bob", "round {round}");
        patiently(|| store.set(NOW, "bob", b"bob", None));
    }
    let set = |store: &mut Store| store.set(NOW, "bob", b"late", None);
    check_unknown((&proxy, &mut store), Network::SwallowsAnswers, set);
    proxy.set(Network::Works);
    let session = patiently(|| store.get(NOW, "alice")).unwrap();
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
    assert_eq!(patiently(|| store.get(NOW, "mine")), None);

    // Nothing listens on this port.
    let port = Port::reserve();
    let database = Database::with(SETUP, |options| options.sync_timeout = 100);
    let url = at_port(&database, port.number);
    let opened = Store::open(&url, database.options.clone(), NOW);
    assert_eq!(opened.err(), Some(Error::Busy));
}

#[test]
fn a_server_that_swallows_everything_leaves_time_for_the_next() {
    let (proxy, _) = proxied(30_000);
    proxy.set(Network::SwallowsAll);
    let database = Database::with(SETUP, |options| options.sync_timeout = 20_000);
    let one = format!("127.0.0.1:{}", server_port());
    let both = format!("127.0.0.1:{},{one}", proxy.port);
    let url = database.url().replace(&one, &both);
    let before = proxy.connections();
    let mut store = Store::open(&url, database.options.clone(), NOW).unwrap();
    assert_eq!(proxy.connections(), before + 1);
    store.set(NOW, "mine", b"", None).unwrap();
}
