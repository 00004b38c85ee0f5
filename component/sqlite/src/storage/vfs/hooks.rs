//! Hooks into the file operations of a connection.

use super::file::{Done, File};
use rusqlite::ffi;
use std::ffi::c_int;
use std::sync::atomic::{AtomicBool, Ordering};

/// The kind of a file, as seen from the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The connection's database.
    Database,
    /// The rollback journal of that database.
    Journal,
    /// The write-ahead log of that database.
    Wal,
    /// Anything else: a copy of the database, a temporary file.
    Other,
}

/// Hooks that replace SQLite's file operations. The default of each method passes
/// the operation on.
pub trait Hooks: Send + Sync {
    fn read(&self, _: Kind, file: &File, to: &mut [u8], offset: i64) -> Done {
        file.read(to, offset)
    }
    fn write(&self, _: Kind, file: &File, bytes: &[u8], offset: i64) -> Done {
        file.write(bytes, offset)
    }
    fn truncate(&self, _: Kind, file: &File, size: i64) -> Done {
        file.truncate(size)
    }
    fn sync(&self, _: Kind, file: &File, flags: c_int) -> Done {
        file.sync(flags)
    }
    fn size(&self, _: Kind, file: &File) -> Done<i64> {
        file.size()
    }
    /// Called before a file is closed.
    fn close(&self, _: Kind, _: &File) {}
    /// Called before a journal or a write-ahead log is deleted.
    fn delete(&self) -> Done {
        Ok(())
    }
    /// Called before an answer depends on what was written to the write-ahead log.
    fn flush(&self, _wal: &File) -> Done {
        Ok(())
    }
    /// Raises the database's lock to this level, one of `SQLITE_LOCK_…`.
    fn lock(&self, _level: c_int) -> Done {
        Ok(())
    }
    /// Lowers the database's lock to this level.
    fn unlock(&self, _level: c_int) {}
}

/// A flag that is set by any I/O error, after which the connection is no longer safe to
/// use: all later operations fail until the database is reopened.
#[derive(Default)]
pub struct Failed(AtomicBool);

impl Failed {
    pub fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    pub fn set(&self, failed: bool) {
        self.0.store(failed, Ordering::Relaxed);
    }

    /// Runs the operation, unless an earlier one has failed.
    pub fn guard<T>(&self, operation: impl FnOnce() -> Done<T>) -> Done<T> {
        if self.get() {
            return Err(ffi::SQLITE_IOERR);
        }
        operation().inspect_err(|&code| {
            if code & 0xff == ffi::SQLITE_IOERR && code != ffi::SQLITE_IOERR_SHORT_READ {
                self.set(true);
            }
        })
    }
}
