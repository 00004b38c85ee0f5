//! One open SQLite database: transactions, collection, and what an operator
//! asks of the file as a whole. The only place with SQL is this folder.

mod attempts;
mod backup;
mod collection;
mod lock;
mod log;
mod original;
mod rows;
mod schema;
mod statements;
#[cfg(test)]
mod tests;

pub use rows::{Head, Rows, Standing};

use crate::error::Error;
use crate::options::{Access, Durability, Options};
use crate::types::Timestamp;
use lock::DotLock;
use rusqlite::TransactionBehavior::{Deferred, Immediate};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use schema::Found;
use statements::{Prepared, Statements};
use std::cell::Cell;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

/// An open database and the statements for one table in it.
pub struct Storage {
    prepared: Prepared,
    table: String,
    location: String,
    /// The lock that others wait for; none when this is the only owner.
    lock: Option<Arc<DotLock>>,
    /// Whether the file was made so that free pages can be given back.
    gives_space_back: bool,
    durability: Durability,
    /// Whether a step of a collection has not put back what it changed.
    hurried: Cell<bool>,
    /// Whether the next step of the collection is to copy the log.
    copies_log: Cell<bool>,
    /// Whether the collection has changed anything since it emptied the log.
    has_log: Cell<bool>,
}

impl Storage {
    /// Opens the database at `location`, which is made if it is missing and
    /// `sync` is on, and prepares the table.
    pub fn open(location: &str, options: &Options, now: Timestamp) -> Result<Storage, Error> {
        let lock = match options.access {
            Access::Exclusive => None,
            Access::Shared => Some(Arc::new(DotLock::of(location, options.sync_timeout))),
        };
        let mut connection = connect(location, options)?;
        if let Some(lock) = &lock {
            lock.keep_young(&mut connection).map_err(failure)?;
        }
        let table = &options.table_name;
        let prepared = Prepared::new(connection, |connection| Statements::new(connection, table));
        let mut storage = Storage {
            prepared,
            table: options.table_name.clone(),
            location: location.into(),
            lock,
            gives_space_back: false,
            durability: options.durability,
            hurried: Cell::new(false),
            copies_log: Cell::new(false),
            has_log: Cell::new(false),
        };
        let mode = storage.prepare(options, now).map_err(|error| match error {
            Error::Corrupt(words) => Error::Corrupt(format!("`{location}`: {words}")),
            Error::Other(words) => Error::Other(format!("`{location}`: {words}")),
            error => error,
        })?;
        storage.gives_space_back = mode != 0;
        Ok(storage)
    }

    /// Does work that is a single statement and only reads.
    pub fn read<T>(&self, work: impl Fn(Rows) -> Result<T, Error>) -> Result<T, Error> {
        self.continue_reading(|| self.rows(&work))
    }

    /// Does work that only reads, of one state of the database.
    pub fn snapshot<T>(&self, work: impl Fn(Rows) -> Result<T, Error>) -> Result<T, Error> {
        self.wait(|| self.transact(Deferred, || self.rows(&work)))
    }

    /// Does work that may write, all of it or nothing.
    pub fn transaction<T>(&self, work: impl Fn(Rows) -> Result<T, Error>) -> Result<T, Error> {
        self.wait(|| self.transact(Immediate, || self.rows(&work)))
    }

    /// Like [`Storage::transaction`], for databases in which requests are
    /// counted: adds `requests` if the work wrote anything, and tells the sum.
    pub fn counted_transaction<T>(
        &self,
        requests: u64,
        work: impl Fn(Rows) -> Result<T, Error>,
    ) -> Result<(T, u64), Error> {
        self.wait(|| {
            self.transact(Immediate, || {
                let before = self.connection().total_changes();
                let done = self.rows(&work)?;
                let wrote = self.connection().total_changes() > before;
                let requests = match wrote {
                    true => self.rows(|rows| rows.count_requests(requests))?,
                    false => 0,
                };
                Ok((done, requests))
            })
        })
    }

    /// The size of the database, in bytes.
    pub fn size(&self) -> Result<u64, Error> {
        let page_size: i64 = self.ask("PRAGMA page_size")?;
        Ok(
            self.statements(|statements| statements.all_pages.number([]))?
                * page_size.unsigned_abs(),
        )
    }

    /// What is damaged, after reading the whole database; empty when sound.
    pub fn check(&self) -> Result<Vec<String>, Error> {
        let damage = self.wait(|| {
            let mut check = self
                .connection()
                .prepare("PRAGMA integrity_check")
                .map_err(failure)?;
            let lines = check.query_map([], |row| row.get::<_, String>(0));
            lines.and_then(|lines| lines.collect()).map_err(failure)
        });
        match damage {
            Ok(lines) if lines == ["ok"] => Ok(vec![]),
            Err(Error::Corrupt(damage)) => Ok(vec![damage]),
            other => other,
        }
    }

    /// Makes connection and table ready; how the file treats free pages.
    fn prepare(&self, options: &Options, now: Timestamp) -> Result<i64, Error> {
        let found = self.wait(|| self.configure(options))?;
        if found != Found::CURRENT {
            self.wait(|| schema::prepare(self.connection(), options, now))?;
        }
        self.wait(|| self.ask("PRAGMA auto_vacuum"))
    }

    fn rows<T>(&self, work: impl FnOnce(Rows) -> T) -> T {
        self.statements(|statements| work(Rows(statements)))
    }

    fn statements<T>(&self, work: impl FnOnce(&Statements) -> T) -> T {
        self.prepared
            .with_dependent(|_, statements| work(statements))
    }

    fn connection(&self) -> &Connection {
        self.prepared.borrow_owner()
    }

