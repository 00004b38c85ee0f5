//! The connection: opened, configured, given up after a failure, and reopened.
//!
//! A connection is given up after any I/O error, a failed write to the write-ahead log
//! (WAL), or a lost lock: the failed request gets its error, the connection is closed
//! without another write, and the next attempt reopens the database, so that its
//! answers come from the files.

use super::connected::{Connected, synchronous};
use super::database::Storage;
use super::failure::failure;
use super::gathering::Damage;
use super::mark;
use super::schema;
use super::table::Found;
use super::vfs::sync_directory;
use super::wal::checkpoint_after;
use rusqlite::config::DbConfig;
use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use wasi_sessions_rules::error::Error;
use wasi_sessions_rules::options::Access;
use wasi_sessions_rules::types::Timestamp;

impl Storage {
    /// Opens the database. `opening` is the present time when the store is opened;
    /// `None` when it is reopened, in which case the table must exist.
    pub(super) fn connect(&self, opening: Option<Timestamp>) -> Result<(), Error> {
        self.repair()?;
        let Some(lock) = &self.lock else {
            return self.connect_alone(opening);
        };
        lock.reset();
        // The lock is held for the whole opening, so that many instances that open at
        // the same time take turns faster.
        lock.hold(|| {
            let done = self.connect_alone(opening);
            // If the lock was lost, the failure says nothing about the database.
            done.or_else(|error| lock.confirm().and(Err(error)))
        })
    }

