//! Connections: opened, kept, lost and replaced.

use crate::engine::{Durability, Engine, Error, Options, Outcome, Request, SetRequest, Store};
use crate::fixture::{Database, NOW, SERVER, SETUP, create, is_live};
use crate::networked::connections::at_port;
use crate::networked::proxy::{Network, Proxy};
use crate::relay::relay;
use crate::server::{PASSWORD, Server};
use std::thread;
use std::time::Instant;

#[test]
fn a_connection_is_kept_across_stores() {
    let database = Database::new(SETUP);
    let of_schema = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%{}%'",
        database.schema
    );
    let mut ids = vec![];
    for _ in 0..10 {
        ids.push(create(&mut database.open(), NOW, None));
    }
    assert_eq!(SERVER.sql("postgres", &of_schema), "2", "this query is one");
    // Two open stores have a connection each.
    let (mut first, mut second) = (database.open(), database.open());
    for id in &ids {
        assert!(is_live(&mut first, NOW, id) && is_live(&mut second, NOW, id));
    }
}

#[test]
fn a_session_that_stays_locked_is_busy_and_the_connection_is_kept() {
    let database = Database::with(SETUP, |options| options.sync_timeout = 10_000);
    let mut store = database.open();
    store.set(NOW, "mine", b"", None).unwrap();
    let lock = format!(
        r#"UPDATE {}."Sessions" SET updated = updated"#,
        database.schema
    );
    let other = SERVER.begin(&lock);
    for _ in 0..2 {
        assert_eq!(store.set(NOW, "mine", b"", None), Err(Error::Busy));
        // Reads do not wait for row locks.
        assert_eq!(store.get(NOW, "mine").unwrap().unwrap().version, 1);
    }
    // Collection skips locked rows.
    let collected = store.collect(u64::MAX, 9).unwrap();
    assert_eq!((collected.removed, collected.more), (0, true));
    drop(other);
    assert!(matches!(
        store.set(NOW, "mine", b"", None),
        Ok(Outcome::Written(_))
    ));
    assert_eq!(store.get(NOW, "mine").unwrap().unwrap().version, 2);
}

#[test]
fn a_transaction_that_the_server_ends_as_idle_is_busy_and_the_connection_is_replaced() {
    let database = Database::with(SETUP, |options| options.gc_frequency = 0);
    drop(database.open());
    // A limit that is over before the client's, as it may be on a busy machine.
    database.sql(
        "CREATE FUNCTION set_config(name text, value text, is_local bool) RETURNS text
         LANGUAGE sql AS $$ SELECT pg_catalog.set_config(name,
           CASE name WHEN 'idle_in_transaction_session_timeout' THEN '100' ELSE value END,
           is_local) $$",
    );
    let idle = format!(
        "SELECT count(*) FROM pg_stat_activity
         WHERE state = 'idle in transaction' AND query LIKE '%{}.%'",
        database.schema
    );
    let wait_for_end = move |message: &mut Vec<u8>| {
        if message.ends_with(b"COMMIT\0") {
            while SERVER.sql("postgres", &idle) != "0" {}
        }
    };
    let url = at_port(&database, relay(SERVER.port, wait_for_end, |_| {}));
    let path = format!("search%5Fpath%3D{}", database.schema);
    let url = url.replace(&path, &format!("{path}%2Cpg%5Fcatalog"));
    let mut store = Store::open(&url, database.options.clone(), NOW).unwrap();
    let request = Request::Set(SetRequest {
        id: "mine".into(),
        data: vec![],
        ttl: None,
    });
    assert_eq!(store.batch(NOW, &[request]), Err(Error::Busy));
    let outcome = store.set(NOW, "mine", b"", None);
    assert!(
        matches!(&outcome, Ok(Outcome::Written(written)) if written.version == 1),
        "{outcome:?}"
    );
}

#[test]
fn a_write_is_unknown_if_the_server_panics() {
    let database = Database::new(SETUP);
    drop(database.open());
    database.fail("BEFORE INSERT", "true");
    // The server does so if it cannot write its log, perhaps of the commit.
    let panic = |message: &mut Vec<u8>| {
        for start in 0..message.len() {
            if message[start..].starts_with(b"ERROR") {
                message[start..start + 5].copy_from_slice(b"PANIC");
            }
        }
    };
    let url = at_port(&database, relay(SERVER.port, |_| {}, panic));
    let mut store = Store::open(&url, database.options.clone(), NOW).unwrap();
    let outcome = store.set(NOW, "mine", b"", None);
    assert!(
        matches!(outcome, Err(Error::UnknownOutcome(_))),
        "{outcome:?}"
    );
}

