//! The record of a table's keys: the check values of the present and the previous key.
//! It contains no key; a check value only identifies one.
//!
//! With its first key a table gets a record and schema version 3. The key is changed in
//! two parts: `open` writes the new key's check value to the record, and collection
//! reseals the rows, in the order of their rowids. Until that is complete, the record
//! also has the previous key's.

use super::failure::failure;
use super::keys::{FIRST_KEY, Keys, NOT_SEALED, Sealer, TOMBSTONE};
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};
use std::cell::Cell;
use wasi_sessions_rules::error::Error;
use wasi_sessions_rules::key::{Key, PreviousKey};
use wasi_sessions_rules::options::Options;
use wasi_sessions_rules::seal::Seal;

/// The schema of a table that has or had a key: `ended` is `state`, and there is a
/// record of its keys.
pub const WITH_KEYS: i64 = 3;

/// The row of one table in the table `wasi-sessions keys`.
#[derive(PartialEq, Eq)]
pub struct Record {
    present: Mark,
    previous: Option<Mark>,
}

/// A key in the record, or the absence of one.
#[derive(PartialEq, Eq)]
struct Mark {
    /// The `state` of the rows.
    state: i64,
    /// The check value of the key; empty without a key.
    check: Vec<u8>,
}

impl Mark {
    fn of(state: i64, key: Option<&Key>, table: &str) -> Mark {
        let check = key.map(|key| Seal::new(key, table).check().to_vec());
        let check = check.unwrap_or_default();
        Mark { state, check }
    }

    /// Whether this is the mark of `key`, or of no key.
    fn is_of(&self, key: Option<&Key>, table: &str) -> bool {
        self.check == Mark::of(self.state, key, table).check
    }

    fn is_sound(&self) -> bool {
        match self.state {
            NOT_SEALED => self.check.is_empty(),
            state => state >= FIRST_KEY && !self.check.is_empty(),
        }
    }
}

impl Record {
    /// Reads the record of `table`, which must be of schema version 3.
    pub fn read(connection: &Connection, table: &str) -> Result<Record, Error> {
        let mark = |row: &Row, first: usize| -> rusqlite::Result<_> {
            Ok(match row.get(first)? {
                None => None,
                Some(state) => Some(Mark {
                    state,
                    check: row.get(first + 1)?,
                }),
            })
        };
        let is_there: bool = connection
            .query_row(
                "SELECT EXISTS (SELECT 1 FROM sqlite_schema
                     WHERE type = 'table' AND name = 'wasi-sessions keys')",
                [],
                |row| row.get(0),
            )
            .map_err(failure)?;
        if !is_there {
            return Err(damaged(table));
        }
        let marks = connection
            .query_row(
                r#"SELECT state, key_check, previous_state, previous_check
                   FROM "wasi-sessions keys" WHERE name = ?1"#,
                [table],
                |row| Ok((mark(row, 0)?, mark(row, 2)?)),
            )
            .optional()
            .map_err(failure)?;
        match marks {
            Some((Some(present), previous))
                if present.is_sound() && previous.as_ref().is_none_or(Mark::is_sound) =>
            {
                Ok(Record { present, previous })
            }
            _ => Err(damaged(table)),
        }
    }

    /// Refuses options without the right keys. Returns whether the table can be used as
    /// it is; false if its key has to be changed first.
    pub fn accept(&self, options: &Options) -> Result<bool, Error> {
        let (table, key) = (&options.table_name, options.key.as_ref());
        let is_previous = |mark: &Mark| match &options.previous_key {
            None => false,
            Some(previous) => mark.is_of(previous.key(), table),
        };
        let problem = match &self.previous {
            None if self.present.is_of(key, table) => return Ok(true),
            None if is_previous(&self.present) => return Ok(false),
            Some(previous) if self.present.is_of(key, table) => match is_previous(previous) {
                true => return Ok(true),
                false if previous.state == NOT_SEALED => {
                    format!(
                        "`previousKey` must be \"none\" until collection has sealed table `{table}`"
                    )
                }
                false => format!(
                    "`previousKey` must be the previous key of table `{table}` until collection \
                     has replaced it"
                ),
            },
            Some(_) if is_previous(&self.present) => format!(
                "the key of table `{table}` cannot be changed again before collection has \
                 replaced the one before it"
            ),
            _ if self.present.state == NOT_SEALED => return Err(not_sealed(table)),
            _ if key.is_none() => format!("`key` is missing: table `{table}` is sealed"),
            _ => format!("`key` is not the key of table `{table}`"),
        };
        Err(Error::invalid(format!("options: {problem}")))
    }

    /// The keys for a table that was accepted with these options.
    pub fn keys(&self, options: &Options) -> Keys {
        let sealer = |mark: &Mark, key: Option<&Key>| Sealer {
            state: mark.state,
            seal: key.map(|key| Seal::new(key, &options.table_name)),
        };
        let previous_key = options.previous_key.as_ref().and_then(PreviousKey::key);
        Keys {
            present: sealer(&self.present, options.key.as_ref()),
            previous: self
                .previous
                .as_ref()
                .map(|mark| sealer(mark, previous_key)),
            is_changing: Cell::new(self.previous.is_some()),
        }
    }

    /// Replaces this record: the key of `options` becomes the present key, with which
    /// every later write seals.
    pub fn change(&self, transaction: &Transaction, options: &Options) -> Result<(), Error> {
        let state = match options.key {
            None => NOT_SEALED,
            Some(_) => self.present.state.max(TOMBSTONE) + 1,
        };
        let present = Mark::of(state, options.key.as_ref(), &options.table_name);
        write(transaction, options, &present, Some(&self.present))
    }
}

