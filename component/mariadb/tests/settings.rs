//! What depends on the server itself: its settings, its clock and its errors.

use crate::connections::{options, refusal, words};
use crate::engine::{Durability, Engine, Error, Options, Outcome, Store};
use crate::fixture::{Database, NOW, SETUP, SETUPS, is_live};
use crate::server::{Server, is_mysql, processes};
use std::time::Instant;

#[test]
fn a_server_that_may_lose_the_last_writes_is_refused_unless_durability_is_relaxed() {
    let server = Server::start(&[
        "--innodb-flush-log-at-trx-commit=2",
        "--log-bin=binary",
        "--sync-binlog=0",
    ]);
    let url = format!("mysql://tester@127.0.0.1:{}/shop", server.port);
    let with = |durability| {
        let options = Options {
            durability,
            ..options()
        };
        Store::open(&url, options, NOW)
    };
    let words = refusal(with(Durability::Full));
    assert!(words.contains("innodb_flush_log_at_trx_commit"), "{words}");
    assert!(with(Durability::Relaxed).is_ok());
    server.sql("mysql", "SET GLOBAL innodb_flush_log_at_trx_commit = 1");
    let words = refusal(with(Durability::Full));
    assert!(words.contains("`sync_binlog = 0`"), "{words}");
    server.sql("mysql", "SET GLOBAL sync_binlog = 1");
    assert!(with(Durability::Full).is_ok());
}

#[test]
fn a_payload_over_the_largest_packet_of_the_server_is_too_large() {
    let server = Server::start(&["--max-allowed-packet=1M"]);
    let url = format!("mysql://tester@127.0.0.1:{}/shop", server.port);
    let mut store = Store::open(&url, options(), NOW).unwrap();
    let largest = vec![b'x'; (1 << 20) - 8192];
    let outcome = store.set(NOW, "mine", &largest, None);
    assert!(matches!(outcome, Ok(Outcome::Written(_))), "{outcome:?}");
    assert!(store.get(NOW, "mine").unwrap().unwrap().data == largest);
    let larger = [largest.as_slice(), b"x"].concat();
    let limit = largest.len() as u64;
    assert_eq!(
        store.set(NOW, "mine", &larger, None),
        Err(Error::TooLarge(limit))
    );
    // The limit is lowered while the store is open.
    server.sql("mysql", "SET GLOBAL max_allowed_packet = 524288");
    let kill = format!(
        "SET @id = (SELECT id FROM {} WHERE user = 'tester'); KILL @id",
        processes()
    );
    server.sql("mysql", &kill);
    assert!(is_live(&mut store, NOW, "mine"));
    assert_eq!(
        store.set(NOW, "mine", &largest, None),
        Err(Error::TooLarge((1 << 19) - 8192))
    );
    assert_eq!(store.get(NOW, "mine").unwrap().unwrap().version, 1);
}

#[test]
fn an_error_of_the_server_has_no_payload() {
    let database = Database::new(SETUP);
    let mut store = database.open();
    store.set(NOW, "mine", b"payload", None).unwrap();
    database.sql("CREATE UNIQUE INDEX one ON Sessions (data(20))");
    let refused = words(
        store
            .update(NOW, "other", b"payload", None, Some(0))
            .and_then(|_| store.create(NOW, b"payload", None, None)),
    );
    assert!(
        refused.contains("1062") && !refused.contains("payload"),
        "{refused}"
    );
    // Nor one of an application's own.
    let trigger = "CREATE TRIGGER harm BEFORE INSERT ON Sessions FOR EACH ROW
                   SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = NEW.data";
    database.server().sql_until(&database.name, "//", trigger);
    let refused = words(store.create(NOW, b"payload 2", None, None));
    assert!(
        refused.contains("1644, 45000") && !refused.contains("payload"),
        "{refused}"
    );
}

#[test]
fn copies_are_left_to_the_tools_of_the_database() {
    let mut store = Database::new(SETUP).open();
    assert!(words(store.backup("copy")).contains("mariadb-dump"));
}

#[test]
fn the_clock_of_the_server_counts() {
    for setup in SETUPS {
        let database = Database::new(setup);
        let started = Instant::now();
        let offset = database.open().clock_offset();
        // It is the clock of this machine, in whole milliseconds.
        let took = started.elapsed().as_millis() as i64;
        assert!(offset.abs() <= took + 1, "{offset} after {took}");
    }
}

#[test]
fn a_server_whose_clock_is_ahead_is_an_hour_ahead() {
    let ahead = "--init-connect=SET timestamp = UNIX_TIMESTAMP(NOW(6)) + 3600";
    let server = Server::start(&[ahead]);
    // Users who may do everything are spared `init_connect`.
    let sql = "CREATE USER plain; GRANT ALL ON shop.* TO plain";
    server.sql("mysql", sql);
    let url = format!("mysql://plain@127.0.0.1:{}/shop", server.port);
    let original = "CREATE TABLE Sessions (id VARCHAR(100) PRIMARY KEY, data TEXT, expires BIGINT);
        INSERT INTO Sessions VALUES ('short', '{}', 1700000060), ('long', '{}', 1700200000)";
    server.sql("shop", original);
    let started = Instant::now();
    let mut store = Store::open(&url, options(), NOW).unwrap();
    let offset = store.clock_offset();
    let took = started.elapsed().as_millis() as i64;
    let error = (offset - 3_600_000).abs();
    assert!(error <= took + 1, "{offset} after {took}");
    // Taking over the table, too, goes by the server's clock.
    assert!(is_live(&mut store, NOW, "long"));
    assert_eq!(store.get(NOW, "short"), Ok(None));
}

#[test]
fn statistics_name_the_server() {
    let statistics = Database::new(SETUP).open().stats(NOW).unwrap();
    let name = if is_mysql() { "MySQL " } else { "MariaDB 1" };
    assert!(statistics.engine.starts_with(name), "{statistics:?}");
    assert!(statistics.size > 0);
}
