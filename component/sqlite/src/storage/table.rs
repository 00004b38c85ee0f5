//! The table of a store: its schema, and what can exist under its name.
//!
//! The layout was chosen by measurements on SQLite itself, with relaxed durability and
//! 100,000 sessions of 500 bytes in random order: microseconds for one operation, and
//! milliseconds to collect half of the sessions in steps of 200. Medians of one run on a
//! noisy machine; other runs had the same order.
//!
//! | layout | create | get | update | touch | collect |
//! |---|---|---|---|---|---|
//! | rowid from the hash, index on `due` | 88 | 2.0 | 52 | 20 | 730 |
//! | rowid from the hash, index on `expires` | 71 | 2.1 | 50 | 48 | 1,212 |
//! | `WITHOUT ROWID`, index on `expires` | 81 | 3.2 | 54 | 53 | 1,645 |
//! | payloads in a table of their own | 101 | 8.5 | 51 | 47 | 2,801 |
//!
//! One table, `wasi-sessions`, has the schema version of every store in the file. Its
//! name has a hyphen and those of the indexes have a space, so they cannot collide with a
//! `tableName`.

use super::failure::failure;
use super::keys::Keys;
use super::sealing::{self, Record, WITH_KEYS};
use rusqlite::{Connection, Transaction};
use wasi_sessions_rules::error::Error;
use wasi_sessions_rules::options::Options;

/// The schema of a table that never had a key. Version 1 was never released.
const WITHOUT_KEY: i64 = 2;

/// What exists in a file under the name of a table.
#[derive(PartialEq, Eq)]
pub enum Found {
    /// There is no such table.
    Nothing,
    /// The table of koa-generic-session-sequelize.
    Original,
    /// A table of koa-generic-session-sequelize that cannot be migrated, and why.
    Obstructed(String),
    /// A table of this store that never had a key.
    WithoutKey,
    /// A table of this store with the record of its keys.
    WithKeys(Record),
    /// A table of this store with a schema version that this code does not know.
    Version(i64),
    /// Another table.
    Foreign,
}

impl Found {
    /// A table of this store with this version of the schema.
    pub fn of_version(
        version: i64,
        connection: &Connection,
        options: &Options,
    ) -> Result<Found, Error> {
        Ok(match version {
            WITHOUT_KEY => Found::WithoutKey,
            WITH_KEYS => Found::WithKeys(Record::read(connection, &options.table_name)?),
            other => Found::Version(other),
        })
    }

    /// Whether the table can be used with these options as it is: it need not be
    /// created, migrated, or given another key.
    pub fn is_ready(&self, options: &Options) -> bool {
        match self {
            Found::WithoutKey => options.key.is_none(),
            Found::WithKeys(record) => record.accept(options) == Ok(true),
            _ => false,
        }
    }

    /// The keys of a table that is ready; `None` if it never had one.
    pub fn keys(&self, options: &Options) -> Option<Keys> {
        match self {
            Found::WithKeys(record) => Some(record.keys(options)),
            _ => None,
        }
    }

    /// Refuses a table of something else, and one for which the options do not have the
    /// right keys; without `sync` also one that would have to be created or migrated.
    pub fn accept(&self, options: &Options, sync: bool) -> Result<(), Error> {
        let table = &options.table_name;
        let words = match (self, sync) {
            (Found::Nothing, true) => return Ok(()),
            (Found::WithoutKey, _) | (Found::Original, true) => {
                return sealing::accept_not_sealed(options);
            }
            (Found::WithKeys(record), _) => return record.accept(options).map(drop),
            (Found::Version(version), _) if *version > WITH_KEYS => format!(
                "table `{table}` has schema version {version} and this store knows {WITH_KEYS}: \
                 open it with a newer wasi-sessions"
            ),
            (Found::Version(version), _) => {
                return Err(Error::Corrupt(format!(
                    "table `{table}` has schema version {version}, which was never released"
                )));
            }
            (Found::Foreign, _) => format!(
                "table `{table}` exists but is not a table of sessions: choose another `tableName`"
            ),
            (Found::Obstructed(why), _) => format!(
                "table `{table}` of koa-generic-session-sequelize cannot be migrated: {why}"
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

/// Creates the table of `options`, with the schema version for its key or for no key.
pub fn create(transaction: &Transaction, options: &Options) -> Result<(), Error> {
    let table = &options.table_name;
    let (version, state) = match options.key {
        None => (WITHOUT_KEY, "ended"),
        Some(_) => (WITH_KEYS, "state"),
    };
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

            INSERT INTO "wasi-sessions" (name, version, requests) VALUES ('{table}', {version}, 0);

            CREATE TABLE "{table}" (
                key INTEGER PRIMARY KEY,
                rest BLOB NOT NULL CHECK (length(rest) = 24),
                {state} INTEGER NOT NULL,
                version INTEGER NOT NULL,
                created INTEGER NOT NULL,
                updated INTEGER NOT NULL,
                expires INTEGER NOT NULL,
                due INTEGER NOT NULL,
                subject TEXT,
                data BLOB NOT NULL
            ) STRICT;

            CREATE INDEX "{table} due" ON "{table}" (due, {state});

            CREATE INDEX "{table} subject" ON "{table}" (subject) WHERE subject IS NOT NULL;
            "#
        ))
        .map_err(failure)?;
    match options.key {
        None => Ok(()),
        Some(_) => sealing::create(transaction, options),
    }
}
