//! The connection: opened, configured, given up after a failure, and reopened.
//!
//! After any I/O error, a failed write to the write-ahead log (WAL), or a lost
//! lock, a connection is no longer used. The failed request gets its error, the
//! connection is closed without another write, and the next attempt reopens the
//! database, so that it answers from what is in the files.

use super::file_system::{self, FileSystem};
use super::gathering::Gathering;
use super::hooks::Hooks;
use super::lock::Lock;
use super::schema::{self, Found};
use super::statements::{Prepared, Statements};
use super::{Storage, failure, mark};
use crate::error::Error;
use crate::options::{Access, Durability, Options};
use crate::types::Timestamp;
use rusqlite::config::DbConfig;
use rusqlite::ffi;
use rusqlite::{Connection, OpenFlags};
use std::ffi::CStr;
use std::fs;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

/// SQLite's file system without locks.
pub const PLAIN: &CStr = c"unix-none";

/// A connection, its statements, and the layer below them.
pub struct Connected {
    prepared: Prepared,
    gathering: Option<Arc<Gathering>>,
    /// Dropped last: the connection uses it.
    _file_system: FileSystem,
}

impl Connected {
    fn open(
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
        let below = PLAIN;
        let file_system = FileSystem::over(below, hooks)
            .ok_or_else(|| Error::Other("SQLite refused the file system".into()))?;
        let connection = Connection::open_with_flags_and_vfs(location, flags, file_system.name());
        let mut connection = connection.map_err(|error| match failure(error) {
            Error::Other(reason) => Error::Other(format!("cannot open `{location}`: {reason}")),
            error => error,
        })?;
        // Retries are in `attempts`, and dead locks are handled in `lock`.
        connection.busy_timeout(Duration::ZERO).map_err(failure)?;
        if let Some(lock) = lock {
            lock.keep_alive(&mut connection).map_err(failure)?;
        }
        let table = &options.table_name;
        let prepared = Prepared::new(connection, |connection| Statements::new(connection, table));
        Ok(Connected {
            prepared,
            gathering,
            _file_system: file_system,
        })
    }

    pub fn connection(&self) -> &Connection {
        self.prepared.borrow_owner()
    }

    pub fn with_statements<T>(&self, work: impl FnOnce(&Statements) -> T) -> T {
        self.prepared
            .with_dependent(|_, statements| work(statements))
    }

    /// Writes all of the buffered WAL, before an answer depends on it.
    fn flush(&self) -> Result<(), Error> {
        file_system::flush(self.connection()).map_err(|code| match code & 0xff {
            ffi::SQLITE_FULL => Error::StorageFull,
            _ => Error::Other(format!(
                "the write-ahead log cannot be written: {}",
                ffi::code_to_str(code)
            )),
        })
    }
}

impl Storage {
    /// Opens the database. `opening` is the time at which the store is opened;
    /// `None` when it is reopened, and then the table must exist.
    pub(super) fn connect(&self, opening: Option<Timestamp>) -> Result<(), Error> {
        let location = &self.location;
        self.damage
            .get()
            .repair(&format!("{location}-wal"))
            .map_err(|error| match error.kind() {
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Error::StorageFull,
                _ => Error::Other(format!("cannot repair `{location}-wal`: {error}")),
            })?;
        self.damage.take();
        let Some(lock) = &self.lock else {
            return self.connect_alone(opening);
        };
        lock.reset();
        // Many who open at once take their turns faster with one lock for all of it.
        lock.hold(|| self.connect_alone(opening))
    }

    /// Opens the database while no other instance uses it.
    fn connect_alone(&self, opening: Option<Timestamp>) -> Result<(), Error> {
        let location = &self.location;
        if mark::is_copy(location) {
            mark::adopt(location)?;
        }
        let makes_file = opening.is_some() && self.options.sync;
        let connected = Connected::open(location, &self.options, makes_file, self.lock.as_ref())?;
        self.connected.replace(Some(connected));
        self.hurried.set(false);
        let done = self.conclude(self.prepare(opening));
        if done.is_err() {
            self.connected.take();
        } else if self.connected.borrow().is_none() {
            return Err(Error::Other(
                "an I/O error occurred while it was opened".into(),
            ));
        }
        done
    }

    /// Reopens the database if the connection was given up.
    pub(super) fn reconnect(&self) -> Result<(), Error> {
        let is_connected = self.connected.borrow().is_some();
        match is_connected {
            true => Ok(()),
            false => self.connect(None),
        }
    }

