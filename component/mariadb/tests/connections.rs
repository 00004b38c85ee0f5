//! Connections: how they are made, kept, lost and replaced.

use crate::engine::{Durability, Engine, Error, Options, Outcome, Store};
use crate::fixture::{Database, NOW, SERVER, SETUP, create, is_live};
use crate::networked::proxy::{Network, Proxy};
use crate::server::{PASSWORD, Server, is_mysql, processes};
use std::thread;

/// Takes more than the second after which an unused connection is asked with a ping.
const LONG_UNUSED: &str = "DO SLEEP(1.1)";

/// The options of stores in servers of their own.
pub fn options() -> Options {
    Options {
        durability: Durability::Relaxed,
        sync_timeout: 120_000,
        ..Options::default()
    }
}

pub fn words<T: std::fmt::Debug>(answer: Result<T, Error>) -> String {
    match answer {
        Err(Error::Other(words)) => words,
        other => panic!("{other:?}"),
    }
}

pub fn refusal(opened: Result<Store, Error>) -> String {
    words(opened.map(drop))
}

/// The password of `guarded` as a URL has it.
fn encoded_password() -> String {
    PASSWORD.replace(' ', "%20").replace(',', "%2C")
}

/// Ends the connections of `tester` to a database.
fn kill(database: &Database) {
    let ids = database.sql(&format!(
        "SELECT id FROM {} WHERE user = 'tester' AND db = '{}'",
        processes(),
        database.name
    ));
    for id in ids.lines() {
        database.sql(&format!("KILL {id}"));
    }
}

/// How many connections `tester` has to a database.
fn connections(database: &Database) -> i64 {
    database.number(&format!(
        "SELECT COUNT(*) FROM {} WHERE user = 'tester' AND db = '{}'",
        processes(),
        database.name
    ))
}

#[test]
fn a_connection_is_kept_across_stores() {
    let database = Database::new(SETUP);
    let mut ids = vec![];
    for _ in 0..10 {
        ids.push(create(&mut database.open(), NOW, None));
    }
    assert_eq!(connections(&database), 1);
    // Two at once have a connection each.
    let (mut first, mut second) = (database.open(), database.open());
    for id in &ids {
        assert!(is_live(&mut first, NOW, id) && is_live(&mut second, NOW, id));
    }
}

#[test]
fn a_read_through_a_connection_that_was_killed_is_tried_once_more() {
    let database = Database::new(SETUP);
    let mut store = database.open();
    let id = create(&mut store, NOW, None);
    kill(&database);
    assert!(is_live(&mut store, NOW, &id));
}

#[test]
fn a_write_after_the_server_has_ended_an_idle_connection_is_done() {
    let server = Server::start(&["--wait-timeout=1"]);
    let url = format!("mysql://tester@127.0.0.1:{}/shop", server.port);
    let mut store = Store::open(&url, options(), NOW).unwrap();
    let id = create(&mut store, NOW, None);
    let ours = format!("SELECT COUNT(*) FROM {} WHERE user = 'tester'", processes());
    for version in 2..4 {
        while server.sql("shop", &ours) != "0" {
            thread::yield_now();
        }
        // The store counts the time from when it has read the answer.
        server.sql("shop", LONG_UNUSED);
        let outcome = store.set(NOW, &id, b"", None);
        assert!(
            matches!(&outcome, Ok(Outcome::Written(written)) if written.version == version),
            "{outcome:?}"
        );
    }
}

