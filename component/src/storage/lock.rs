//! The lock of a shared database: waiting for it, keeping it alive, and
//! removing one whose owner died.
//!
//! WASI has no file locks that die with their owner. SQLite's lock here is a
//! directory beside the database; an instance that is killed leaves it behind.
//! How old it is, the file system alone tells: clocks of others may be wrong.

use crate::error::Error;
use rusqlite::{Connection, ffi};
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

#[cfg(test)]
mod tests;

/// A lock older than this is dead: its owner makes it younger while it works.
/// Until then everybody waits for an instance that was killed; after it, an
/// owner that merely waited for its disk would be taken for dead.
const DEAD_AFTER: Duration = Duration::from_secs(15);

/// An owner that was stopped for so long may have lost its lock.
const DOUBTFUL_AFTER: Duration = Duration::from_secs(7);

/// How old an owner lets its lock become.
const RENEW_AFTER: Duration = Duration::from_secs(2);

/// How many of SQLite's instructions go by between two looks at the lock's
/// age. One can handle a whole payload.
const INSTRUCTIONS: i32 = 100;

/// The longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

/// The lock that SQLite's `unix-dotfile` file system makes for one database.
pub struct DotLock {
    lock: PathBuf,
    /// Made in the lock and removed again to make that younger.
    sign: PathBuf,
    /// Held by whoever removes a dead lock.
    repair: PathBuf,
    /// Made and removed to ask the file system for its time.
    clock: PathBuf,
    patience: Duration,
    /// When the lock, if this owner holds it, was surely its own.
    certain: Mutex<Instant>,
}

impl DotLock {
    /// The lock of the database at `location`, to be waited for at most
    /// `patience` milliseconds.
    pub fn of(location: &str, patience: u64) -> DotLock {
        DotLock {
            lock: format!("{location}.lock").into(),
            sign: format!("{location}.lock/alive").into(),
            repair: format!("{location}.lock-repair").into(),
            clock: format!("{location}.lock-clock").into(),
            patience: Duration::from_millis(patience),
            certain: Mutex::new(Instant::now()),
        }
    }

