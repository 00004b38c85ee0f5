//! The lock of a shared database: waiting for it, and removing one whose
//! owner died.
//!
//! WASI has no file locks that die with their owner. SQLite's lock here is a
//! directory beside the database; an instance that is killed leaves it behind.

use crate::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

/// A lock older than this is dead: a transaction takes milliseconds. Whoever
/// is stopped for longer in the middle of one, and then goes on, is not safe.
const DEAD_AFTER: Duration = Duration::from_secs(60);

/// The longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

/// The lock that SQLite's `unix-dotfile` file system makes for one database.
pub struct DotLock {
    lock: PathBuf,
    /// Held by whoever removes a dead lock.
    repair: PathBuf,
    patience: Duration,
}

impl DotLock {
    /// The lock of the database at `location`, to be waited for at most
    /// `patience` milliseconds.
    pub fn of(location: &str, patience: u64) -> DotLock {
        DotLock {
            lock: format!("{location}.lock").into(),
            repair: format!("{location}.lock-repair").into(),
            patience: Duration::from_millis(patience),
        }
    }

    /// Repeats an attempt while it fails with [`Error::Busy`] and patience
    /// lasts; a dead lock is removed at once.
    pub fn wait<T>(&self, mut attempt: impl FnMut() -> Result<T, Error>) -> Result<T, Error> {
        let started = Instant::now();
        let mut pause = Duration::from_millis(1);
        loop {
            match attempt() {
                Err(Error::Busy) if self.remove_dead() => {}
                Err(Error::Busy) if started.elapsed() < self.patience => {
                    sleep(pause);
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                other => return other,
            }
        }
    }

    /// Removes the lock if it is dead; whether it did.
    fn remove_dead(&self) -> bool {
        if !is_dead(&self.lock) {
            return false;
        }
        // Only one may look again and remove: a second one could hit the lock
        // that the first has taken by then.
        if fs::create_dir(&self.repair).is_err() {
            if is_dead(&self.repair) {
                let _ = fs::remove_dir(&self.repair);
            }
            return false;
        }
        let removed = is_dead(&self.lock) && fs::remove_dir(&self.lock).is_ok();
        let _ = fs::remove_dir(&self.repair);
        removed
    }
}

fn is_dead(directory: &Path) -> bool {
    fs::metadata(directory)
        .and_then(|metadata| metadata.modified())
        .is_ok_and(|taken| {
            SystemTime::now()
                .duration_since(taken)
                .is_ok_and(|age| age > DEAD_AFTER)
        })
}
