//! The tables of a store: created, recognised and migrated on open.
//!
//! The layout was chosen by numbers: microseconds for one operation on SQLite
//! itself, relaxed, 100,000 sessions of 500 bytes in random order; milliseconds
//! to collect half of them in steps of 200. Medians of one run on a noisy
//! machine; the order was the same in each.
//!
//! | layout | create | get | update | touch | collect |
//! |---|---|---|---|---|---|
//! | rowid from the hash, index on `due` | 88 | 2.0 | 52 | 20 | 730 |
//! | rowid from the hash, index on `expires` | 71 | 2.1 | 50 | 48 | 1,212 |
//! | `WITHOUT ROWID`, index on `expires` | 81 | 3.2 | 54 | 53 | 1,645 |
//! | payloads in a table of their own | 101 | 8.5 | 51 | 47 | 2,801 |
//!
//! One table, `wasi-sessions`, keeps the schema version of every store in the
//! file. Names with a hyphen or a space are ours: no `tableName` can be one.

use super::{failure, original};
use crate::error::Error;
use crate::options::Options;
use crate::types::Timestamp;
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior};

/// The schema this code reads and writes. Version 1 was never released.
const VERSION: i64 = 2;

/// What stands in the file under a table's name.
#[derive(PartialEq, Eq)]
pub enum Found {
    /// There is no such table.
    Nothing,
    /// The table of koa-generic-session-sequelize.
    Original,
    /// A table of the original that cannot be taken over, and why.
    Obstructed(String),
    /// One of ours.
    Version(i64),
    /// Somebody else's.
    Foreign,
}

impl Found {
    /// A table that can be used as it is.
    pub const CURRENT: Found = Found::Version(VERSION);

    /// Refuses what is no table of this store, and with `sync` off also what
    /// [`prepare`] would have to create or migrate.
    pub fn accept(&self, table: &str, sync: bool) -> Result<(), Error> {
        let words = match (self, sync) {
            (Found::Nothing | Found::Original, true) => return Ok(()),
            (&Found::CURRENT, _) => return Ok(()),
            (Found::Version(version), _) if *version > VERSION => format!(
                "table `{table}` has schema version {version} and this store knows {VERSION}: \
                 open it with a newer wasi-sessions"
            ),
            (Found::Version(version), _) => {
                return Err(Error::Corrupt(format!(
                    "table `{table}` has schema version {version}, which was never released"
                )));
            }
            (Found::Foreign, _) => format!(
                "table `{table}` is there but holds no sessions: choose another `tableName`"
            ),
            (Found::Obstructed(why), _) => format!(
                "table `{table}` of koa-generic-session-sequelize cannot be taken over: {why}"
            ),
            (Found::Nothing, false) => {
                format!("table `{table}` is missing: open it once with `sync`")
            }
            (Found::Original, false) => {
                format!("table `{table}` has an older schema: open it once with `sync`")
            }
        };
        Err(Error::Other(words))
    }
}

/// Finds what has the name of the table of `options`. Reads one snapshot, since
/// another program may be creating the table. Changes nothing.
pub fn find(connection: &Connection, options: &Options) -> Result<Found, Error> {
    let snapshot =
        Transaction::new_unchecked(connection, TransactionBehavior::Deferred).map_err(failure)?;
    // The first statement that needs the schema would read it in a transaction of its
    // own. This one needs none and begins the snapshot, so that SQLite looks for a
    // journal and for changes only once.
    snapshot
        .query_row("PRAGMA user_version", [], |_| Ok(()))
        .map_err(failure)?;
    find_in(&snapshot, options)
}

/// Creates or migrates the table to the current version, in one transaction.
pub fn prepare(connection: &Connection, options: &Options, now: Timestamp) -> Result<(), Error> {
    let table = &options.table_name;
    let transaction =
        Transaction::new_unchecked(connection, TransactionBehavior::Immediate).map_err(failure)?;
    // Somebody else may have been faster.
    let found = find_in(&transaction, options)?;
    found.accept(table, true)?;
    match found {
        Found::Nothing => create(&transaction, table)?,
        Found::Original => original::adopt(&transaction, table, now)?,
        Found::Version(_) | Found::Foreign | Found::Obstructed(_) => {}
    }
    transaction.commit().map_err(failure)
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
        return Ok(Found::Version(version));
    }
    if !exists(table).map_err(failure)? {
        return Ok(Found::Nothing);
    }
    original::recognise(connection, options)
}

/// Creates `table` in the current version.
pub(super) fn create(transaction: &Transaction, table: &str) -> Result<(), Error> {
    // `key` is the start of the id's hash and `rest` its end; `data` comes
    // last, so that the other columns never lie on an overflow page.
    // The index on `due` serves collection and, as `ended` is in it, counting,
    // without a look at most of the rows.
    transaction
        .execute_batch(&format!(
            r#"
            CREATE TABLE IF NOT EXISTS "wasi-sessions" (
                name TEXT PRIMARY KEY COLLATE NOCASE,
                version INTEGER NOT NULL,
                requests INTEGER NOT NULL
            ) STRICT, WITHOUT ROWID;

            INSERT INTO "wasi-sessions" (name, version, requests) VALUES ('{table}', {VERSION}, 0);

            CREATE TABLE "{table}" (
                key INTEGER PRIMARY KEY,
                rest BLOB NOT NULL CHECK (length(rest) = 24),
                ended INTEGER NOT NULL,
                version INTEGER NOT NULL,
                created INTEGER NOT NULL,
                updated INTEGER NOT NULL,
                expires INTEGER NOT NULL,
                due INTEGER NOT NULL,
                subject TEXT,
                data BLOB NOT NULL
            ) STRICT;

            CREATE INDEX "{table} due" ON "{table}" (due, ended);

            CREATE INDEX "{table} subject" ON "{table}" (subject) WHERE subject IS NOT NULL;
            "#
        ))
        .map_err(failure)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Key;
    use crate::storage::Storage;
    use crate::types::Session;

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
        assert!(matches!(refusal(&location, &without_sync), Error::Other(_)));
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
    fn a_newer_schema_is_refused_and_left_alone() {
        let (_directory, location) = file();
        drop(Storage::open(&location, &Options::default(), NOW).unwrap());
        let newer = Connection::open(&location).unwrap();
        newer
            .execute_batch(r#"UPDATE "wasi-sessions" SET version = 3"#)
            .unwrap();
        drop(newer);
        let before = std::fs::read(&location).unwrap();
        let error = refusal(&location, &Options::default());
        assert!(matches!(error, Error::Other(words) if words.contains("version 3")));
        assert!(std::fs::read(&location).unwrap() == before);
    }

    #[test]
    fn a_table_of_somebody_else_is_refused_and_left_alone() {
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
        let key = Key::of("a").unwrap();
        let session = Session {
            data: b"{}".to_vec(),
            subject: None,
            version: 1,
            created: NOW,
            updated: NOW,
            expires: NOW + 1,
        };
        first
            .transaction(|rows| rows.insert(&key, &session, NOW))
            .unwrap();
        assert_eq!(second.read(|rows| rows.count(None, NOW)), Ok(0));
        assert_eq!(same.read(|rows| rows.count(None, NOW)), Ok(1));
    }
}
