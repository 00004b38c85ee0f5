//! A database and the state that is kept in memory for it. Its operations are in the
//! files that build on this one.

use super::connected::Connected;
use super::failure::failure;
use super::gathering::Damage;
use super::keys::Keys;
use super::lock::Lock;
use super::reserve::Reserve;
use super::rows::Rows;
use super::statements::Statements;
use rusqlite::Connection;
use std::cell::{Cell, Ref, RefCell};
use std::sync::Arc;
use wasi_sessions_rules::error::Error;
use wasi_sessions_rules::options::{Access, Options};

/// A database and one table in it.
pub struct Storage {
    /// The path of the database.
    pub(super) location: String,
    /// The options of the store.
    pub(super) options: Options,
    /// The connection; `None` after it was given up, until the next attempt.
    pub(super) connected: RefCell<Option<Connected>>,
    /// The repair that is due before the database is reopened.
    pub(super) damage: Cell<Damage>,
    /// The lock of a shared database; `None` with exclusive access.
    pub(super) lock: Option<Arc<Lock>>,
    /// Disk space for ending sessions on a full disk; with exclusive access only.
    pub(super) reserve: Option<Reserve>,
    /// The page size of the database, in bytes.
    pub(super) page_size: Cell<u64>,
    /// Whether the file was created with `auto_vacuum`, so that free pages can be
    /// given back to the file system.
    pub(super) gives_space_back: Cell<bool>,
    /// What collection has left in the write-ahead log (WAL).
    pub(super) collected_wal: Cell<CollectedWal>,
}

/// What collection has left in the write-ahead log (WAL) of an exclusive database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CollectedWal {
    /// Nothing since the WAL was last truncated.
    #[default]
    Nothing,
    /// Pages; the last step of the collection truncates the WAL.
    Pages,
    /// So many pages that the next step only checkpoints them.
    ManyPages,
}

impl Storage {
    /// A database that is not open yet.
    pub(super) fn closed(location: &str, options: &Options) -> Storage {
        let (lock, reserve) = match options.access {
            Access::Exclusive => (None, Some(Reserve::of(location))),
            Access::Shared => (Some(Lock::of(location)), None),
        };
        Storage {
            location: location.into(),
            options: options.clone(),
            connected: RefCell::new(None),
            damage: Cell::default(),
            lock: lock.map(Arc::new),
            reserve,
            page_size: Cell::new(0),
            gives_space_back: Cell::new(false),
            collected_wal: Cell::default(),
        }
    }

    /// Uses the statements for a table with keys; only during an attempt.
    pub(super) fn use_keys(&self, keys: Keys) {
        if let Some(connected) = &mut *self.connected.borrow_mut() {
            connected.use_keys(&self.options.table_name, keys);
        }
    }

    /// Passes the rows of the table to `work`.
    pub(super) fn rows<T>(&self, work: impl FnOnce(Rows) -> T) -> T {
        self.statements(|statements| work(Rows(statements)))
    }

    /// Passes the prepared statements to `work`.
    pub(super) fn statements<T>(&self, work: impl FnOnce(&Statements) -> T) -> T {
        self.connected().with_statements(work)
    }

    /// The connection; only during an attempt.
    pub(super) fn connection(&self) -> Ref<'_, Connection> {
        Ref::map(self.connected(), Connected::connection)
    }

    /// The connection with its statements and layer; only during an attempt.
    pub(super) fn connected(&self) -> Ref<'_, Connected> {
        Ref::map(self.connected.borrow(), |connected| {
            let connected = connected.as_ref();
            connected.expect("an attempt has a connection until it ends")
        })
    }

    /// The first column of the first row that `sql` returns.
    pub(super) fn ask<T: rusqlite::types::FromSql>(&self, sql: &str) -> Result<T, Error> {
        self.connection()
            .query_row(sql, [], |row| row.get(0))
            .map_err(failure)
    }
}