#[test]
fn a_transaction_whose_connection_breaks_before_its_commit_is_run_again() {
    let database = Database::new(SETUP);
    let mut store = database.open();
    store.set(NOW, "mine", b"", None).unwrap();
    store.rotate(NOW, "mine", None).unwrap().unwrap();
    store.set(NOW + 100_000, "mine", b"", None).unwrap();
    // It waits for the row that is locked here.
    let lock = "UPDATE Sessions SET updated = updated + 1";
    let other = database.server().begin(&database.name, lock);
    thread::scope(|scope| {
        let rotating = scope.spawn(|| {
            let mut store = database.open();
            store.rotate(NOW + 100_000, "mine", Some("alice"))
        });
        let waiting = match is_mysql() {
            true => {
                "SELECT COUNT(*) FROM performance_schema.data_locks
                 WHERE lock_status = 'WAITING' AND object_schema = DATABASE()"
            }
            false => {
                "SELECT COUNT(*) FROM information_schema.processlist
                 WHERE info LIKE '%FOR UPDATE' AND time_ms > 100 AND db = DATABASE()"
            }
        };
        while database.number(waiting) == 0 {
            thread::yield_now();
        }
        kill(&database);
        drop(other);
        let rotated = rotating.join().unwrap().unwrap().unwrap();
        assert!(is_live(&mut store, NOW + 100_000, &rotated.id));
    });
    assert_eq!(store.count_sessions(NOW + 100_000, Some("alice")), Ok(1));
}

#[test]
fn what_a_cancelled_call_left_on_the_connection_is_never_anothers_answer() {
    let database = Database::new(SETUP);
    drop(database.open());
    let proxy = Proxy::start(SERVER.port);
    let port = |port: u16| format!(":{port}/");
    let url = database
        .url()
        .replace(&port(SERVER.port), &port(proxy.port));
    let hurried = Options {
        sync_timeout: 10_000,
        ..database.options.clone()
    };
    let mut store = Store::open(&url, hurried.clone(), NOW).unwrap();
    store.set(NOW, "alice", b"alice", None).unwrap();
    store.set(NOW, "bob", b"bob", None).unwrap();
    assert!(is_live(&mut store, NOW, "alice"));
    proxy.set(Network::SwallowsAnswers);
    assert_eq!(store.get(NOW, "alice"), Err(Error::Busy));
    // Neither this store nor the next one gets the connection.
    drop(store);
    proxy.set(Network::Works);
    let before = proxy.connections();
    let mut store = Store::open(&url, hurried, NOW).unwrap();
    assert_eq!(proxy.connections(), before + 1);
    assert_eq!(store.get(NOW, "bob").unwrap().unwrap().data, b"bob");
}

#[test]
fn a_restart_of_the_server_between_calls_is_not_noticed() {
    let mut server = Server::start(&[]);
    let url = format!("mysql://tester@127.0.0.1:{}/shop", server.port);
    let mut store = Store::open(&url, options(), NOW).unwrap();
    let id = create(&mut store, NOW, None);
    for _ in 0..2 {
        server.stop();
        server.restart();
        server.sql("shop", LONG_UNUSED);
        let outcome = store.set(NOW, &id, b"", None);
        assert!(matches!(outcome, Ok(Outcome::Written(_))), "{outcome:?}");
    }
    assert_eq!(store.get(NOW, &id).unwrap().unwrap().version, 3);
}

#[test]
fn the_ping_of_an_unused_connection_leaves_time_for_the_next_server() {
    let database = Database::new(SETUP);
    drop(database.open());
    let proxy = Proxy::start(SERVER.port);
    let one = format!("127.0.0.1:{}", SERVER.port);
    let both = format!("127.0.0.1:{},{one}", proxy.port);
    let url = database.url().replace(&one, &both);
    let hurried = Options {
        sync_timeout: 20_000,
        ..database.options.clone()
    };
    let mut store = Store::open(&url, hurried, NOW).unwrap();
    assert_eq!(proxy.connections(), 1);
    proxy.set(Network::SwallowsAll);
    database.sql(LONG_UNUSED);
    let outcome = store.set(NOW, "mine", b"", None);
    assert!(matches!(outcome, Ok(Outcome::Written(_))), "{outcome:?}");
    assert_eq!(proxy.connections(), 2);
}