    /// Ends an attempt that failed with `error`, or succeeded. Flushes the WAL if
    /// it succeeded, and gives the connection up after a failure that makes it
    /// unsafe. Returns the error to answer with.
    pub(super) fn end_attempt(&self, error: Option<Error>) -> Option<Error> {
        let gathering = self.connected().gathering.clone();
        let has_failed = || match (&gathering, &self.lock) {
            (Some(gathering), _) => gathering.has_failed(),
            (None, lock) => lock.as_ref().is_some_and(|lock| lock.has_failed()),
        };
        let error = match error {
            None => self.connected().flush().err(),
            Some(error) => {
                if !has_failed() {
                    // The attempt was rolled back. If the flush fails, the next
                    // attempt notices.
                    let _ = self.connected().flush();
                }
                Some(error)
            }
        };
        let lock = self.lock.as_ref();
        let problem = lock.and_then(|lock| lock.problem());
        if !has_failed() {
            return error.map(|error| problem.unwrap_or(error));
        }
        let is_lost = lock.is_some_and(|lock| lock.is_lost());
        self.connected.take();
        if let Some(gathering) = gathering {
            self.damage.set(gathering.damage());
        }
        error.map(|error| if is_lost { Error::Busy } else { error })
    }

    /// Makes connection and table ready.
    fn prepare(&self, opening: Option<Timestamp>) -> Result<(), Error> {
        let found = self.configure(opening.is_some())?;
        if let (false, Some(now)) = (found == Found::CURRENT, opening) {
            schema::prepare(&self.connection(), &self.options, now)?;
        }
        self.page_size
            .set(self.ask::<i64>("PRAGMA page_size")?.unsigned_abs());
        self.gives_space_back
            .set(self.ask::<i64>("PRAGMA auto_vacuum")? != 0);
        Ok(())
    }

    fn find(&self) -> Result<Found, Error> {
        schema::find(&self.connection(), &self.options)
    }

    /// Sets up the connection and checks what SQLite answers, since a pragma that
    /// has no effect does not fail. Returns what was found in the file, which is
    /// not changed if it is refused.
    fn configure(&self, is_opening: bool) -> Result<Found, Error> {
        // Locking mode and journal mode come first: most other settings make SQLite
        // read the file.
        let found = match self.options.access {
            Access::Exclusive => {
                // There is no shared memory in WASI: exclusive locking must
                // come before the write-ahead log.
                self.pragma("locking_mode = EXCLUSIVE", Some("exclusive"))?;
                let found = self.find()?;
                self.accept(&found, is_opening)?;
                self.prepare_new_file()?;
                self.pragma("journal_mode = WAL", Some("wal"))?;
                found
            }
            Access::Shared => {
                let found = self.find();
                // An exclusive owner left a write-ahead log behind, which can be read
                // and checkpointed only with exclusive locking.
                let has_wal = matches!(found, Err(Error::Other(_)));
                let found = match has_wal {
                    true => {
                        self.pragma("locking_mode = EXCLUSIVE", Some("exclusive"))?;
                        self.find()
                    }
                    false => found,
                }?;
                self.accept(&found, is_opening)?;
                self.pragma("journal_mode = TRUNCATE", Some("truncate"))?;
                self.pragma("locking_mode = NORMAL", Some("normal"))?;
                // This reads the file, after which SQLite releases an exclusive lock.
                // Otherwise a file that has the table need not be read again.
                if has_wal || found != Found::CURRENT {
                    self.prepare_new_file()?;
                }
                found
            }
        };
        self.pragma("temp_store = MEMORY", None)?;
        self.pragma("cache_size = -16384", None)?;
        self.pragma("journal_size_limit = 4194304", None)?;
        self.pragma(synchronous(self.durability), None)?;
        Ok(found)
    }

    /// Refuses a file whose content must not be changed, and does not change it.
    fn accept(&self, found: &Found, is_opening: bool) -> Result<(), Error> {
        let Err(refused) = found.accept(&self.options.table_name, is_opening && self.options.sync)
        else {
            return Ok(());
        };
        let log = fs::metadata(format!("{}-wal", self.location));
        if log.is_ok_and(|log| log.len() > 0) {
            // Otherwise closing would checkpoint the log that another program left.
            self.connection()
                .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
                .map_err(failure)?;
        }
        Err(refused)
    }

    /// Turns on `auto_vacuum` for a new file; it has no effect once there is a
    /// table.
    fn prepare_new_file(&self) -> Result<(), Error> {
        match self.ask::<i64>("PRAGMA page_count")? {
            0 => self.pragma("auto_vacuum = INCREMENTAL", None),
            _ => Ok(()),
        }
    }

    pub(super) fn pragma(&self, setting: &str, expected: Option<&str>) -> Result<(), Error> {
        let connection = self.connection();
        let mut pragma = connection
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

/// The pragma that sets this durability.
pub fn synchronous(durability: Durability) -> &'static str {
    match durability {
        Durability::Full => "synchronous = FULL",
        Durability::Relaxed => "synchronous = NORMAL",
    }
}

/// Refuses a location that SQLite does not take for the path of a file.
pub fn check_location(location: &str) -> Result<(), Error> {
    let is_special = location.starts_with(':') || location.starts_with("file:");
    if location.is_empty() || is_special || location.contains('\0') {
        return Err(Error::invalid(
            "location: must be the path of a file in a directory given to this component",
        ));
    }
    Ok(())
}