    fn ask<T: rusqlite::types::FromSql>(&self, sql: &str) -> Result<T, Error> {
        self.connection()
            .query_row(sql, [], |row| row.get(0))
            .map_err(failure)
    }

    /// Sets up the connection and checks what SQLite answers: it does not
    /// fail where it cannot do as asked. What was found in the file, which is
    /// changed in no way if that is refused.
    fn configure(&self, options: &Options) -> Result<Found, Error> {
        // How the file is locked and logged comes first: most other settings
        // make SQLite read the file.
        let found = match options.access {
            Access::Exclusive => {
                // There is no shared memory in WASI: exclusive locking must
                // come before the write-ahead log.
                self.pragma("locking_mode = EXCLUSIVE", Some("exclusive"))?;
                let found = schema::find(self.connection(), options)?;
                self.accept(&found, options)?;
                self.prepare_new_file()?;
                self.pragma("journal_mode = WAL", Some("wal"))?;
                found
            }
            Access::Shared => {
                // An attempt that found the database in use may have left it
                // exclusive.
                self.pragma("locking_mode = NORMAL", Some("normal"))?;
                let found = match schema::find(self.connection(), options) {
                    // An exclusive owner left a write-ahead log behind, which
                    // only another one can read and fold in.
                    Err(Error::Other(_)) => {
                        self.pragma("locking_mode = EXCLUSIVE", Some("exclusive"))?;
                        schema::find(self.connection(), options)
                    }
                    found => found,
                }?;
                self.accept(&found, options)?;
                self.pragma("journal_mode = TRUNCATE", Some("truncate"))?;
                self.pragma("locking_mode = NORMAL", Some("normal"))?;
                // This reads, and so lets go of a lock that was exclusive.
                self.prepare_new_file()?;
                found
            }
        };
        self.pragma("temp_store = MEMORY", None)?;
        self.pragma("cache_size = -16384", None)?;
        self.pragma("journal_size_limit = 4194304", None)?;
        self.pragma(options.durability.pragma(), None)?;
        Ok(found)
    }

    /// Refuses what is to be left alone, and leaves it alone.
    fn accept(&self, found: &Found, options: &Options) -> Result<(), Error> {
        let Err(refused) = found.accept(&self.table, options.sync) else {
            return Ok(());
        };
        let log = fs::metadata(format!("{}-wal", self.location));
        if log.is_ok_and(|log| log.len() > 0) {
            // Or closing would fold in the log that somebody left.
            self.connection()
                .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
                .map_err(failure)?;
        }
        Err(refused)
    }

    /// Free pages can be given back only if this comes before all else.
    fn prepare_new_file(&self) -> Result<(), Error> {
        match self.ask::<i64>("PRAGMA page_count")? {
            0 => self.pragma("auto_vacuum = INCREMENTAL", None),
            _ => Ok(()),
        }
    }

    fn pragma(&self, setting: &str, expected: Option<&str>) -> Result<(), Error> {
        let mut pragma = self
            .connection()
            .prepare(&format!("PRAGMA {setting}"))
            .map_err(failure)?;
        let mut rows = pragma.query([]).map_err(failure)?;
        let answer: Option<String> = match (rows.next().map_err(failure)?, expected) {
            (Some(row), Some(_)) => Some(row.get(0).map_err(failure)?),
            _ => None,
        };
        if answer.as_deref() != expected {
            return Err(Error::Other(format!(
                "SQLite refused `{setting}` and answered {answer:?}"
            )));
        }
        Ok(())
    }
}

impl Durability {
    /// How SQLite is told.
    fn pragma(self) -> &'static str {
        match self {
            Durability::Full => "synchronous = FULL",
            Durability::Relaxed => "synchronous = NORMAL",
        }
    }
}

fn connect(location: &str, options: &Options) -> Result<Connection, Error> {
    check_location(location)?;
    let mut flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    if options.sync {
        flags |= OpenFlags::SQLITE_OPEN_CREATE;
    }
    let vfs = match options.access {
        Access::Exclusive => log::file_system(),
        Access::Shared => c"unix-dotfile",
    };
    let connection = Connection::open_with_flags_and_vfs(location, flags, vfs);
    let connection = connection.map_err(|error| match failure(error) {
        Error::Other(reason) => Error::Other(format!("cannot open `{location}`: {reason}")),
        error => error,
    })?;
    // Waiting is done in `lock`, which also knows dead locks.
    connection.busy_timeout(Duration::ZERO).map_err(failure)?;
    Ok(connection)
}

/// Refuses what SQLite takes for something else than the path of a file.
fn check_location(location: &str) -> Result<(), Error> {
    let is_special = location.starts_with(':') || location.starts_with("file:");
    if location.is_empty() || is_special || location.contains('\0') {
        return Err(Error::invalid(
            "location: must be the path of a file in a directory given to this component",
        ));
    }
    Ok(())
}

/// The contract's error for one of SQLite's. Their messages speak of tables
/// and files, never of values.
fn failure(error: rusqlite::Error) -> Error {
    match (error.sqlite_error_code(), &error) {
        (Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked), _) => Error::Busy,
        // The lock was lost in the middle of it.
        (Some(ErrorCode::OperationInterrupted), _) => Error::Busy,
        (Some(ErrorCode::DiskFull), _) => Error::StorageFull,
        (Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase), _) => {
            Error::Corrupt(error.to_string())
        }
        (
            None,
            rusqlite::Error::InvalidColumnType(..)
            | rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::IntegralValueOutOfRange(..)
            | rusqlite::Error::Utf8Error(..),
        ) => Error::Corrupt("a row holds a value of the wrong kind".into()),
        _ => Error::Other(error.to_string()),
    }
}
