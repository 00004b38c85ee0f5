//! The lock of a shared database, a lease: acquired, renewed, and taken over when
//! its owner is dead.
//!
//! WASI has no file locks that are released when their owner dies. The lock is a
//! directory beside the database, `….lock`, with one file in it, whose random name
//! is the owner's token. It is prepared as `….lock-<token>` and renamed, so it
//! appears complete. An owner removes its own token first, and the directory only
//! when that is empty, so it can never remove another owner's lock. The age of a
//! token is measured by the file system's clock, since the clocks of other machines
//! may be wrong.

use super::file_system::File;
use super::hooks::{Done, Failed, Hooks, Kind};
use crate::error::Error;
use crate::id;
use rusqlite::ffi;
use std::ffi::{OsStr, c_int};
use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

#[cfg(test)]
mod tests;

/// The age after which a token's owner counts as dead. Shorter, an owner that waits
/// for a slow disk would be taken for dead; longer, others would wait longer for an
/// instance that was killed.
const DEAD_AFTER: Duration = Duration::from_secs(15);

/// The time after which an owner that cannot renew its token counts its lock as lost.
const DOUBTFUL_AFTER: Duration = Duration::from_secs(7);

/// The age at which an owner renews its token.
const RENEW_AFTER: Duration = Duration::from_secs(2);

/// How often a waiter tries to take a lock whose directory is old, rather than only
/// looking whether it is still there.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// How many of SQLite's instructions go by between two looks at the token's
/// age. One can handle a whole payload.
const INSTRUCTIONS: i32 = 100;

/// The length of a token before hexadecimal encoding, in bytes.
const TOKEN: usize = 8;

/// The lock of one database, and the hooks of its files, which refuse reads and
/// writes unless the lock is surely held.
pub struct Lock {
    directory: PathBuf,
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
    /// Why no lock can be made here.
    problem: Option<Error>,
}

struct Held {
    token: PathBuf,
    /// Taken just before the last renewal of the token, when the lock was held.
    renewed: Moment,
}

/// A moment on both clocks, since the monotonic clock stops while a machine sleeps.
struct Moment {
    monotonic: Instant,
    wall: SystemTime,
}

impl Moment {
    fn now() -> Moment {
        Moment {
            monotonic: Instant::now(),
            wall: SystemTime::now(),
        }
    }

    fn age(&self) -> Duration {
        let by_wall = self.wall.elapsed().unwrap_or_default();
        self.monotonic.elapsed().max(by_wall)
    }
}

