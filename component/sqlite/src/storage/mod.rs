//! One open SQLite database: transactions, collection, and what an operator
//! asks of the file as a whole. The only place with SQL is this folder.

mod attempts;
mod backup;
mod collection;
mod connection;
#[cfg(test)]
mod faults;
mod file_system;
mod gathering;
mod hooks;
mod lock;
mod mark;
mod original;
mod reserve;
mod rows;
mod schema;
mod statements;
#[cfg(test)]
mod tests;

pub use gathering::gather_writes;
pub use rows::{Head, Rows, Standing};

use crate::error::Error;
use crate::options::{Access, Durability, Options};
use crate::types::Timestamp;
use attempts::Room;
use connection::Connected;
use gathering::Damage;
use lock::Lock;
use reserve::Reserve;
use rusqlite::TransactionBehavior::{Deferred, Immediate};
use rusqlite::{Connection, ErrorCode};
use statements::Statements;
use std::cell::{Cell, Ref, RefCell};
use std::sync::Arc;

/// An open database and the statements for one table in it.
pub struct Storage {
    location: String,
    options: Options,
    /// The connection; `None` after it was given up, until the next attempt.
    connected: RefCell<Option<Connected>>,
    /// The repair that is due since a connection was given up.
    damage: Cell<Damage>,
    /// The lock that others wait for; none when this is the only owner.
    lock: Option<Arc<Lock>>,
    /// Disk space for ending sessions on a full disk; with exclusive access only.
    reserve: Option<Reserve>,
    /// The page size of the database, in bytes.
    page_size: Cell<u64>,
    /// Whether the file was made so that free pages can be given back.
    gives_space_back: Cell<bool>,
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
        connection::check_location(location)?;
        let (lock, reserve) = match options.access {
            Access::Exclusive => (None, Some(Reserve::of(location))),
            Access::Shared => (Some(Lock::of(location)), None),
        };
        let storage = Storage {
            location: location.into(),
            options: options.clone(),
            connected: RefCell::new(None),
            damage: Cell::default(),
            lock: lock.map(Arc::new),
            reserve,
            page_size: Cell::new(0),
            gives_space_back: Cell::new(false),
            durability: options.durability,
            hurried: Cell::new(false),
            copies_log: Cell::new(false),
            has_log: Cell::new(false),
        };
        let opened = storage.open_when_free(now);
        opened.map_err(|error| match error {
            Error::Corrupt(words) => Error::Corrupt(format!("`{location}`: {words}")),
            Error::Other(words) => Error::Other(format!("`{location}`: {words}")),
            error => error,
        })?;
        // On a disk that is full already, the store opens all the same: sessions
        // can be read and ended.
        let _ = storage.cover_growth();
        Ok(storage)
    }

    /// Does work that is a single statement and only reads.
    pub fn read<T>(&self, work: impl Fn(Rows) -> Result<T, Error>) -> Result<T, Error> {
        self.continue_reading(|| self.rows(&work))
    }

    /// Does work that only reads, of one state of the database.
    pub fn snapshot<T>(&self, work: impl Fn(Rows) -> Result<T, Error>) -> Result<T, Error> {
        self.wait(|| self.transact(Deferred, &mut || self.rows(&work)))
    }

    /// Does work that may write, all of it or nothing. On a full disk it fails at
    /// once, so that the reserve is left for ending sessions.
    pub fn transaction<T>(&self, work: impl Fn(Rows) -> Result<T, Error>) -> Result<T, Error> {
        self.repeat(Room::Growing, &mut || {
            self.transact(Immediate, &mut || {
                let done = self.rows(&work)?;
                self.cover_growth()?;
                Ok(done)
            })
        })
    }

    /// Like [`Storage::transaction`], for work that frees space and so may use the
    /// reserve.
    pub fn freeing_transaction<T>(
        &self,
        work: impl Fn(Rows) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.repeat(Room::Freeing, &mut || {
            self.transact(Immediate, &mut || self.rows(&work))
        })
    }

    /// Like [`Storage::transaction`], for databases in which requests are
    /// counted: adds `requests` if the work wrote anything, and tells the sum.
    pub fn counted_transaction<T>(
        &self,
        requests: u64,
        work: impl Fn(Rows) -> Result<T, Error>,
    ) -> Result<(T, u64), Error> {
        self.wait(|| {
            self.transact(Immediate, &mut || {
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
            let connection = self.connection();
            let mut check = connection
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

    fn rows<T>(&self, work: impl FnOnce(Rows) -> T) -> T {
        self.statements(|statements| work(Rows(statements)))
    }

    fn statements<T>(&self, work: impl FnOnce(&Statements) -> T) -> T {
        self.connected().with_statements(work)
    }

    fn connection(&self) -> Ref<'_, Connection> {
        Ref::map(self.connected(), Connected::connection)
    }

    fn connected(&self) -> Ref<'_, Connected> {
        Ref::map(self.connected.borrow(), |connected| {
            let connected = connected.as_ref();
            connected.expect("an attempt has a connection until it ends")
        })
    }

    fn ask<T: rusqlite::types::FromSql>(&self, sql: &str) -> Result<T, Error> {
        self.connection()
            .query_row(sql, [], |row| row.get(0))
            .map_err(failure)
    }
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