#[test]
fn a_restart_of_the_server_between_calls_is_not_noticed() {
    let mut server = Server::start(&[]);
    let url = format!("postgres://tester@127.0.0.1:{}/postgres", server.port);
    let options = Options {
        sync_timeout: 120_000,
        ..Options::default()
    };
    let mut store = Store::open(&url, options, NOW).unwrap();
    let id = create(&mut store, NOW, None);
    for _ in 0..2 {
        server.stop();
        server.restart();
        let outcome = store.set(NOW, &id, b"", None);
        assert!(matches!(outcome, Ok(Outcome::Written(_))), "{outcome:?}");
    }
    assert_eq!(store.get(NOW, &id).unwrap().unwrap().version, 3);
}

#[test]
fn a_replica_is_never_used_and_a_server_that_becomes_one_is_abandoned() {
    let (replica, server) = (
        Server::start(&["default_transaction_read_only=on"]),
        &*SERVER,
    );
    let database = Database::new(SETUP);
    let one = format!("127.0.0.1:{}", server.port);
    let both = format!("127.0.0.1:{},{one}", replica.port);
    let mut store = Store::open(
        &database.url().replace(&one, &both),
        database.options.clone(),
        NOW,
    )
    .unwrap();
    let id = create(&mut store, NOW, None);
    assert!(is_live(&mut database.open(), NOW, &id));

    let url = format!("postgres://tester@127.0.0.1:{}/postgres", replica.port);
    let options = Options {
        sync_timeout: 10_000,
        ..Options::default()
    };
    let refused = |opened: Result<Store, Error>| match opened.err() {
        Some(Error::Other(words)) => assert!(words.contains("replica"), "{words}"),
        other => panic!("{other:?}"),
    };
    refused(Store::open(&url, options.clone(), NOW));

    // A failover, and then another one back.
    let set = |value: &str| {
        replica.sql(
            "postgres",
            &format!("ALTER ROLE tester SET default_transaction_read_only = {value}"),
        );
        replica.sql(
            "postgres",
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'tester'",
        );
    };
    replica.sql(
        "postgres",
        "ALTER DATABASE postgres SET default_transaction_read_only = off",
    );
    let mut store = Store::open(&url, options, NOW).unwrap();
    let id = create(&mut store, NOW, None);
    set("on");
    match store.get(NOW, &id) {
        Err(Error::Other(words)) => assert!(words.contains("replica"), "{words}"),
        other => panic!("{other:?}"),
    }
    set("off");
    assert!(is_live(&mut store, NOW, &id));
}

