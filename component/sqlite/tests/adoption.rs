//! Migrating a table of koa-generic-session-sequelize (the original), and refusing one that
//! would lose something.

use crate::engine::{Access, Engine, Error};
use crate::fixture::{BOTH, Database, NOW, is_live};
use std::fs;

/// The original's table with one live session.
const ORIGINAL: &str = "
    CREATE TABLE Sessions (id VARCHAR(100) PRIMARY KEY, data TEXT, expires BIGINT);
    INSERT INTO Sessions VALUES ('live', '{}', 1700000060);";

/// A closed database that was created by these statements.
fn made_by(access: Access, statements: &str) -> Database {
    let database = Database::new(access);
    database.raw().execute_batch(statements).unwrap();
    database
}

#[test]
fn a_table_that_something_refers_to_is_refused_and_nothing_is_changed() {
    let refused = [
        (
            "CREATE VIEW current AS SELECT data FROM SESSIONS",
            "view `current`",
        ),
        (
            r#"CREATE VIEW quoted AS SELECT 1 FROM main."sessions""#,
            "view `quoted`",
        ),
        (
            "CREATE TRIGGER own AFTER DELETE ON Sessions BEGIN SELECT 1; END",
            "trigger `own`",
        ),
        (
            "CREATE TABLE t (x); CREATE TRIGGER other AFTER INSERT ON t
             BEGIN DELETE FROM [Sessions] WHERE id = new.x; END",
            "trigger `other`",
        ),
        (
            "CREATE TABLE carts (session TEXT REFERENCES sessions (id))",
            "table `carts` has a foreign key to table `sessions`",
        ),
        (
            "CREATE VIRTUAL TABLE texts USING fts5(data, content='Sessions')",
            "table `texts`",
        ),
    ];
    for access in BOTH {
        for (statement, words) in refused {
            let database = made_by(access, &format!("{ORIGINAL} {statement};"));
            let file = database.file("sessions.db");
            let before = fs::read(&file).unwrap();
            for sync in [true, false] {
                let opened = database.try_open(|options| options.sync = sync);
                match opened.err() {
                    Some(Error::Other(why)) => assert!(why.contains(words), "{why}"),
                    other => panic!("{statement}: {other:?}"),
                }
                assert!(fs::read(&file).unwrap() == before, "{statement}");
            }
        }
    }
}

#[test]
fn a_table_that_differs_from_the_originals_is_refused_with_the_reason() {
    let refused = [
        (
            "(id TEXT PRIMARY KEY, data, expires) WITHOUT ROWID",
            "('live', '{}', 1700000060)",
            "WITHOUT ROWID",
        ),
        (
            "(id PRIMARY KEY REFERENCES Sessions (id), data, expires)",
            "(NULL, '{}', 1700000060)",
            "foreign key",
        ),
        (
            "(id, data, expires)",
            "('live', '{}', 1700000060000)",
            "1000",
        ),
        (
            "(id, data, expires)",
            "('live', NULL, 9223372036854775807)",
            "1000",
        ),
        (
            "(id, data, expires)",
            "('live', '{}', 100000000001)",
            "1000",
        ),
        (
            "(id, data, expires)",
            "('live', '{}', 1700000060.5)",
            "seconds",
        ),
        (
            "(id, data, expires)",
            "('live', '{}', '2030-01-01')",
            "seconds",
        ),
        (
            "(id, data, expires)",
            "('live', zeroblob(1048577), 1)",
            "maxData",
        ),
    ];
    for access in BOTH {
        for (columns, row, words) in refused {
            let statements =
                format!("CREATE TABLE Sessions {columns}; INSERT INTO Sessions VALUES {row};");
            let database = made_by(access, &statements);
            match database.try_open(|_| {}).err() {
                Some(Error::Other(why)) => {
                    assert!(why.contains("`Sessions`") && why.contains(words), "{why}");
                }
                other => panic!("{statements}: {other:?}"),
            }
            let left = database
                .raw()
                .query_row("SELECT count(*) FROM Sessions", [], |row| {
                    row.get::<_, i64>(0)
                });
            assert_eq!(left, Ok(1));
        }
    }
}

#[test]
fn the_latest_plausible_second_is_migrated() {
    let last = "CREATE TABLE Sessions (id, data, expires);
                INSERT INTO Sessions VALUES ('live', '{}', 100000000000);";
    let mut store = made_by(Access::Exclusive, last).open();
    let session = store.get(NOW, "live").unwrap().unwrap();
    assert_eq!(session.expires, 100_000_000_000_000);
}

#[test]
fn things_that_only_seem_to_refer_to_the_table_are_kept() {
    let others = "
        CREATE INDEX plain ON Sessions (expires);
        CREATE UNIQUE INDEX partial ON Sessions (id) WHERE expires > 0;
        CREATE INDEX parts ON Sessions (substr(data, 1, 9));
        CREATE TABLE users (id INTEGER PRIMARY KEY, sessions INTEGER, friend REFERENCES users);
        CREATE TABLE my_sessions (x);
        CREATE VIEW our_sessions AS SELECT x FROM my_sessions;
        CREATE VIEW broken AS SELECT x FROM nowhere;
        CREATE TRIGGER counting AFTER INSERT ON my_sessions
            BEGIN UPDATE users SET id = id; END;";
    let schema = "SELECT group_concat(sql) FROM sqlite_schema
                  WHERE name IN ('users', 'my_sessions', 'our_sessions', 'broken', 'counting')";
    for access in BOTH {
        let database = made_by(access, &format!("{ORIGINAL} {others}"));
        let ask = |sql| -> String { database.raw().query_row(sql, [], |row| row.get(0)).unwrap() };
        let before = ask(schema);
        let mut store = database.open();
        assert!(is_live(&mut store, NOW, "live"));
        assert_eq!(store.check(), Ok(vec![]));
        drop(store);
        assert_eq!(ask(schema), before);
        assert_eq!(
            ask("SELECT group_concat(name, ', ') FROM sqlite_schema
                 WHERE tbl_name = 'Sessions' COLLATE NOCASE ORDER BY name"),
            "Sessions, Sessions due, Sessions subject"
        );
    }
}

#[test]
fn the_first_of_two_rows_with_one_id_is_migrated() {
    let twins = "CREATE TABLE Sessions (id, data, expires);
                 INSERT INTO Sessions VALUES ('live', '1', 1700000060), ('live', '2', 1700000061);";
    for access in BOTH {
        let mut store = made_by(access, twins).open();
        assert_eq!(store.get(NOW, "live").unwrap().unwrap().data, b"1");
        assert_eq!(store.count_sessions(NOW, None), Ok(1));
    }
}

#[test]
fn no_id_and_no_payload_of_the_original_stays_readable() {
    for access in BOTH {
        let statements = format!(
            "{ORIGINAL} INSERT INTO Sessions VALUES ('late secret', 'old secret', 1);
             INSERT INTO Sessions VALUES ('long secret', 'x' || hex(zeroblob(9000)), 1700000060);"
        );
        let database = made_by(access, &statements);
        let store = database.open();
        drop(store);
        let bytes = fs::read(database.file("sessions.db")).unwrap();
        for secret in ["late secret", "old secret", "long secret"] {
            let found = bytes
                .windows(secret.len())
                .any(|part| part == secret.as_bytes());
            assert!(!found, "{secret}");
        }
    }
}
