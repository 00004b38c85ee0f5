//! How the write-ahead log is written: what belongs together goes to the file
//! together.
//!
//! SQLite writes each page in two pieces, 24 bytes that describe it and the page,
//! and each piece is a call out of the component. Here they are gathered until
//! the transaction is complete, or something else is asked of the file: that is
//! a quarter of the time of updates that share a transaction. A commit is never
//! held back, so that what was answered outlives this process. Only what makes
//! the log longer is gathered: SQLite writes some things again in its midst, and
//! not always in two pieces.

use rusqlite::ffi::{self, sqlite3_file, sqlite3_io_methods, sqlite3_vfs};
use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::OnceLock;
use std::{mem, ptr, slice};

/// SQLite's file system without locks, and the same when it gathers.
const PLAIN: &CStr = c"unix-none";
const GATHERING: &CStr = c"wasi-sessions";

/// As much as is gathered. SQLite's file system writes less than 128 KiB at once.
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
    /// Where the log ends, as SQLite knows it.
    end: i64,
    /// From where on the file lacks what SQLite believes to have written, and
    /// why.
    lost: Option<(i64, c_int)>,
}

impl Log {
    /// Adds what is to be written at `place`, or else writes.
    ///
    /// # Safety
    ///
    /// `file` is the one with this log.
    unsafe fn write(&mut self, file: *mut sqlite3_file, bytes: &[u8], place: i64) -> c_int {
        if place == 0 {
            // The log starts anew.
            self.end = 0;
        }
        let follows = self.start + self.bytes.len() as i64 == place;
        let again = place < self.end;
        if again || !follows || self.bytes.len() + bytes.len() > MOST {
            // SAFETY: the same file.
            let done = unsafe { self.flush(file) };
            if done != ffi::SQLITE_OK {
                return done;
            }
        }
        match self.lost {
            Some((lost, why)) if place > lost => return why,
            // The transaction was undone, and others write there. Until then pages
            // before that may be written again.
            Some(_) if place == 0 || bytes.len() == FRAME_HEADER => self.lost = None,
            _ => {}
        }
        if self.bytes.is_empty() {
            self.start = place;
        }
        self.bytes.extend_from_slice(bytes);
        if again {
            // SAFETY: the same file.
            return unsafe { self.flush(file) };
        }
        self.end = place + bytes.len() as i64;
        if bytes.len() == FRAME_HEADER {
            self.commits = bytes[SIZE_AFTER_COMMIT] != [0; 4];
            return ffi::SQLITE_OK;
        }
        match mem::take(&mut self.commits) {
            // SAFETY: the same file.
            true => unsafe { self.flush(file) },
            false => ffi::SQLITE_OK,
        }
    }

    /// Writes what was gathered. When that fails, SQLite may believe that some of
    /// it is there: nothing behind it can be read or written until it is written
    /// again.
    ///
    /// # Safety
    ///
    /// `file` is the one with this log.
    unsafe fn flush(&mut self, file: *mut sqlite3_file) -> c_int {
        if self.bytes.is_empty() {
            return ffi::SQLITE_OK;
        }
        let bytes = self.bytes.as_ptr().cast();
        let length = self.bytes.len() as c_int;
        // SAFETY: the file's own method, and so many bytes.
        let done = unsafe { method(self.own.xWrite)(file, bytes, length, self.start) };
        if done != ffi::SQLITE_OK {
            self.lost = Some((self.start, done));
        }
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
                end: 0,
                lost: None,
            });
            (*file).pMethods = Box::into_raw(log).cast();
        }
        done
    }
}

/// What was gathered for this file.
///
/// # Safety
///
/// [`open_file`] opened it as a log, and nobody else has it now.
unsafe fn log<'a>(file: *mut sqlite3_file) -> &'a mut Log {
    // SAFETY: its methods are the first field of a `Log`, which lives until the
    // file is closed. SQLite calls one method at a time, and none from another.
    unsafe { &mut *(*file).pMethods.cast_mut().cast() }
}