/// The keys of a table that is created with these options; `None` without a key.
pub fn first_keys(options: &Options) -> Option<Keys> {
    let key = options.key.as_ref()?;
    let present = Mark::of(FIRST_KEY, Some(key), &options.table_name);
    let previous = None;
    Some(Record { present, previous }.keys(options))
}

/// Writes the record of a new table, in which every row is sealed.
pub fn create(transaction: &Transaction, options: &Options) -> Result<(), Error> {
    let present = Mark::of(FIRST_KEY, options.key.as_ref(), &options.table_name);
    write(transaction, options, &present, None)
}

/// Migrates a table of version 2, which has no sealed rows, to version 3, without
/// changing its rows. Renames `ended`, so that an instance that has the table open
/// without the key fails instead of writing rows that are not sealed.
pub fn migrate(transaction: &Transaction, options: &Options) -> Result<(), Error> {
    let table = &options.table_name;
    let altered = transaction.execute_batch(&format!(
        r#"ALTER TABLE "{table}" RENAME COLUMN ended TO state;
           UPDATE "wasi-sessions" SET version = {WITH_KEYS} WHERE name = '{table}'"#
    ));
    altered.map_err(|error| match failure(error) {
        // For example a broken view of another program.
        Error::Other(why) => Error::Other(format!("table `{table}` cannot be sealed: {why}")),
        error => error,
    })?;
    let present = Mark::of(FIRST_KEY, options.key.as_ref(), table);
    let previous = Mark::of(NOT_SEALED, None, table);
    write(transaction, options, &present, Some(&previous))
}

/// Refuses options with a key for a table that was never sealed, unless `previousKey` is
/// `"none"`.
pub fn accept_not_sealed(options: &Options) -> Result<(), Error> {
    match (&options.key, &options.previous_key) {
        (None, _) | (Some(_), Some(PreviousKey::None)) => Ok(()),
        _ => Err(not_sealed(&options.table_name)),
    }
}

fn damaged(table: &str) -> Error {
    Error::Corrupt(format!(
        "the record of the keys of table `{table}` is missing or damaged"
    ))
}

fn not_sealed(table: &str) -> Error {
    Error::invalid(format!(
        "options: table `{table}` is not sealed: `previousKey` must be \"none\" until collection \
         has sealed it with `key`"
    ))
}

fn write(
    transaction: &Transaction,
    options: &Options,
    present: &Mark,
    previous: Option<&Mark>,
) -> Result<(), Error> {
    transaction
        .execute_batch(
            r#"CREATE TABLE IF NOT EXISTS "wasi-sessions keys" (
                   name TEXT PRIMARY KEY COLLATE NOCASE,
                   state INTEGER NOT NULL,
                   key_check BLOB NOT NULL,
                   previous_state INTEGER,
                   previous_check BLOB,
                   next INTEGER
               ) STRICT, WITHOUT ROWID"#,
        )
        .map_err(failure)?;
    transaction
        .execute(
            r#"INSERT OR REPLACE INTO "wasi-sessions keys"
               (name, state, key_check, previous_state, previous_check, next)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6)"#,
            params![
                options.table_name,
                present.state,
                present.check,
                previous.map(|mark| mark.state),
                previous.map(|mark| &mark.check),
                previous.map(|_| i64::MIN),
            ],
        )
        .map(drop)
        .map_err(failure)
}
