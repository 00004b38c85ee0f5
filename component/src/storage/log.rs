//! How the write-ahead log is written: what belongs together goes to the file
//! together.
//!
//! SQLite writes each page in two pieces, 24 bytes that describe it and the page,
//! and each piece is a call out of the component. Here they are gathered until
//! the transaction is complete, or something else is asked of the file: that is
//! a quarter of the time of updates that share a transaction. A commit is never
//! held back, so that what was answered outlives this process.

use rusqlite::ffi::{self, sqlite3_file, sqlite3_io_methods, sqlite3_vfs};
use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::OnceLock;
use std::{mem, ptr, slice};

/// SQLite's file system without locks, and the same when it gathers.
const PLAIN: &CStr = c"unix-none";
const GATHERING: &CStr = c"wasi-sessions";

/// As much as SQLite's file system writes at once, at the most.
const MOST: usize = 64 << 10;

/// The length of what describes a page, and where in it the size of the database
/// stands: 0 unless the page completes a transaction. See "WAL File Format" in
/// SQLite's documentation.
const FRAME_HEADER: usize = 24;
const SIZE_AFTER_COMMIT: std::ops::Range<usize> = 4..8;

type Open = unsafe extern "C" fn(
    *mut sqlite3_vfs,
    *const c_char,
    *mut sqlite3_file,
    c_int,
    *mut c_int,
) -> c_int;

/// The name of the file system for a database with a log.
pub fn file_system() -> &'static CStr {
    static REGISTERED: OnceLock<bool> = OnceLock::new();
    match REGISTERED.get_or_init(|| register().is_some()) {
        true => GATHERING,
        false => PLAIN,
    }
}

fn register() -> Option<()> {
    // SAFETY: the name ends with a zero, and SQLite's own file systems are there
    // as long as the program.
    let plain = unsafe { ffi::sqlite3_vfs_find(PLAIN.as_ptr()).as_ref() }?;
    let open = plain.xOpen?;
    OPEN.get_or_init(|| open);
    let gathering = Box::leak(Box::new(sqlite3_vfs {
        zName: GATHERING.as_ptr(),
        xOpen: Some(open_file),
        pNext: ptr::null_mut(),
        ..*plain
    }));
    // SAFETY: it is never freed, and nobody else has it.
    let done = unsafe { ffi::sqlite3_vfs_register(gathering, 0) };
    (done == ffi::SQLITE_OK).then_some(())
}

/// How SQLite's own file system opens a file.
static OPEN: OnceLock<Open> = OnceLock::new();

/// The log's methods, and what has been written to it and not to the file.
#[repr(C)]
struct Log {
    /// The first field, so that a file leads from its methods to all of this.
    methods: sqlite3_io_methods,
    own: &'static sqlite3_io_methods,
    start: i64,
    bytes: Vec<u8>,
    /// Whether the page that follows completes a transaction.
    commits: bool,
}

impl Log {
    /// Adds what is to be written at `place`, or else writes.
    unsafe fn write(&mut self, file: *mut sqlite3_file, bytes: &[u8], place: i64) -> c_int {
        let follows = self.start + self.bytes.len() as i64 == place;
        if !follows || self.bytes.len() + bytes.len() > MOST {
            let done = unsafe { self.flush(file) };
            if done != ffi::SQLITE_OK {
                return done;
            }
        }
        if self.bytes.is_empty() {
            self.start = place;
        }
        self.bytes.extend_from_slice(bytes);
        if bytes.len() == FRAME_HEADER {
            self.commits = bytes[SIZE_AFTER_COMMIT] != [0; 4];
            return ffi::SQLITE_OK;
        }
        match mem::take(&mut self.commits) {
            true => unsafe { self.flush(file) },
            false => ffi::SQLITE_OK,
        }
    }

