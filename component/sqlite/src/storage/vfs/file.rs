//! An open file of one of SQLite's own file systems (VFS), for the hooks to use.

use super::system_calls;
use rusqlite::ffi::{self, sqlite3_file, sqlite3_io_methods};
use std::ffi::c_int;

/// The result of an operation; the error is one of SQLite's codes.
pub type Done<T = ()> = Result<T, c_int>;

/// An open file of the file system below the layer. The pointer is null for the journal
/// of a copy (`VACUUM INTO`), which is discarded: a copy that fails is removed and needs
/// no rollback.
pub struct File(pub(super) *mut sqlite3_file);

impl File {
    pub(super) fn call(
        &self,
        method: impl FnOnce(*mut sqlite3_file, &sqlite3_io_methods) -> c_int,
    ) -> Done {
        if self.0.is_null() {
            return Ok(());
        }
        // SAFETY: the file is open, and so has methods.
        done(method(self.0, unsafe { &*(*self.0).pMethods }))
    }

    pub fn read(&self, to: &mut [u8], offset: i64) -> Done {
        if self.0.is_null() {
            to.fill(0);
            return Err(ffi::SQLITE_IOERR_SHORT_READ);
        }
        let (start, length) = (to.as_mut_ptr().cast(), to.len() as c_int);
        // SAFETY: the buffer has `length` bytes.
        self.call(|file, of| unsafe { method(of.xRead)(file, start, length, offset) })
    }

    pub fn write(&self, bytes: &[u8], offset: i64) -> Done {
        let (start, length) = (bytes.as_ptr().cast(), bytes.len() as c_int);
        // SAFETY: the buffer has `length` bytes.
        self.call(|file, of| unsafe { method(of.xWrite)(file, start, length, offset) })
            .map_err(|code| self.with_quota(code))
    }

    /// Turns an I/O error that is an exceeded quota into `SQLITE_FULL`.
    fn with_quota(&self, code: c_int) -> c_int {
        if code & 0xff != ffi::SQLITE_IOERR || self.0.is_null() {
            return code;
        }
        let mut errno = 0;
        // SAFETY: the file is open; this operation writes one int.
        let asked = self.call(|file, of| unsafe {
            method(of.xFileControl)(file, ffi::SQLITE_FCNTL_LAST_ERRNO, (&raw mut errno).cast())
        });
        match std::io::Error::from_raw_os_error(errno).kind() {
            std::io::ErrorKind::QuotaExceeded if asked.is_ok() => ffi::SQLITE_FULL,
            _ => code,
        }
    }

    pub fn truncate(&self, size: i64) -> Done {
        // SAFETY: the file is open.
        self.call(|file, of| unsafe { method(of.xTruncate)(file, size) })
    }

    pub fn sync(&self, flags: c_int) -> Done {
        // SAFETY: the file is open.
        let sync = || self.call(|file, of| unsafe { method(of.xSync)(file, flags) });
        system_calls::with_directory(sync)
    }

    pub fn size(&self) -> Done<i64> {
        let mut size = 0;
        // SAFETY: the file is open, and `size` is a valid place to write to.
        self.call(|file, of| unsafe { method(of.xFileSize)(file, &raw mut size) })?;
        Ok(size)
    }
}

pub(super) fn done(code: c_int) -> Done {
    match code {
        ffi::SQLITE_OK => Ok(()),
        code => Err(code),
    }
}

pub(super) fn code(done: Done) -> c_int {
    done.err().unwrap_or(ffi::SQLITE_OK)
}

/// Unwraps a method of version 1; SQLite's own file systems have all of them.
pub(super) fn method<T>(method: Option<T>) -> T {
    method.expect("a file of SQLite's own has this method")
}
