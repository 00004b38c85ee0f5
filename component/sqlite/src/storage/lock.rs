//! The lock of a shared database: a lease that is held during SQLite's transactions and
//! renewed (a heartbeat), and hooks that refuse reads and writes once it is lost.

use super::vfs::{Done, Failed, File, Hooks, Kind};
use lease::{DEAD_AFTER, Held, Lease};
use rusqlite::ffi;
use std::ffi::c_int;
use std::io::ErrorKind;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use wasi_sessions_rules::error::Error;

mod lease;
#[cfg(test)]
mod tests;

/// The time without a renewal after which an owner treats its lock as lost.
const DOUBTFUL_AFTER: Duration = Duration::from_secs(7);

/// The age at which an owner renews its token.
const RENEW_AFTER: Duration = Duration::from_secs(2);

/// The shortest time between two attempts to take a lock whose directory is old. In
/// between, a waiter only checks whether the directory still exists.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The number of SQLite's virtual machine instructions between two checks of the
/// token's age. One instruction can process a whole payload.
const INSTRUCTIONS: i32 = 100;

/// The lock of one database, and the hooks of its files, which refuse reads and
/// writes unless the lock is surely held.
pub struct Lock {
    lease: Lease,
    /// Set after an I/O error, or when the lock was lost.
    failed: Failed,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    held: Option<Held>,
    /// Whether the lock is held for more than one of SQLite's transactions.
    is_pinned: bool,
    is_lost: bool,
    /// When this instance last tried to take the lock.
    tried: Option<Instant>,
    /// Why the last attempt could not create the lock.
    problem: Option<Error>,
}

impl Lock {
    /// The lock of the database at `location`.
    pub fn of(location: &str) -> Lock {
        Lock {
            lease: Lease::of(location),
            failed: Failed::default(),
            state: Mutex::default(),
        }
    }

    /// Installs a progress handler that renews the lock while SQLite works, and
    /// stops SQLite with `SQLITE_INTERRUPT` when the lock is lost: a statement can
    /// run for long without touching its files.
    pub fn keep_alive(
        self: &Arc<Self>,
        connection: &mut rusqlite::Connection,
    ) -> rusqlite::Result<()> {
        let lock = self.clone();
        connection.progress_handler(INSTRUCTIONS, Some(move || !lock.is_kept()))
    }

    /// Whether the connection is to be given up.
    pub fn has_failed(&self) -> bool {
        self.failed.get()
    }

    /// Whether the lock was lost.
    pub fn is_lost(&self) -> bool {
        self.state().is_lost
    }

    /// Fails with `busy` if the lock was lost since it was taken.
    pub fn confirm(&self) -> Result<(), Error> {
        match self.is_kept() && !self.is_lost() {
            true => Ok(()),
            false => Err(Error::Busy),
        }
    }

    /// Takes the error of the last attempt, if it could not create the lock.
    pub fn take_problem(&self) -> Option<Error> {
        self.state().problem.take()
    }

    /// Whether an attempt to take the lock would be pointless: the lock's directory is
    /// younger than `DEAD_AFTER` by the wall clock, or the last attempt was less than
    /// `RETRY_AFTER` ago. This check is cheaper than an attempt, which creates and removes
    /// a directory, so many waiters do not slow the owner down. A wrong clock only makes
    /// attempts more or less frequent.
    pub fn is_surely_held(&self) -> bool {
        let tried = self.state().tried;
        let Ok(made) = self.lease.made() else {
            return false;
        };
        let age = SystemTime::now().duration_since(made);
        let is_young = age.is_ok_and(|age| age <= DEAD_AFTER);
        is_young || tried.is_some_and(|tried| tried.elapsed() < RETRY_AFTER)
    }

    /// Releases the lock and clears the failure of the last connection, before a new
    /// connection is opened.
    pub fn reset(&self) {
        self.release();
        self.state().is_lost = false;
        self.failed.set(false);
    }

