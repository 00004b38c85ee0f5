//! Replacements for system calls of SQLite's own file systems, for all connections of
//! the process.

use rusqlite::ffi::{self, sqlite3_vfs};
use std::cell::Cell;
use std::ffi::{CStr, c_char, c_int};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::mem::transmute;
use std::path::Path;

type OpenDirectory = unsafe extern "C" fn(*const c_char, *mut c_int) -> c_int;

/// Replaces the calls.
///
/// # Safety
///
/// `vfs` is one of SQLite's own.
pub unsafe fn replace(vfs: *mut sqlite3_vfs) {
    // SAFETY: SQLite calls each function with the signature that it is transmuted from.
    unsafe {
        let Some(set) = (*vfs).xSetSystemCall else {
            return;
        };
        let function = transmute::<OpenDirectory, unsafe extern "C" fn()>(open_directory);
        set(vfs, c"openDirectory".as_ptr(), Some(function));
        #[cfg(target_arch = "wasm32")]
        {
            type Pread = unsafe extern "C" fn(c_int, *mut std::ffi::c_void, usize, i64) -> isize;
            let function =
                transmute::<Pread, unsafe extern "C" fn()>(reading::pread_on_clean_stack);
            set(vfs, c"pread".as_ptr(), Some(function));
        }
    }
}

thread_local! {
    /// Whether syncing a directory failed during the present operation of this thread.
    static FAILED: Cell<bool> = const { Cell::new(false) };
}

/// Runs an operation of SQLite's own file system. Fails if the operation could not sync
/// a directory, which SQLite ignores. Errors are SQLite's codes.
pub fn with_directory(operation: impl FnOnce() -> Result<(), c_int>) -> Result<(), c_int> {
    FAILED.set(false);
    operation()?;
    match FAILED.take() {
        true => Err(ffi::SQLITE_IOERR_DIR_FSYNC),
        false => Ok(()),
    }
}

/// Replaces SQLite's `openDirectory`: syncs the directory itself and records a failure,
/// which SQLite would ignore.
///
/// # Safety
///
/// `path` is NUL-terminated.
unsafe extern "C" fn open_directory(path: *const c_char, _: *mut c_int) -> c_int {
    // SAFETY: the path is NUL-terminated.
    let path = unsafe { CStr::from_ptr(path) };
    let synced = path.to_str().map(sync_directory);
    FAILED.set(!matches!(synced, Ok(Ok(()))));
    // SQLite then has no directory to sync.
    ffi::SQLITE_CANTOPEN
}

/// Syncs the directory of a file, so that the names in it are durable. Succeeds without
/// effect where the system cannot sync directories.
pub fn sync_directory(path: &str) -> io::Result<()> {
    let parent = Path::new(path).parent();
    let parent = parent.filter(|parent| !parent.as_os_str().is_empty());
    let directory = parent.unwrap_or(".".as_ref());
    let synced = File::open(directory).and_then(|directory| directory.sync_all());
    synced.or_else(|error| match error.kind() {
        ErrorKind::Unsupported
        | ErrorKind::InvalidInput
        | ErrorKind::IsADirectory
        | ErrorKind::PermissionDenied => Ok(()),
        _ => Err(error),
    })
}

/// A workaround for wasi-libc's `pread` under WASI 0.2: when a read fails, it frees a
/// list that was never initialised, with whatever pointer the stack holds there. The
/// component then crashes, or its memory is corrupted.
#[cfg(target_arch = "wasm32")]
mod reading {
    use std::ffi::{c_int, c_void};
    use std::hint::black_box;

    /// The bytes of stack to clear, more than one call of `pread` uses.
    const STACK: usize = 1024;

    unsafe extern "C" {
        fn pread(file: c_int, to: *mut c_void, length: usize, offset: i64) -> isize;
    }

    /// Like `pread`, after clearing the stack that it will use: an empty list is not
    /// freed.
    ///
    /// # Safety
    ///
    /// That of `pread`: `to` has `length` bytes.
    pub unsafe extern "C" fn pread_on_clean_stack(
        file: c_int,
        to: *mut c_void,
        length: usize,
        offset: i64,
    ) -> isize {
        clean_stack();
        // SAFETY: the caller's arguments are passed on unchanged.
        unsafe { pread(file, to, length, offset) }
    }

    #[inline(never)]
    fn clean_stack() {
        black_box(&mut [0_u8; STACK]);
    }
}