    /// Repeats an attempt while it fails with [`Error::Busy`] and patience
    /// lasts; a dead lock is removed at once. Where no lock can be made,
    /// there is nothing to wait for.
    pub fn wait<T>(&self, mut attempt: impl FnMut() -> Result<T, Error>) -> Result<T, Error> {
        let started = Instant::now();
        let mut pause = Duration::from_millis(1);
        let mut clock = None;
        loop {
            match attempt() {
                Err(Error::Busy) => {}
                other => return other,
            }
            if clock.is_none() {
                clock = self.read_clock()?;
            }
            if clock.is_some_and(|clock: Clock| self.remove_dead(clock.now())) {
                continue;
            }
            if started.elapsed() >= self.patience {
                return Err(Error::Busy);
            }
            sleep(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Starts an attempt: a lock that it takes is its own from now on.
    pub fn begin(&self) {
        *self.certain() = Instant::now();
    }

    /// Whether somebody else may by now have taken the lock for a dead one.
    pub fn is_doubtful(&self) -> bool {
        self.certain().elapsed() > DOUBTFUL_AFTER
    }

    /// Has SQLite keep the lock young while it works, and stop with
    /// `SQLITE_INTERRUPT` when the lock is lost.
    pub fn keep_young(self: &Arc<Self>, connection: &mut Connection) -> rusqlite::Result<()> {
        let lock = self.clone();
        connection.progress_handler(INSTRUCTIONS, Some(move || !lock.keep()))
    }

    /// Makes the lock that a connection believes to hold and has lost. SQLite
    /// goes on believing so until it has removed one.
    pub fn make_again(&self) -> Result<(), Error> {
        fs::create_dir(&self.lock).map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists => Error::Busy,
            _ => self.cannot_be_made(&error),
        })
    }

    /// Renews the lock when it is time; false when it is lost.
    fn keep(&self) -> bool {
        let mut certain = self.certain();
        let age = certain.elapsed();
        if age < RENEW_AFTER {
            return true;
        }
        if age > DOUBTFUL_AFTER {
            return false;
        }
        let now = Instant::now();
        match self.renew() {
            Ok(()) => *certain = now,
            // Otherwise there is time for other tries.
            Err(error) => return error.kind() != ErrorKind::NotFound,
        }
        true
    }

    fn certain(&self) -> MutexGuard<'_, Instant> {
        self.certain.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn renew(&self) -> io::Result<()> {
        File::create(&self.sign)?;
        fs::remove_file(&self.sign)
    }

    /// Removes the lock if it is dead; whether it did.
    fn remove_dead(&self, now: SystemTime) -> bool {
        if !is_dead(&self.lock, now) {
            return false;
        }
        // Only one may look again and remove: a second one could hit the lock
        // that the first has taken by then.
        if fs::create_dir(&self.repair).is_err() {
            if is_dead(&self.repair, now) {
                self.remove_repair();
            }
            return false;
        }
        // It was made just now, so its time is the file system's.
        let is_dead = modified(&self.repair).is_ok_and(|now| is_dead(&self.lock, now));
        let removed = is_dead && {
            // Whoever was killed while renewing the lock left this in it.
            let _ = fs::remove_file(&self.sign);
            fs::remove_dir(&self.lock).is_ok()
        };
        let _ = fs::remove_dir(&self.repair);
        removed
    }

    /// Removes what a killed repairer left behind. Of several who try, one can
    /// rename it.
    fn remove_repair(&self) {
        let Ok(number) = getrandom::u64() else {
            return;
        };
        let removed = format!("{}-{number:016x}", self.repair.display());
        if fs::rename(&self.repair, &removed).is_ok() {
            let _ = fs::remove_dir(removed);
        }
    }

    /// The file system's clock; none when it cannot be read at the moment.
    fn read_clock(&self) -> Result<Option<Clock>, Error> {
        match self.file_system_now() {
            Ok(time) => Ok(Some(Clock {
                time,
                read: Instant::now(),
            })),
            // What cannot be made here cannot be a lock either. SQLite takes
            // that for a lock of somebody else.
            Err(error) if is_forbidden(&error) => Err(self.cannot_be_made(&error)),
            Err(_) => Ok(None),
        }
    }

    /// The modification time of a file that is made now. Somebody else who
    /// does the same at the same moment does no harm.
    fn file_system_now(&self) -> io::Result<SystemTime> {
        let _ = fs::remove_file(&self.clock);
        let made = File::create(&self.clock)?;
        let now = made.metadata()?.modified();
        let _ = fs::remove_file(&self.clock);
        now
    }

    fn cannot_be_made(&self, error: &io::Error) -> Error {
        let lock = self.lock.display();
        Error::Other(format!("the lock `{lock}` cannot be made: {error}"))
    }
}

/// Whether a connection with the `unix-dotfile` file system believes that it
/// holds the lock. SQLite's own bookkeeping, so this costs next to nothing.
pub fn believes_to_hold(connection: &Connection) -> bool {
    let mut state = 0;
    // SAFETY: the connection is open; this operation writes one int to where
    // the last argument points. With no name the database is the main one.
    let answer = unsafe {
        ffi::sqlite3_file_control(
            connection.handle(),
            std::ptr::null(),
            ffi::SQLITE_FCNTL_LOCKSTATE,
            (&raw mut state).cast(),
        )
    };
    answer == ffi::SQLITE_OK && state != 0
}

/// The file system's clock, read once.
#[derive(Clone, Copy)]
struct Clock {
    time: SystemTime,
    read: Instant,
}

impl Clock {
    fn now(&self) -> SystemTime {
        self.time + self.read.elapsed()
    }
}

fn is_dead(directory: &Path, now: SystemTime) -> bool {
    modified(directory)
        .is_ok_and(|taken| now.duration_since(taken).is_ok_and(|age| age > DEAD_AFTER))
}

fn modified(directory: &Path) -> io::Result<SystemTime> {
    fs::metadata(directory)?.modified()
}

fn is_forbidden(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem
    )
}
