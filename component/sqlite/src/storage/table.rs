//! The table of a store: its schema, and what is found under its name.
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
//! file. It cannot collide with a `tableName`, which has no hyphen, nor can the names
//! of the indexes, which have a space.

use super::failure::failure;
use rusqlite::Transaction;
use wasi_sessions_rules::error::Error;

/// The schema this code reads and writes. Version 1 was never released.
const VERSION: i64 = 2;

/// What a file holds under the name of a table.
#[derive(PartialEq, Eq)]
pub enum Found {
    /// There is no such table.
    Nothing,
    /// The table of koa-generic-session-sequelize.
    Original,
    /// A table of the original that cannot be taken over, and why.
    Obstructed(String),
    /// A table of this store, with this version of the schema.
    Version(i64),
    /// Another table.
    Foreign,
}

impl Found {
    /// A table that can be used as it is.
    pub const CURRENT: Found = Found::Version(VERSION);

    /// Refuses a table that is not of this store, and with `sync` off also one that
    /// would have to be created or migrated.
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
                return Err(Error::MissingTable(format!(
                    "table `{table}` is missing: open it once with `sync`"
                )));
            }
            (Found::Original, false) => {
                format!("table `{table}` has an older schema: open it once with `sync`")
            }
        };
        Err(Error::Other(words))
    }
}

/// Creates `table` in the current version.
pub fn create(transaction: &Transaction, table: &str) -> Result<(), Error> {
    // `key` is the head of the id's hash and `rest` its tail. `data` comes last, so
    // that no other column is on an overflow page. The index on `due` serves
    // collection and, with `ended`, counting, which then reads few of the rows.
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