    /// Writes what was gathered. When that fails it is gone: the transaction is,
    /// too, since SQLite has not been told that any of it was kept.
    unsafe fn flush(&mut self, file: *mut sqlite3_file) -> c_int {
        if self.bytes.is_empty() {
            return ffi::SQLITE_OK;
        }
        let bytes = self.bytes.as_ptr().cast();
        let length = self.bytes.len() as c_int;
        let done = unsafe { method(self.own.xWrite)(file, bytes, length, self.start) };
        self.bytes.clear();
        done
    }
}

/// SQLite's own file systems have all methods of version 1.
fn method<T>(method: Option<T>) -> T {
    method.expect("a file of SQLite's own has this method")
}

unsafe extern "C" fn open_file(
    vfs: *mut sqlite3_vfs,
    name: *const c_char,
    file: *mut sqlite3_file,
    flags: c_int,
    flags_out: *mut c_int,
) -> c_int {
    // SAFETY: SQLite's arguments are passed on as they are. After success the
    // file has methods, which are there as long as the program.
    unsafe {
        let open = method(OPEN.get());
        let done = open(vfs, name, file, flags, flags_out);
        if done == ffi::SQLITE_OK && flags & ffi::SQLITE_OPEN_WAL != 0 {
            let own: &'static sqlite3_io_methods = &*(*file).pMethods;
            let log = Box::new(Log {
                methods: sqlite3_io_methods {
                    xClose: Some(close),
                    xRead: Some(read),
                    xWrite: Some(write),
                    xTruncate: Some(truncate),
                    xSync: Some(sync),
                    xFileSize: Some(file_size),
                    ..*own
                },
                own,
                start: 0,
                bytes: Vec::new(),
                commits: false,
            });
            (*file).pMethods = Box::into_raw(log).cast();
        }
        done
    }
}

/// What was gathered for this file, which [`open_file`] opened.
unsafe fn log<'a>(file: *mut sqlite3_file) -> &'a mut Log {
    // SAFETY: its methods are the first field of a `Log`, which lives until the
    // file is closed. SQLite calls one method at a time, and none from another.
    unsafe { &mut *(*file).pMethods.cast_mut().cast() }
}

/// Writes what was gathered, and then goes on with what is asked.
unsafe fn after_flush(
    file: *mut sqlite3_file,
    then: impl FnOnce(&'static sqlite3_io_methods) -> c_int,
) -> c_int {
    let log = unsafe { log(file) };
    match unsafe { log.flush(file) } {
        ffi::SQLITE_OK => then(log.own),
        failed => failed,
    }
}

unsafe extern "C" fn write(
    file: *mut sqlite3_file,
    bytes: *const c_void,
    length: c_int,
    place: i64,
) -> c_int {
    // SAFETY: SQLite hands over so many bytes.
    unsafe {
        let bytes = slice::from_raw_parts(bytes.cast(), length as usize);
        log(file).write(file, bytes, place)
    }
}

unsafe extern "C" fn read(
    file: *mut sqlite3_file,
    bytes: *mut c_void,
    length: c_int,
    place: i64,
) -> c_int {
    unsafe { after_flush(file, |own| method(own.xRead)(file, bytes, length, place)) }
}

unsafe extern "C" fn truncate(file: *mut sqlite3_file, size: i64) -> c_int {
    unsafe { after_flush(file, |own| method(own.xTruncate)(file, size)) }
}

unsafe extern "C" fn sync(file: *mut sqlite3_file, flags: c_int) -> c_int {
    unsafe { after_flush(file, |own| method(own.xSync)(file, flags)) }
}

unsafe extern "C" fn file_size(file: *mut sqlite3_file, size: *mut i64) -> c_int {
    unsafe { after_flush(file, |own| method(own.xFileSize)(file, size)) }
}

unsafe extern "C" fn close(file: *mut sqlite3_file) -> c_int {
    // SAFETY: the file had a `Log` of its own, and has no use for it now.
    unsafe {
        let mut log: Box<Log> = Box::from_raw((*file).pMethods.cast_mut().cast());
        let written = log.flush(file);
        (*file).pMethods = log.own;
        match method(log.own.xClose)(file) {
            ffi::SQLITE_OK => written,
            failed => failed,
        }
    }
}
