//! Fault injection, for tests: a file system below the storage's own layer in which
//! chosen operations fail. Each thread has its own faults.

use super::vfs::{Done, File, FileSystem, Hooks, Kind};
use rusqlite::ffi;
use std::cell::{Cell, RefCell};
use std::ffi::{CStr, c_int};
use std::io;
use std::sync::Arc;

mod tests;

/// The kind of operation that fails, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A write for which the disk is full; some of its bytes are written.
    Full,
    /// A write that fails; some of its bytes are written.
    Write,
    Read,
    Sync,
}

/// The faults injected in a thread.
#[derive(Clone, Copy, Default)]
pub struct Faults {
    pub what: Option<Fault>,
    /// The number of operations of that kind that succeed first.
    pub after: u64,
    /// The number of operations that fail after these.
    pub times: u64,
    was_hit: bool,
}

/// The number of operations to wait for, and the function to call then.
type Call = (u64, Box<dyn FnOnce()>);

thread_local! {
    static FAULTS: Cell<Faults> = const { Cell::new(Faults { what: None, after: 0, times: 0, was_hit: false }) };
    static CALL: RefCell<Option<Call>> = const { RefCell::new(None) };
}

/// Injects faults into the file operations of this thread from now on.
pub fn set(what: Fault, after: u64, times: u64) {
    let what = Some(what);
    let was_hit = false;
    FAULTS.set(Faults {
        what,
        after,
        times,
        was_hit,
    });
}

/// Ends the faults; returns whether any operation has failed.
pub fn end() -> bool {
    FAULTS.take().was_hit
}

/// Calls `work` once, after `operations` + 1 further operations.
pub fn call_after(operations: u64, work: impl FnOnce() + 'static) {
    CALL.set(Some((operations, Box::new(work))));
}

/// Cancels `call_after`; returns whether `work` was called.
pub fn end_call() -> bool {
    CALL.take().is_none()
}

fn count_down() {
    let due = CALL.with_borrow_mut(|call| match call {
        Some((0, _)) => call.take(),
        Some((operations, _)) => {
            *operations -= 1;
            None
        }
        None => None,
    });
    if let Some((_, work)) = due {
        work();
    }
}

/// Registers a faulty file system for one connection; returns its name.
pub fn file_system() -> &'static CStr {
    let faulty = FileSystem::over(super::vfs::PLAIN, Arc::new(Faulty));
    super::gather_writes(std::env::var_os("GATHER_WRITES").is_none_or(|on| on != "0"));
    // Leaked, because it must outlive the layer above it.
    Box::leak(Box::new(faulty.unwrap())).name()
}

/// Fails while syncs or writes fail permanently, when the write-ahead log cannot be
/// repaired.
pub fn check_repair() -> io::Result<()> {
    let faults = FAULTS.get();
    let stays = faults.after == 0 && faults.times > 1;
    match matches!(faults.what, Some(Fault::Sync | Fault::Write)) && stays {
        true => Err(io::Error::other("a fault")),
        false => Ok(()),
    }
}

fn fails(fault: Fault) -> bool {
    let mut faults = FAULTS.get();
    if faults.what != Some(fault) {
        return false;
    }
    let fails = faults.after == 0 && faults.times > 0;
    match faults.after {
        0 => faults.times = faults.times.saturating_sub(1),
        _ => faults.after -= 1,
    }
    faults.was_hit |= fails;
    FAULTS.set(faults);
    fails
}

struct Faulty;

impl Hooks for Faulty {
    fn read(&self, _: Kind, file: &File, to: &mut [u8], offset: i64) -> Done {
        if fails(Fault::Read) {
            return Err(ffi::SQLITE_IOERR_READ);
        }
        let done = file.read(to, offset);
        count_down();
        done
    }

    fn write(&self, _: Kind, file: &File, bytes: &[u8], offset: i64) -> Done {
        let code = match (fails(Fault::Full), fails(Fault::Write)) {
            (true, _) => ffi::SQLITE_FULL,
            (_, true) => ffi::SQLITE_IOERR_WRITE,
            _ => {
                file.write(bytes, offset)?;
                count_down();
                return Ok(());
            }
        };
        file.write(&bytes[..bytes.len() / 2], offset)?;
        Err(code)
    }

    fn sync(&self, _: Kind, file: &File, flags: c_int) -> Done {
        if fails(Fault::Sync) {
            return Err(ffi::SQLITE_IOERR_FSYNC);
        }
        file.sync(flags)?;
        count_down();
        Ok(())
    }

    fn truncate(&self, _: Kind, file: &File, size: i64) -> Done {
        file.truncate(size)?;
        count_down();
        Ok(())
    }
}