    /// Runs work while the lock is held, across all of SQLite's transactions in it; fails
    /// with `busy` if another owner holds the lock.
    pub fn hold<T>(&self, work: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
        let done = match self.acquire() {
            Ok(()) => {
                self.state().is_pinned = true;
                work()
            }
            Err(code) if code == ffi::SQLITE_BUSY => Err(Error::Busy),
            Err(_) => Err(self.take_problem().unwrap_or(Error::Busy)),
        };
        self.state().is_pinned = false;
        self.release();
        done
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn acquire(&self) -> Done {
        if self.state().held.is_some() {
            return Ok(());
        }
        if self.is_surely_held() {
            return Err(ffi::SQLITE_BUSY);
        }
        let mut state = self.state();
        state.tried = Some(Instant::now());
        match self.lease.take() {
            Ok(Some(held)) => {
                state.held = Some(held);
                state.tried = None;
                Ok(())
            }
            Ok(None) => Err(ffi::SQLITE_BUSY),
            Err(error) => {
                let lock = &self.lease;
                state.problem = Some(match error.kind() {
                    ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Error::StorageFull,
                    _ => Error::Other(format!("the lock `{lock}` cannot be created: {error}")),
                });
                Err(ffi::SQLITE_CANTOPEN)
            }
        }
    }

    /// Releases the lock, if it is held and still belongs to this owner.
    fn release(&self) {
        let held = self.state().held.take();
        if let Some(held) = held {
            self.lease.release(held);
        }
    }

    /// Whether the lock was not lost, which includes that it is not held. Renews the
    /// token when a renewal is due.
    fn is_kept(&self) -> bool {
        let mut state = self.state();
        let Some(held) = &mut state.held else {
            return true;
        };
        let age = held.renewed.age();
        if age < RENEW_AFTER {
            return true;
        }
        // A takeover renames the token, so even an owner that was stopped for long still
        // holds the lease if its token exists. Other failures are retried.
        let renewed = held.renew();
        let is_lost = renewed.is_err_and(|error| error.kind() == ErrorKind::NotFound);
        // The renewal itself may have taken too long.
        if is_lost || held.renewed.age() > DOUBTFUL_AFTER {
            state.is_lost = true;
            drop(state);
            self.failed.set(true);
            return false;
        }
        true
    }

    fn check(&self) -> Done {
        match self.is_kept() {
            true => Ok(()),
            false => Err(ffi::SQLITE_IOERR),
        }
    }

    /// Runs an operation on a file of the database, unless the lock is lost. An
    /// operation on another file only renews the lock.
    fn guard<T>(&self, kind: Kind, operation: impl FnOnce() -> Done<T>) -> Done<T> {
        if kind == Kind::Other {
            let _ = self.is_kept();
            return operation();
        }
        self.failed.guard(|| {
            self.check()?;
            operation()
        })
    }

    /// Does a read like [`Lock::guard`]; fails if the lock was lost during the read, since
    /// the data may be half written.
    fn guard_reading<T>(&self, kind: Kind, operation: impl FnOnce() -> Done<T>) -> Done<T> {
        let found = self.guard(kind, operation);
        self.guard(kind, || found)
    }
}

impl Hooks for Lock {
    fn read(&self, kind: Kind, file: &File, to: &mut [u8], offset: i64) -> Done {
        self.guard_reading(kind, || file.read(to, offset))
    }

    fn write(&self, kind: Kind, file: &File, bytes: &[u8], offset: i64) -> Done {
        self.guard(kind, || file.write(bytes, offset))
    }

    fn truncate(&self, kind: Kind, file: &File, size: i64) -> Done {
        self.guard(kind, || file.truncate(size))
    }

    fn sync(&self, kind: Kind, file: &File, flags: c_int) -> Done {
        self.guard(kind, || file.sync(flags))
    }

    fn size(&self, kind: Kind, file: &File) -> Done<i64> {
        self.guard_reading(kind, || file.size())
    }

    fn delete(&self) -> Done {
        self.guard(Kind::Journal, || Ok(()))
    }

    fn lock(&self, _level: c_int) -> Done {
        if self.failed.get() {
            return Err(ffi::SQLITE_IOERR);
        }
        self.acquire()
    }

    fn unlock(&self, level: c_int) {
        if level == ffi::SQLITE_LOCK_NONE && !self.state().is_pinned {
            self.release();
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.release();
    }
}
