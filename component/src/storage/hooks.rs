//! What happens when SQLite asks something of the files of a connection.

use super::file_system::File;
use rusqlite::ffi;
use std::ffi::c_int;
use std::sync::atomic::{AtomicBool, Ordering};

/// How an operation ended; the error is one of SQLite's codes.
pub type Done<T = ()> = Result<T, c_int>;

/// What a file is to the connection.
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

/// What is done when SQLite asks something of a file. A method that is not
/// given passes the request on.
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
    /// Before a file is closed.
    fn close(&self, _: Kind, _: &File) {}
    /// Before a journal or a write-ahead log is deleted.
    fn delete(&self) -> Done {
        Ok(())
    }
    /// Before what was written to the write-ahead log is answered as kept.
    fn flush(&self, _wal: &File) -> Done {
        Ok(())
    }
    /// The database's lock is to be at this level, one of `SQLITE_LOCK_…`.
    fn lock(&self, _level: c_int) -> Done {
        Ok(())
    }
    /// The database's lock is to be at this lower level.
    fn unlock(&self, _level: c_int) {}
}

/// Whether an operation failed in a way after which the connection cannot be
/// trusted (any I/O error): all that follow fail, until the database is opened
/// anew.
#[derive(Default)]
pub struct Failed(AtomicBool);

impl Failed {
    pub fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    pub fn set(&self, failed: bool) {
        self.0.store(failed, Ordering::Relaxed);
    }

    /// Does the operation, unless one has failed before.
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