impl Lock {
    /// The lock of the database at `location`.
    pub fn of(location: &str) -> Lock {
        Lock {
            directory: format!("{location}.lock").into(),
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

    /// Why the lock cannot be created here, if an attempt has failed so.
    pub fn problem(&self) -> Option<Error> {
        self.state().problem.take()
    }

    /// Whether the lock is there, so that to try is in vain: its directory is young
    /// by the wall clock, or was tried a moment ago. One look instead of a directory
    /// made and removed keeps many waiters from slowing the owner down. A clock that
    /// is wrong costs no more than that.
    pub fn is_surely_held(&self) -> bool {
        let tried = self.state().tried;
        let found = fs::symlink_metadata(&self.directory);
        let Ok(made) = found.and_then(|found| match found.is_dir() {
            true => found.modified(),
            false => Err(ErrorKind::NotADirectory.into()),
        }) else {
            return false;
        };
        let age = SystemTime::now().duration_since(made);
        let is_young = age.is_ok_and(|age| age <= DEAD_AFTER);
        is_young || tried.is_some_and(|tried| tried.elapsed() < RETRY_AFTER)
    }

    /// Releases the lock and clears its failure, before a connection is opened.
    pub fn reset(&self) {
        self.release();
        self.state().is_lost = false;
        self.failed.set(false);
    }

    /// Does work with the lock held throughout, SQLite's transactions in it
    /// included; busy when another holds it.
    pub fn hold<T>(&self, work: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
        let done = match self.acquire() {
            Ok(()) => {
                self.state().is_pinned = true;
                work()
            }
            Err(code) if code == ffi::SQLITE_BUSY => Err(Error::Busy),
            Err(_) => Err(self.problem().unwrap_or(Error::Busy)),
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
        match self.take() {
            Ok(Some(held)) => {
                state.held = Some(held);
                state.tried = None;
                Ok(())
            }
            Ok(None) => Err(ffi::SQLITE_BUSY),
            Err(error) => {
                let lock = self.directory.display();
                state.problem = Some(match error.kind() {
                    ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Error::StorageFull,
                    _ => Error::Other(format!("the lock `{lock}` cannot be made: {error}")),
                });
                Err(ffi::SQLITE_CANTOPEN)
            }
        }
    }

    /// Takes the lock if it is free or its owner is dead.
    fn take(&self) -> io::Result<Option<Held>> {
        let random = id::random::<TOKEN>()
            .map_err(|_| io::Error::other("the source of randomness failed"))?;
        let token = hex::encode(random);
        let prepared = self.prepared(&token);
        let renewed = Moment::now();
        fs::create_dir(&prepared)?;
        let made = fs::File::create_new(prepared.join(&token));
        let token = self.directory.join(&token);
        // This replaces an empty directory, in which an owner was killed, and fails
        // for any other.
        if made.is_ok() && fs::rename(&prepared, &self.directory).is_ok() {
            return Ok(Some(Held { token, renewed }));
        }
        let is_foreign = fs::symlink_metadata(&self.directory).is_ok_and(|found| !found.is_dir());
        let taken = match made {
            Ok(_) if is_foreign => Err(io::Error::other("something else has its name")),
            // It was made just now, so its time is the file system's.
            Ok(made) => match made.metadata().and_then(|made| made.modified()) {
                Ok(now) => self.take_over(token, now),
                Err(error) => Err(error),
            },
            Err(error) => Err(error),
        };
        remove(&prepared);
        taken
    }

    /// Takes over a lock whose token is dead. Of several who try, one can rename
    /// it; should its owner have woken meanwhile, it gets it back.
    fn take_over(&self, own: PathBuf, now: SystemTime) -> io::Result<Option<Held>> {
        for token in entries(&self.directory) {
            if !is_dead(&token, now) || fs::rename(&token, &own).is_err() {
                continue;
            }
            let renewed = Moment::now();
            if !is_dead(&own, now) {
                let _ = fs::rename(&own, &token);
            } else if renew(&own).is_ok() {
                self.sweep(now);
                let token = own;
                return Ok(Some(Held { token, renewed }));
            }
            break;
        }
        Ok(None)
    }

    /// Removes what instances left that were killed as they made a lock.
    fn sweep(&self, now: SystemTime) {
        let parent = match self.directory.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        for path in entries(parent) {
            let name = path.file_name().unwrap_or_default();
            if self.token_of(name).is_none() {
                continue;
            }
            let mut left = entries(&path).peekable();
            let is_left = match left.peek() {
                Some(_) => left.all(|token| is_dead(&token, now)),
                None => is_dead(&path, now),
            };
            if is_left {
                remove(&path);
            }
        }
    }

    fn prepared(&self, token: &str) -> PathBuf {
        let mut path = self.directory.clone().into_os_string();
        path.push(format!("-{token}"));
        path.into()
    }

    /// The token in the name of a directory that was prepared to become this lock.
    fn token_of<'n>(&self, name: &'n OsStr) -> Option<&'n str> {
        let own = self.directory.file_name()?.to_str()?;
        let token = name.to_str()?.strip_prefix(own)?.strip_prefix('-')?;
        let is_hex = token.bytes().all(|byte| byte.is_ascii_hexdigit());
        (token.len() == 2 * TOKEN && is_hex).then_some(token)
    }

    /// Releases the lock, if it is held and still belongs to this owner.
    fn release(&self) {
        let Some(held) = self.state().held.take() else {
            return;
        };
        if fs::remove_file(held.token).is_ok() {
            let _ = fs::remove_dir(&self.directory);
        }
    }

    /// Whether the lock was not lost; also true when it is not held. Renews the
    /// token when that is due.
    fn is_kept(&self) -> bool {
        let mut state = self.state();
        let Some(held) = &mut state.held else {
            return true;
        };
        let age = held.renewed.age();
        if age < RENEW_AFTER {
            return true;
        }
        // An owner that was stopped for long still holds the lock if its token is
        // there: to take the lock over is to rename the token.
        let now = Moment::now();
        let is_lost = match renew(&held.token) {
            Ok(()) => {
                held.renewed = now;
                false
            }
            // Otherwise there is time for other tries.
            Err(error) => error.kind() == ErrorKind::NotFound,
        };
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

    /// Does an operation on a file of the database, unless the lock is lost. For
    /// other files it only renews the lock.
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
}

impl Hooks for Lock {
    fn read(&self, kind: Kind, file: &File, to: &mut [u8], offset: i64) -> Done {
        let read = self.guard(kind, || file.read(to, offset));
        // Data that was read after the lock was lost may be half written.
        self.guard(kind, || read)
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
        self.guard(kind, || file.size())
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

/// Sets a token's modification time to the present; fails if the token is gone.
fn renew(token: &Path) -> io::Result<()> {
    let mut file = fs::File::options().write(true).open(token)?;
    file.write_all(b"1")?;
    drop(file);
    // The token may have been renamed after it was opened.
    fs::metadata(token).map(drop)
}

fn entries(directory: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.path())
}

/// Removes a directory with a token in it; ignores errors.
fn remove(prepared: &Path) {
    entries(prepared).for_each(|token| drop(fs::remove_file(token)));
    let _ = fs::remove_dir(prepared);
}

fn is_dead(token: &Path, now: SystemTime) -> bool {
    let renewed = fs::metadata(token).and_then(|found| found.modified());
    renewed.is_ok_and(|renewed| {
        now.duration_since(renewed)
            .is_ok_and(|age| age > DEAD_AFTER)
    })
}
