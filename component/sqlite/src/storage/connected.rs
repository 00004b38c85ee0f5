//! A connection to the database with its prepared statements and its layer below
//! SQLite.

use super::failure::failure;
use super::gathering::Gathering;
use super::keys::Keys;
use super::lock::Lock;
use super::statements::{Prepared, Statements};
use super::vfs::{self, FileSystem, Hooks};
use rusqlite::ffi;
use rusqlite::{Connection, OpenFlags};
use std::cell::Cell;
use std::fs;
use std::sync::Arc;
use std::time::Duration;
use wasi_sessions_rules::error::Error;
use wasi_sessions_rules::options::{Access, Durability, Options};

/// A connection, its statements, and the layer below them.
pub struct Connected {
    prepared: Prepared,
    /// The hooks that buffer writes to the database and its WAL; with exclusive access only.
    pub gathering: Option<Arc<Gathering>>,
    /// Whether durability is relaxed for a collection step: commits do not wait for the
    /// disk, whatever the options say.
    pub is_relaxed: Cell<bool>,
    /// Declared last so that it is dropped last: the connection uses it.
    _file_system: FileSystem,
}

impl Connected {
    /// Opens the database at `location`; creates the file if `makes_file`. Does not read
    /// the file.
    pub fn open(
        location: &str,
        options: &Options,
        makes_file: bool,
        lock: Option<&Arc<Lock>>,
    ) -> Result<Self, Error> {
        let mut flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        if makes_file {
            flags |= OpenFlags::SQLITE_OPEN_CREATE;
        }
        let gathering = lock.is_none().then(|| Arc::new(Gathering::new()));
        let hooks: Arc<dyn Hooks> = match (&gathering, lock) {
            (Some(gathering), _) => gathering.clone(),
            (None, Some(lock)) => lock.clone(),
            (None, None) => unreachable!("a store without a lock gathers writes"),
        };
        #[cfg(test)]
        let below = super::faults::file_system();
        #[cfg(not(test))]
        let below = vfs::PLAIN;
        let file_system = FileSystem::over(below, hooks)
            .ok_or_else(|| Error::Other("SQLite refused the layer over its file system".into()))?;
        let connection = Connection::open_with_flags_and_vfs(location, flags, file_system.name());
        let mut connection = connection.map_err(|error| match failure(error) {
            Error::Other(_) if !options.sync && matches!(fs::exists(location), Ok(false)) => {
                let table = &options.table_name;
                Error::MissingTable(format!(
                    "there is no file and so no table `{table}`: open it once with `sync`"
                ))
            }
            Error::Other(reason) => Error::Other(format!("cannot open `{location}`: {reason}")),
            error => error,
        })?;
        // If SQLite cannot open a file for writing, it opens it for reading, and then
        // refuses every write, even if the failure was temporary.
        if connection.is_readonly("main").map_err(failure)? {
            return Err(Error::Other(format!(
                "cannot open `{location}` for writing"
            )));
        }
        // Retries are in `attempts`, and dead locks are handled in `lock`.
        connection.busy_timeout(Duration::ZERO).map_err(failure)?;
        if let Some(lock) = lock {
            lock.keep_alive(&mut connection).map_err(failure)?;
        }
        let table = &options.table_name;
        let prepared = Prepared::new(connection, |connection| {
            Statements::new(connection, table, None)
        });
        Ok(Connected {
            prepared,
            gathering,
            is_relaxed: Cell::new(false),
            _file_system: file_system,
        })
    }

    /// The connection itself.
    pub fn connection(&self) -> &Connection {
        self.prepared.borrow_owner()
    }

    /// Replaces the statements with those for a table with keys.
    pub fn use_keys(&mut self, table: &str, keys: Keys) {
        self.prepared.with_dependent_mut(|connection, statements| {
            *statements = Statements::new(connection, table, Some(keys));
        });
    }

    /// Passes the prepared statements to `work`.
    pub fn with_statements<T>(&self, work: impl FnOnce(&Statements) -> T) -> T {
        self.prepared
            .with_dependent(|_, statements| work(statements))
    }

    /// Flushes the buffered writes to the WAL; called before a request is answered.
    pub fn flush(&self) -> Result<(), Error> {
        vfs::flush(self.connection()).map_err(|code| match code & 0xff {
            ffi::SQLITE_FULL => Error::StorageFull,
            _ => Error::Other(format!(
                "the write-ahead log cannot be written: {}",
                ffi::code_to_str(code)
            )),
        })
    }
}

/// The pragma that sets this durability. A shared database always has FULL, since NORMAL
/// is safe only with a write-ahead log. With NORMAL the rollback journal would be synced
/// once, header and pages together: after a loss of power it may have its header without
/// its pages, which SQLite's checksum of a page, a sum of every 200th byte, may not
/// detect. Also, the truncation of the journal at a commit would not be durable before
/// the database is truncated.
pub fn synchronous(access: Access, durability: Durability) -> &'static str {
    match (access, durability) {
        (Access::Exclusive, Durability::Relaxed) => "synchronous = NORMAL",
        _ => "synchronous = FULL",
    }
}
