//! The tables of a store when it is opened: found, created, or migrated.

use super::failure::failure;
use super::keys::Keys;
use super::original;
use super::sealing;
use super::table::{self, Found};
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior};
use wasi_sessions_rules::error::Error;
use wasi_sessions_rules::options::Options;
use wasi_sessions_rules::types::Timestamp;

/// Finds what exists under the table name of `options`, in one snapshot, since another
/// instance may be creating the table. Changes nothing.
pub fn find(connection: &Connection, options: &Options) -> Result<Found, Error> {
    let snapshot =
        Transaction::new_unchecked(connection, TransactionBehavior::Deferred).map_err(failure)?;
    // Starts the snapshot with a statement that does not need the schema. Otherwise
    // SQLite would read the schema in a separate transaction first, and check twice for a
    // journal and for changes.
    snapshot
        .query_row("PRAGMA user_version", [], |_| Ok(()))
        .map_err(failure)?;
    find_in(&snapshot, options)
}

/// Creates or migrates the table, or changes its key, in one transaction. Returns the
/// keys of the table.
pub fn prepare(
    connection: &Connection,
    options: &Options,
    now: Timestamp,
) -> Result<Option<Keys>, Error> {
    let transaction =
        Transaction::new_unchecked(connection, TransactionBehavior::Immediate).map_err(failure)?;
    // Another instance may have created the table meanwhile.
    let found = find_in(&transaction, options)?;
    found.accept(options, true)?;
    match &found {
        Found::Nothing => table::create(&transaction, options)?,
        Found::Original => original::adopt(&transaction, options, now)?,
        _ if found.is_ready(options) => {}
        Found::WithoutKey => sealing::migrate(&transaction, options)?,
        Found::WithKeys(record) => record.change(&transaction, options)?,
        Found::Version(_) | Found::Foreign | Found::Obstructed(_) => {}
    }
    let keys = find_in(&transaction, options)?.keys(options);
    transaction.commit().map_err(failure)?;
    Ok(keys)
}

fn find_in(connection: &Transaction, options: &Options) -> Result<Found, Error> {
    let table = &options.table_name;
    let exists = |name: &str| {
        connection
            .query_row(
                "SELECT 1 FROM sqlite_schema WHERE type IN ('table', 'view')
                 AND name = ?1 COLLATE NOCASE",
                [name],
                |_| Ok(()),
            )
            .optional()
            .map(|row| row.is_some())
    };
    let version = match exists("wasi-sessions").map_err(failure)? {
        false => None,
        true => connection
            .query_row(
                r#"SELECT version FROM "wasi-sessions" WHERE name = ?1"#,
                [table],
                |row| row.get(0),
            )
            .optional()
            .map_err(failure)?,
    };
    if let Some(version) = version {
        return Found::of_version(version, connection, options);
    }
    if !exists(table).map_err(failure)? {
        return Ok(Found::Nothing);
    }
    original::recognise(connection, options)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{Room, Storage};
    use wasi_sessions_rules::id::IdHash;
    use wasi_sessions_rules::types::Session;

    const NOW: Timestamp = 1_000_000_000;

    fn file() -> (tempfile::TempDir, String) {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("sessions.db");
        let location = file.to_str().unwrap().to_owned();
        (directory, location)
    }

    fn refusal(location: &str, options: &Options) -> Error {
        match Storage::open(location, options, NOW) {
            Ok(_) => panic!("opened"),
            Err(error) => error,
        }
    }

    #[test]
    fn without_sync_a_table_that_is_missing_or_older_is_an_error() {
        let (_directory, location) = file();
        let without_sync = Options {
            sync: false,
            ..Options::default()
        };
        let missing = refusal(&location, &without_sync);
        assert!(matches!(missing, Error::MissingTable(_)), "{missing:?}");
        assert!(!std::fs::exists(&location).unwrap());

        let original = Connection::open(&location).unwrap();
        original
            .execute_batch("CREATE TABLE Sessions (id, data, expires)")
            .unwrap();
        drop(original);
        assert!(
            matches!(refusal(&location, &without_sync), Error::Other(words) if words.contains("older"))
        );

        Storage::open(&location, &Options::default(), NOW).unwrap();
        Storage::open(&location, &without_sync, NOW).unwrap();
    }

    #[test]
    fn a_newer_schema_is_refused_and_not_changed() {
        let (_directory, location) = file();
        drop(Storage::open(&location, &Options::default(), NOW).unwrap());
        let newer = Connection::open(&location).unwrap();
        newer
            .execute_batch(r#"UPDATE "wasi-sessions" SET version = 4"#)
            .unwrap();
        drop(newer);
        let before = std::fs::read(&location).unwrap();
        let error = refusal(&location, &Options::default());
        assert!(matches!(error, Error::Other(words) if words.contains("version 4")));
        assert!(std::fs::read(&location).unwrap() == before);
    }

    #[test]
    fn another_table_of_that_name_is_refused_and_not_changed() {
        let (_directory, location) = file();
        let other = Connection::open(&location).unwrap();
        other
            .execute_batch("CREATE TABLE sessions (name TEXT); INSERT INTO sessions VALUES ('x')")
            .unwrap();
        let error = refusal(&location, &Options::default());
        assert!(matches!(error, Error::Other(words) if words.contains("`Sessions`")));
        let rows: i64 = other
            .query_row("SELECT count(*) FROM sessions", [], |row| row.get(0))
            .unwrap();
        assert_eq!(rows, 1);
    }

    #[test]
    fn several_stores_live_in_one_file_and_one_table_has_one_store() {
        let (_directory, location) = file();
        let named = |name: &str| Options {
            table_name: name.into(),
            ..Options::default()
        };
        let first = Storage::open(&location, &named("Sessions"), NOW).unwrap();
        let second = Storage::open(&location, &named("Other"), NOW).unwrap();
        let same = Storage::open(&location, &named("SESSIONS"), NOW).unwrap();
        let hash = IdHash::of("a").unwrap();
        let session = Session {
            data: b"{}".to_vec(),
            subject: None,
            version: 1,
            created: NOW,
            updated: NOW,
            expires: NOW + 1,
        };
        first
            .transaction(Room::Growing, |rows| rows.insert(&hash, &session, NOW))
            .unwrap();
        assert_eq!(second.read(|rows| rows.count(None, NOW)), Ok(0));
        assert_eq!(same.read(|rows| rows.count(None, NOW)), Ok(1));
    }
}
