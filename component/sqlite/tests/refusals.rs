//! A database that a store refuses is not changed in any byte.

use crate::engine::{Access, Error};
use crate::fixture::{BOTH, Database, NOW, create};
use std::fs;

/// Tables of other programs, each refused as `Sessions`.
const FOREIGN: [&str; 8] = [
    "CREATE TABLE Sessions (name TEXT); INSERT INTO Sessions VALUES ('x')",
    "CREATE TABLE Sessions (id INTEGER PRIMARY KEY, data TEXT, expires INTEGER, price REAL);
     INSERT INTO Sessions VALUES (1, 'x', 1, 2.5)",
    "CREATE TABLE sessions (id TEXT, data TEXT, expires INTEGER, createdAt TEXT, owner TEXT)",
    "CREATE TABLE Sessions (id TEXT, data TEXT, expires INTEGER, both AS (id || data))",
    "CREATE TABLE Sessions (id TEXT, data TEXT)",
    "CREATE TABLE Sessions (id TEXT, data TEXT, expires TEXT);
     INSERT INTO Sessions VALUES ('x', 'y', '2100-01-01')",
    "CREATE TABLE Sessions (id TEXT, data TEXT, expires INTEGER);
     INSERT INTO Sessions VALUES ('x', 'y', 4000000000), ('y', 'z', 'never')",
    "CREATE TABLE Other (id TEXT, data TEXT, expires INTEGER);
     CREATE VIEW Sessions AS SELECT * FROM Other",
];

/// Databases that are refused without `sync`: without the table, or with one of an older
/// schema.
const UNPREPARED: [&str; 2] = [
    "CREATE TABLE Other (name TEXT); INSERT INTO Other VALUES ('x')",
    "CREATE TABLE Sessions (id VARCHAR(100) PRIMARY KEY, data TEXT, expires BIGINT);
     INSERT INTO Sessions VALUES ('x', '{}', 4000000000)",
];

/// Every file of the database with its content.
fn files(database: &Database) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(database.file(""))
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            (name, fs::read(entry.path()).unwrap())
        })
        .collect();
    files.sort();
    files
}

/// Tries to open the database with each kind of access, and asserts that it is refused and not
/// changed.
fn refused(database: &Database, sync: bool) {
    let before = files(database);
    for access in BOTH {
        let opened = database.try_open(|options| {
            options.access = access;
            options.sync = sync;
        });
        let error = opened.err().expect("it is refused");
        assert!(
            matches!(&error, Error::MissingTable(words) | Error::Other(words)
                if words.contains("table `Sessions`")),
            "{error:?}"
        );
        assert!(files(database) == before, "{access:?} changed the files");
    }
}

#[test]
fn a_refused_database_keeps_every_byte() {
    for journal in ["DELETE", "WAL"] {
        for (made, syncs) in FOREIGN
            .map(|made| (made, &[true, false][..]))
            .into_iter()
            .chain(UNPREPARED.map(|made| (made, &[false][..])))
        {
            let database = Database::new(Access::Shared);
            let other = database.raw();
            other
                .execute_batch(&format!("PRAGMA journal_mode = {journal}; {made}"))
                .unwrap();
            drop(other);
            for sync in syncs {
                refused(&database, *sync);
            }
        }
    }
}

#[test]
fn a_newer_schema_keeps_every_byte() {
    for (access, mode) in [(Access::Exclusive, 2), (Access::Shared, 1)] {
        let database = Database::new(access);
        create(&mut database.open(), NOW, None);
        let newer = r#"UPDATE "wasi-sessions" SET version = 4"#;
        database.raw().execute_batch(newer).unwrap();
        assert_eq!(files(&database)[0].1[18], mode);
        for sync in [true, false] {
            refused(&database, sync);
        }
    }
}

#[test]
fn the_wal_of_a_refused_database_is_kept() {
    let database = Database::new(Access::Exclusive);
    let newer = database.raw();
    newer
        .execute_batch(
            "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL;
             CREATE TABLE Sessions (name TEXT); INSERT INTO Sessions VALUES ('x')",
        )
        .unwrap();
    let left = Database::new(Access::Shared);
    for name in ["sessions.db", "sessions.db-wal"] {
        fs::copy(database.file(name), left.file(name)).unwrap();
    }
    assert!(!files(&left)[1].1.is_empty());
    refused(&left, true);
}

#[test]
fn an_empty_file_stays_empty_without_sync() {
    let database = Database::new(Access::Shared);
    fs::write(database.file("sessions.db"), "").unwrap();
    refused(&database, false);
    create(&mut database.open(), NOW, None);
}