/// Writes what was gathered, and then goes on with what is asked.
///
/// # Safety
///
/// As for [`log`].
unsafe fn after_flush(
    file: *mut sqlite3_file,
    then: impl FnOnce(&'static sqlite3_io_methods) -> c_int,
) -> c_int {
    // SAFETY: it is the file with that log.
    unsafe {
        let log = log(file);
        match log.flush(file) {
            ffi::SQLITE_OK => then(log.own),
            failed => failed,
        }
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
    // SAFETY: SQLite's arguments are passed on as they are.
    unsafe {
        let done = log(file).flush(file);
        if done != ffi::SQLITE_OK {
            return done;
        }
        let Log { own, lost, .. } = log(file);
        match *lost {
            Some((lost, why)) if place + i64::from(length) > lost => why,
            _ => method(own.xRead)(file, bytes, length, place),
        }
    }
}

unsafe extern "C" fn truncate(file: *mut sqlite3_file, size: i64) -> c_int {
    // SAFETY: SQLite's arguments are passed on as they are.
    unsafe { after_flush(file, |own| method(own.xTruncate)(file, size)) }
}

unsafe extern "C" fn sync(file: *mut sqlite3_file, flags: c_int) -> c_int {
    // SAFETY: SQLite's arguments are passed on as they are.
    unsafe { after_flush(file, |own| method(own.xSync)(file, flags)) }
}

unsafe extern "C" fn file_size(file: *mut sqlite3_file, size: *mut i64) -> c_int {
    // SAFETY: SQLite's arguments are passed on as they are.
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    thread_local! {
        static IS_FULL: Cell<bool> = const { Cell::new(false) };
        static WRITTEN: Cell<(i64, c_int)> = const { Cell::new((0, 0)) };
    }

    unsafe extern "C" fn write_or_fail(
        _: *mut sqlite3_file,
        _: *const c_void,
        length: c_int,
        place: i64,
    ) -> c_int {
        if IS_FULL.get() {
            return ffi::SQLITE_FULL;
        }
        WRITTEN.set((place, length));
        ffi::SQLITE_OK
    }

    unsafe extern "C" fn read_nothing(
        _: *mut sqlite3_file,
        _: *mut c_void,
        _: c_int,
        _: i64,
    ) -> c_int {
        ffi::SQLITE_OK
    }

    #[test]
    fn the_file_system_that_gathers_is_the_one_in_use() {
        assert_eq!(file_system(), GATHERING);
    }

    #[test]
    fn behind_what_could_not_be_written_nothing_is_written_or_read() {
        // SAFETY: none of its fields need to be anything but zero.
        let mut own: sqlite3_io_methods = unsafe { mem::zeroed() };
        own.xWrite = Some(write_or_fail);
        own.xRead = Some(read_nothing);
        let mut log = Log {
            methods: own,
            own: Box::leak(Box::new(own)),
            start: 0,
            bytes: vec![],
            commits: false,
            end: 0,
            lost: None,
        };
        let mut file = sqlite3_file {
            pMethods: (&raw mut log).cast(),
        };
        let file = &raw mut file;
        let (header, page) = ([0; FRAME_HEADER], [7; 4096]);
        let frame = |place: i64| unsafe {
            match write(file, header.as_ptr().cast(), 24, place) {
                ffi::SQLITE_OK => write(file, page.as_ptr().cast(), 4096, place + 24),
                failed => failed,
            }
        };
        let read = |place: i64| unsafe { read(file, ptr::null_mut(), 4096, place) };

        assert_eq!((frame(32), WRITTEN.get()), (ffi::SQLITE_OK, (0, 0)));
        assert_eq!((read(56), WRITTEN.get()), (ffi::SQLITE_OK, (32, 4120)));
        assert_eq!(frame(4152), ffi::SQLITE_OK);
        IS_FULL.set(true);
        assert_eq!(read(56), ffi::SQLITE_FULL);
        IS_FULL.set(false);
        assert_eq!(read(56), ffi::SQLITE_OK);
        assert_eq!(read(4176), ffi::SQLITE_FULL);
        assert_eq!(frame(8272), ffi::SQLITE_FULL);
        let again = unsafe { write(file, page.as_ptr().cast(), 4096, 56) };
        assert_eq!((again, WRITTEN.get()), (ffi::SQLITE_OK, (56, 4096)));
        assert_eq!(frame(8272), ffi::SQLITE_FULL);
        // Undone, and written again.
        assert_eq!(frame(4152), ffi::SQLITE_OK);
        assert_eq!(read(4176), ffi::SQLITE_OK);
    }
}