    /// Makes the repair of the WAL that is due after a connection was given up.
    fn repair(&self) -> Result<(), Error> {
        let wal = format!("{}-wal", self.location);
        let repaired = self.damage.get().repair(&wal);
        repaired.map_err(|error| match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Error::StorageFull,
            _ => Error::Other(format!("cannot repair `{wal}`: {error}")),
        })?;
        self.damage.take();
        Ok(())
    }

    /// Opens the database while no other instance uses it.
    fn connect_alone(&self, opening: Option<Timestamp>) -> Result<(), Error> {
        let location = &self.location;
        if mark::is_copy(location)? {
            let lock = self.lock.as_ref();
            mark::adopt(location, || lock.map_or(Ok(()), |lock| lock.confirm()))?;
        }
        if self.may_have_unsynced_names(opening.is_some()) {
            self.sync_names()?;
        }
        let makes_file = opening.is_some() && self.options.sync;
        let connected = Connected::open(location, &self.options, makes_file, self.lock.as_ref())?;
        self.connected.replace(Some(connected));
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

    /// Whether an earlier owner may have ended between creating a file and first syncing
    /// it. SQLite syncs the directory with the first sync of a file that it has created
    /// itself, but not for a file that it finds. With exclusive access a write-ahead log
    /// is a sign of that, since an owner removes it when it closes. With shared access,
    /// reopening is one; a dead owner's lock is handled in `lock/lease.rs`.
    fn may_have_unsynced_names(&self, is_opening: bool) -> bool {
        match self.lock {
            None => !matches!(fs::exists(format!("{}-wal", self.location)), Ok(false)),
            Some(_) => !is_opening,
        }
    }

    /// Makes the names of the database's files durable.
    fn sync_names(&self) -> Result<(), Error> {
        sync_directory(&self.location)
            .map_err(|error| Error::Other(format!("cannot sync the directory: {error}")))
    }

    /// Reopens the database if the connection was given up.
    pub(super) fn reconnect(&self) -> Result<(), Error> {
        let is_connected = self.connected.borrow().is_some();
        match is_connected {
            true => Ok(()),
            false => self.connect(None),
        }
    }

    /// Ends an attempt that failed with `error`, or succeeded. Flushes the buffered WAL,
    /// and gives the connection up if a file operation failed or the lock was lost.
    /// Returns the error to answer with.
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
                    // The attempt was rolled back. If the flush fails, the connection
                    // is given up below.
                    let _ = self.connected().flush();
                }
                Some(error)
            }
        };
        let lock = self.lock.as_ref();
        let problem = lock.and_then(|lock| lock.take_problem());
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

    /// Whether an attempt on a shared database failed because an exclusive owner was there
    /// since the last one, and left the database in WAL mode, which only a new connection can
    /// end. If so, nothing was done, and the connection is given up.
    pub(super) fn was_exclusive(&self, error: &Error) -> bool {
        if self.lock.is_none() || !matches!(error, Error::Other(_)) {
            return false;
        }
        let mut header = [0; 20];
        let read = File::open(&self.location).and_then(|mut file| file.read_exact(&mut header));
        let is_wal = read.is_ok() && header[18..] == [2, 2];
        if is_wal {
            self.connected.take();
        }
        is_wal
    }

    /// Ends an attempt with this result; see [`Storage::end_attempt`].
    pub(super) fn conclude<T>(&self, done: Result<T, Error>) -> Result<T, Error> {
        let (done, error) = match done {
            Ok(done) => (Some(done), None),
            Err(error) => (None, Some(error)),
        };
        match (done, self.end_attempt(error)) {
            (Some(done), None) => Ok(done),
            (_, error) => Err(error.unwrap_or(Error::Busy)),
        }
    }

    /// Prepares connection and table.
    fn prepare(&self, opening: Option<Timestamp>) -> Result<(), Error> {
        let found = self.configure(opening.is_some())?;
        let keys = match (found.is_ready(&self.options), opening) {
            (false, Some(now)) => {
                self.sync_names()?;
                self.pragma("secure_delete = ON", None)?;
                let keys = schema::prepare(&self.connection(), &self.options, now)?;
                self.pragma("secure_delete = OFF", None)?;
                keys
            }
            _ => found.keys(&self.options),
        };
        if let Some(keys) = keys {
            // What is not sealed with the present key must be overwritten when it is
            // freed.
            if keys.previous.is_some() {
                self.pragma("secure_delete = ON", None)?;
            }
            self.use_keys(keys);
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

    /// Configures the connection, and checks SQLite's answers, since a pragma without
    /// effect does not fail. Returns what the file holds. A file that is refused is not
    /// changed.
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
                if is_opening {
                    // A sync may have failed for the owner that left this log.
                    self.damage.set(Damage::UNSYNCED);
                    self.repair()?;
                }
                self.prepare_new_file()?;
                self.pragma("journal_mode = WAL", Some("wal"))?;
                let pages = checkpoint_after(self.options.durability);
                self.pragma(&format!("wal_autocheckpoint = {pages}"), None)?;
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
                if has_wal || !found.is_ready(&self.options) {
                    self.prepare_new_file()?;
                }
                found
            }
        };
        self.pragma("temp_store = MEMORY", None)?;
        self.pragma("cache_size = -16384", None)?;
        self.pragma("journal_size_limit = 4194304", None)?;
        let options = &self.options;
        self.pragma(synchronous(options.access, options.durability), None)?;
        Ok(found)
    }

    /// Refuses a file that must not be used, without changing it.
    fn accept(&self, found: &Found, is_opening: bool) -> Result<(), Error> {
        let Err(refused) = self.refusal(found, is_opening) else {
            return Ok(());
        };
        let wal = fs::metadata(format!("{}-wal", self.location));
        if wal.is_ok_and(|wal| wal.len() > 0) {
            // Otherwise closing would checkpoint the WAL that another program left.
            self.connection()
                .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
                .map_err(failure)?;
        }
        Err(refused)
    }

    /// Fails if the file must not be used. When the database is reopened, a table with
    /// another key is an `other` error: its key was changed or the files were replaced.
    fn refusal(&self, found: &Found, is_opening: bool) -> Result<(), Error> {
        let accepted = found.accept(&self.options, is_opening && self.options.sync);
        match accepted {
            Err(Error::InvalidArgument(words)) if !is_opening => Err(Error::Other(words)),
            Ok(()) if !is_opening && !found.is_ready(&self.options) => {
                Err(other_key(&self.options.table_name))
            }
            accepted => accepted,
        }
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
        // SQLite returns the row before it commits, and the commit can fail.
        while rows.next().map_err(failure)?.is_some() {}
        if answer.as_deref() != expected {
            return Err(Error::Other(format!(
                "SQLite refused `{setting}` and answered {answer:?}"
            )));
        }
        Ok(())
    }
}

/// The error when the key of a table was changed while this store had it open.
pub fn other_key(table: &str) -> Error {
    Error::Other(format!(
        "the key of table `{table}` was changed meanwhile: open the store again with it"
    ))
}

impl Drop for Storage {
    /// Cuts writes that were answered as failed off the write-ahead log, where the next
    /// owner would find them. A failure is ignored.
    fn drop(&mut self) {
        let _ = self.repair();
    }
}

/// Refuses a location that SQLite would not treat as the path of a file.
pub fn check_location(location: &str) -> Result<(), Error> {
    let is_special = location.starts_with(':') || location.starts_with("file:");
    if location.is_empty() || is_special || location.contains('\0') {
        return Err(Error::invalid(
            "location: must be the path of a file in a directory given to this component",
        ));
    }
    Ok(())
}