#[test]
fn what_a_server_said_is_reported_although_it_then_falls_silent() {
    let replica = Server::start(&["default_transaction_read_only=on"]);
    let proxy = Proxy::start(replica.port);
    let url = format!("postgres://tester@127.0.0.1:{}/postgres", proxy.port);
    let options = Options {
        sync_timeout: 10_000,
        ..Options::default()
    };
    thread::scope(|scope| {
        scope.spawn(|| {
            // The first attempt was refused.
            while proxy.connections() < 2 {
                thread::yield_now();
            }
            proxy.set(Network::SwallowsAll);
        });
        match Store::open(&url, options, NOW).err() {
            Some(Error::Other(words)) => assert!(words.contains("replica"), "{words}"),
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn the_password_is_checked_and_never_part_of_an_error() {
    let port = SERVER.port;
    let encoded = PASSWORD.replace(' ', "%20").replace(',', "%2C");
    let url = |password: &str, database: &str| {
        format!("postgres://postgres:{password}@127.0.0.1:{port}/{database}")
    };
    let options = Options {
        sync_timeout: 120_000,
        table_name: "of_password".into(),
        ..Options::default()
    };
    assert!(Store::open(&url(&encoded, "postgres"), options.clone(), NOW).is_ok());
    for (url, code) in [
        (url("wr0ng-s3cret", "postgres"), "28P01"),
        (url(&encoded, "missing"), "3D000"),
    ] {
        match Store::open(&url, options.clone(), NOW).err() {
            Some(Error::Other(words)) => {
                assert!(words.contains(code) && !words.contains("s3cret"), "{words}");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_server_without_fsync_is_refused_unless_durability_is_relaxed() {
    let server = Server::start(&["fsync=off"]);
    let url = format!("postgres://tester@127.0.0.1:{}/postgres", server.port);
    let with = |durability| {
        let options = Options {
            durability,
            sync_timeout: 120_000,
            ..Options::default()
        };
        Store::open(&url, options, NOW)
    };
    match with(Durability::Full).err() {
        Some(Error::Other(words)) => assert!(words.contains("fsync"), "{words}"),
        other => panic!("{other:?}"),
    }
    assert!(with(Durability::Relaxed).is_ok());
}

#[test]
fn durability_sets_whether_a_commit_waits_for_the_disk() {
    for (durability, commit) in [(Durability::Full, "on"), (Durability::Relaxed, "off")] {
        let database = Database::with(SETUP, |options| options.durability = durability);
        let mut store = database.open();
        database.sql(
            r#"CREATE TABLE seen (commit text);
               CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS
               $$ BEGIN INSERT INTO seen VALUES (current_setting('synchronous_commit'));
               RETURN NEW; END $$;
               CREATE TRIGGER see BEFORE INSERT ON "Sessions" FOR EACH ROW
               EXECUTE FUNCTION see()"#,
        );
        create(&mut store, NOW, None);
        assert_eq!(database.sql("SELECT commit FROM seen"), commit);
    }
}

#[test]
fn an_error_contains_neither_detail_nor_parameters_of_the_server() {
    let database = Database::new(SETUP);
    let mut store = database.open();
    store.set(NOW, "mine", b"payload", None).unwrap();
    database.sql(r#"CREATE UNIQUE INDEX ON "Sessions" (data)"#);
    match store.set(NOW, "other", b"payload", None) {
        Err(Error::Other(words)) => {
            assert!(words.contains("23505"), "{words}");
            // The server's detail contains the payload in hexadecimal.
            assert!(!words.contains(&hex::encode("payload")), "{words}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn backups_are_left_to_the_tools_of_the_database() {
    let mut store = Database::new(SETUP).open();
    let backup = store.backup("copy");
    assert!(matches!(backup, Err(Error::Other(words)) if words.contains("pg_dump")));
}

#[test]
fn the_clock_of_the_server_is_used() {
    let database = Database::new(SETUP);
    let started = Instant::now();
    let offset = database.open().clock_offset();
    // The server uses the clock of this machine, in whole milliseconds.
    let took = started.elapsed().as_millis() as i64;
    assert!(offset.abs() <= took + 1, "{offset} after {took}");
}

#[test]
fn with_tls_the_certificate_and_its_name_are_verified() {
    let server = Server::start(&["ssl=on"]);
    let open = |host: &str, roots: Option<String>| {
        let port = server.port;
        let url = format!(
            "postgres://tester@{host}:{port}/postgres?hostaddr=127.0.0.1&sslmode=verify-full\
             &application_name=store"
        );
        let options = Options {
            sync_timeout: 10_000,
            tls_roots: roots,
            ..Options::default()
        };
        Store::open(&url, options, NOW)
    };
    let mut store = open("localhost", Some(server.certificate())).unwrap();
    let id = create(&mut store, NOW, None);
    let large = vec![b'x'; 1 << 20];
    store.set(NOW, &id, &large, None).unwrap();
    assert!(store.get(NOW, &id).unwrap().unwrap().data == large);
    let encrypted = "SELECT version FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
                     WHERE application_name = 'store'";
    assert_eq!(server.sql("postgres", encrypted), "TLSv1.3");

    for (host, roots) in [
        ("localhost", None),
        ("other.example", Some(server.certificate())),
    ] {
        match open(host, roots).err() {
            Some(Error::Other(words)) => {
                for expected in ["TLS", "certificate", "`tlsRoots`", "`sslmode=disable`"] {
                    assert!(words.contains(expected), "{words}");
                }
            }
            other => panic!("{other:?}"),
        }
    }
    for roots in [
        "",
        "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----",
    ] {
        match open("localhost", Some(roots.into())).err() {
            Some(Error::InvalidArgument(words)) => assert!(words.contains("`tlsRoots`"), "{words}"),
            other => panic!("{other:?}"),
        }
    }
}