#[test]
fn a_replica_is_never_used_and_a_server_that_becomes_one_is_left() {
    let replica = Server::start(&["--read-only"]);
    let database = Database::new(SETUP);
    let one = format!("127.0.0.1:{}", SERVER.port);
    let both = format!("127.0.0.1:{},{one}", replica.port);
    let url = database.url().replace(&one, &both);
    let mut store = Store::open(&url, database.options.clone(), NOW).unwrap();
    let id = create(&mut store, NOW, None);
    assert!(is_live(&mut database.open(), NOW, &id));

    let url = format!("mysql://tester@127.0.0.1:{}/shop", replica.port);
    let hurried = Options {
        sync_timeout: 10_000,
        ..options()
    };
    let refused = refusal(Store::open(&url, hurried.clone(), NOW));
    assert!(refused.contains("replica"), "{refused}");

    // A failover, and another back. Without that right, the user cannot write to a replica.
    let right = match is_mysql() {
        true => "SUPER, CONNECTION_ADMIN",
        false => "READ ONLY ADMIN",
    };
    replica.sql("mysql", &format!("REVOKE {right} ON *.* FROM tester"));
    replica.sql("mysql", "SET GLOBAL read_only = OFF");
    let mut store = Store::open(&url, hurried, NOW).unwrap();
    let id = create(&mut store, NOW, None);
    replica.sql("mysql", "SET GLOBAL read_only = ON");
    let refused = words(store.set(NOW, &id, b"", None));
    assert!(refused.contains("replica"), "{refused}");
    replica.sql("mysql", "SET GLOBAL read_only = OFF");
    assert!(matches!(
        store.set(NOW, &id, b"", None),
        Ok(Outcome::Written(_))
    ));
}

#[test]
fn the_password_is_proved_and_never_part_of_an_error() {
    let port = SERVER.port;
    let encoded = encoded_password();
    let url = |password: &str, database: &str| {
        format!("mysql://guarded:{password}@127.0.0.1:{port}/{database}")
    };
    assert!(Store::open(&url(&encoded, "shop"), options(), NOW).is_ok());
    for (url, code) in [
        (url("wr0ng-s3cret", "shop"), "1045"),
        (url(&encoded, "missing"), "1049"),
    ] {
        let words = refusal(Store::open(&url, options(), NOW));
        assert!(words.contains(code) && !words.contains("s3cret"), "{words}");
    }
}

#[test]
fn with_tls_the_certificate_and_its_name_are_verified() {
    let server = Server::start(&["--ssl"]);
    let open_as = |user: &str, host: &str, roots: Option<String>| {
        let port = server.port;
        let url = format!("mysql://{user}@{host}:{port}/shop?ssl-mode=VERIFY_IDENTITY");
        let options = Options {
            tls_roots: roots,
            ..options()
        };
        Store::open(&url, options, NOW)
    };
    let open = |host: &str, roots| open_as("tester", host, roots);
    server.sql("mysql", "ALTER USER tester REQUIRE SSL");
    let mut store = open("localhost", Some(server.certificate())).unwrap();
    let id = create(&mut store, NOW, None);
    let large = vec![b'x'; 1 << 20];
    store.set(NOW, &id, &large, None).unwrap();
    assert!(store.get(NOW, &id).unwrap().unwrap().data == large);

    // MySQL verifies a password otherwise once it has seen it.
    let user = format!("guarded:{}", encoded_password());
    let guarded = || open_as(&user, "localhost", Some(server.certificate())).unwrap();
    let (mut first, mut second) = (guarded(), guarded());
    assert!(is_live(&mut first, NOW, &id) && is_live(&mut second, NOW, &id));

    for (host, roots) in [
        ("localhost", None),
        ("127.0.0.1", Some(server.certificate())),
    ] {
        let words = refusal(open(host, roots));
        for expected in ["TLS", "certificate", "`tlsRoots`", "`ssl-mode=DISABLED`"] {
            assert!(words.contains(expected), "{words}");
        }
    }
    let plain = format!("mysql://tester@127.0.0.1:{}/shop", server.port);
    let words = refusal(Store::open(&plain, options(), NOW));
    assert!(words.contains("1045"), "{words}");
    // A server without TLS is not connected to in the clear.
    let url = format!(
        "mysql://tester@localhost:{}/shop?ssl-mode=VERIFY_IDENTITY",
        SERVER.port
    );
    let words = refusal(Store::open(&url, options(), NOW));
    assert!(words.contains("no TLS"), "{words}");
}
