//! A layer over one of SQLite's own file systems (VFS) that passes the file operations
//! of a connection to [`Hooks`], which are safe code.
//!
//! Each connection registers its own layer, so its hooks see only that connection.

use super::file::{Done, File, code, done, method};
use super::hooks::{Hooks, Kind};
use super::system_calls;
use rusqlite::Connection;
use rusqlite::ffi::{self, sqlite3_file, sqlite3_io_methods, sqlite3_vfs};
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::{ptr, slice};

/// SQLite's file system without locks.
pub const PLAIN: &CStr = c"unix-none";

/// A registered layer; must outlive the connections that use it.
pub struct FileSystem(*mut Layer);

struct Layer {
    vfs: sqlite3_vfs,
    name: CString,
    below: *mut sqlite3_vfs,
    hooks: Arc<dyn Hooks>,
    /// The path of the connection's database, which SQLite opens first.
    database: OnceLock<Vec<u8>>,
}

// SAFETY: a layer is used by one connection, which is `Send`; its hooks are, too.
unsafe impl Send for FileSystem {}

impl FileSystem {
    /// Registers a layer over the file system `below`; `None` when there is no such
    /// file system or no memory.
    pub fn over(below: &CStr, hooks: Arc<dyn Hooks>) -> Option<FileSystem> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = CString::new(format!("wasi-sessions-{number}")).ok()?;
        // SAFETY: `below` is NUL-terminated. The layer, with its name, is freed
        // after it was unregistered.
        unsafe {
            let below = ffi::sqlite3_vfs_find(below.as_ptr());
            let plain = below.as_ref()?;
            system_calls::replace(below);
            let layer = Box::into_raw(Box::new(Layer {
                vfs: sqlite3_vfs {
                    szOsFile: size_of::<Opened>() as c_int + plain.szOsFile,
                    zName: name.as_ptr(),
                    xOpen: Some(open),
                    xDelete: Some(delete),
                    pNext: ptr::null_mut(),
                    ..*plain
                },
                name,
                below,
                hooks,
                database: OnceLock::new(),
            }));
            (*layer).vfs.pAppData = layer.cast();
            let file_system = FileSystem(layer);
            done(ffi::sqlite3_vfs_register(&raw mut (*layer).vfs, 0)).ok()?;
            Some(file_system)
        }
    }

    /// The name under which the layer is registered.
    pub fn name(&self) -> &CStr {
        // SAFETY: the layer lives as long as `self`.
        unsafe { &(*self.0).name }
    }
}

impl Drop for FileSystem {
    fn drop(&mut self) {
        // SAFETY: the layer was made by `over`, and no connection uses it now.
        unsafe {
            ffi::sqlite3_vfs_unregister(&raw mut (*self.0).vfs);
            drop(Box::from_raw(self.0));
        }
    }
}

impl Layer {
    fn kind(&self, path: &[u8], flags: c_int) -> Kind {
        if flags & ffi::SQLITE_OPEN_MAIN_DB != 0 && !path.is_empty() {
            let database = self.database.get_or_init(|| path.into());
            return match database == path {
                true => Kind::Database,
                false => Kind::Other,
            };
        }
        let database = self.database.get();
        match database.and_then(|database| path.strip_prefix(database.as_slice())) {
            Some(b"-wal") => Kind::Wal,
            Some(b"-journal") => Kind::Journal,
            _ => Kind::Other,
        }
    }
}

/// The file as SQLite sees it; the file of the layer below follows it in memory.
#[repr(C, align(8))]
struct Opened {
    base: sqlite3_file,
    layer: *const Layer,
    kind: Kind,
    is_discarded: bool,
}

static METHODS: sqlite3_io_methods = sqlite3_io_methods {
    iVersion: 1,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(characteristics),
    xShmMap: None,
    xShmLock: None,
    xShmBarrier: None,
    xShmUnmap: None,
    xFetch: None,
    xUnfetch: None,
};

/// Has the hooks flush their buffer of the connection's write-ahead log (WAL).
pub fn flush(connection: &Connection) -> Done {
    let mut wal: *mut sqlite3_file = ptr::null_mut();
    // SAFETY: the connection is open, and a null name means the main database.
    // SQLite returns a file that `open` opened, or one that is not open and has no
    // methods.
    unsafe {
        done(ffi::sqlite3_file_control(
            connection.handle(),
            ptr::null(),
            ffi::SQLITE_FCNTL_JOURNAL_POINTER,
            (&raw mut wal).cast(),
        ))?;
        match wal.as_ref() {
            Some(file) if ptr::eq(file.pMethods, &METHODS) => match hooks(wal) {
                (hooks, Kind::Wal, file) => hooks.flush(&file),
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }
}

/// # Safety
///
/// `vfs` is one of a [`Layer`]'s.
unsafe fn layer<'a>(vfs: *mut sqlite3_vfs) -> &'a Layer {
    // SAFETY: its data is the layer itself.
    unsafe { &*(*vfs).pAppData.cast() }
}

/// The hooks for a file, its kind, and the file of the layer below.
///
/// # Safety
///
/// [`open`] opened the file, and it was not closed.
unsafe fn hooks<'a>(file: *mut sqlite3_file) -> (&'a dyn Hooks, Kind, File) {
    // SAFETY: the file is an `Opened`, whose layer outlives it.
    unsafe {
        let opened = file.cast::<Opened>();
        let below = match (*opened).is_discarded {
            true => ptr::null_mut(),
            false => opened.add(1).cast(),
        };
        (&*(*(*opened).layer).hooks, (*opened).kind, File(below))
    }
}

unsafe extern "C" fn open(
    vfs: *mut sqlite3_vfs,
    name: *const c_char,
    file: *mut sqlite3_file,
    flags: c_int,
    flags_out: *mut c_int,
) -> c_int {
    // SAFETY: SQLite's arguments are passed on unchanged, and `file` has `szOsFile`
    // bytes.
    unsafe {
        let layer = layer(vfs);
        let path: &[u8] = match name.is_null() {
            true => b"",
            false => CStr::from_ptr(name).to_bytes(),
        };
        let kind = layer.kind(path, flags);
        let is_discarded = flags & ffi::SQLITE_OPEN_MAIN_JOURNAL != 0 && kind == Kind::Other;
        let opened = file.cast::<Opened>();
        opened.write(Opened {
            base: sqlite3_file {
                pMethods: ptr::null(),
            },
            layer,
            kind,
            is_discarded,
        });
        if is_discarded {
            if let Some(out) = flags_out.as_mut() {
                *out = flags;
            }
        } else {
            let below = opened.add(1).cast();
            let open = method((*layer.below).xOpen);
            let code = open(layer.below, name, below, flags, flags_out);
            if code != ffi::SQLITE_OK {
                return code;
            }
        }
        (*file).pMethods = &raw const METHODS;
        ffi::SQLITE_OK
    }
}

unsafe extern "C" fn delete(vfs: *mut sqlite3_vfs, name: *const c_char, sync: c_int) -> c_int {
    // SAFETY: `vfs` is a layer's and `name` NUL-terminated; SQLite's arguments are
    // passed on unchanged.
    unsafe {
        let layer = layer(vfs);
        let path = CStr::from_ptr(name).to_bytes();
        match layer.kind(path, 0) {
            Kind::Journal | Kind::Wal => {
                if let Err(code) = layer.hooks.delete() {
                    return code;
                }
            }
            // The journal of a copy, which is never written.
            _ if path.ends_with(b"-journal") => return ffi::SQLITE_OK,
            _ => {}
        }
        let delete = method((*layer.below).xDelete);
        code(system_calls::with_directory(|| {
            done(delete(layer.below, name, sync))
        }))
    }
}

unsafe extern "C" fn close(file: *mut sqlite3_file) -> c_int {
    // SAFETY: the file is open; SQLite does not use it afterwards.
    unsafe {
        let (hooks, kind, below) = hooks(file);
        hooks.close(kind, &below);
        (*file).pMethods = ptr::null();
        code(below.call(|file, of| method(of.xClose)(file)))
    }
}

unsafe extern "C" fn read(
    file: *mut sqlite3_file,
    to: *mut c_void,
    length: c_int,
    offset: i64,
) -> c_int {
    // SAFETY: the file is open, and `to` has that many bytes, which are not read
    // before they are written.
    unsafe {
        let (hooks, kind, below) = hooks(file);
        let to = slice::from_raw_parts_mut(to.cast(), length as usize);
        code(hooks.read(kind, &below, to, offset))
    }
}

unsafe extern "C" fn write(
    file: *mut sqlite3_file,
    bytes: *const c_void,
    length: c_int,
    offset: i64,
) -> c_int {
    // SAFETY: the file is open, and `bytes` has that many bytes.
    unsafe {
        let (hooks, kind, below) = hooks(file);
        let bytes = slice::from_raw_parts(bytes.cast(), length as usize);
        code(hooks.write(kind, &below, bytes, offset))
    }
}

unsafe extern "C" fn truncate(file: *mut sqlite3_file, size: i64) -> c_int {
    // SAFETY: the file is open.
    let (hooks, kind, below) = unsafe { hooks(file) };
    code(hooks.truncate(kind, &below, size))
}

unsafe extern "C" fn sync(file: *mut sqlite3_file, flags: c_int) -> c_int {
    // SAFETY: the file is open.
    let (hooks, kind, below) = unsafe { hooks(file) };
    code(hooks.sync(kind, &below, flags))
}

unsafe extern "C" fn size(file: *mut sqlite3_file, size: *mut i64) -> c_int {
    // SAFETY: the file is open, and `size` is a valid pointer.
    unsafe {
        let (hooks, kind, below) = hooks(file);
        code(hooks.size(kind, &below).map(|bytes| *size = bytes))
    }
}

unsafe extern "C" fn lock(file: *mut sqlite3_file, level: c_int) -> c_int {
    // SAFETY: the file is open.
    match unsafe { hooks(file) } {
        (hooks, Kind::Database, _) => code(hooks.lock(level)),
        _ => ffi::SQLITE_OK,
    }
}

unsafe extern "C" fn unlock(file: *mut sqlite3_file, level: c_int) -> c_int {
    // SAFETY: the file is open.
    if let (hooks, Kind::Database, _) = unsafe { hooks(file) } {
        hooks.unlock(level);
    }
    ffi::SQLITE_OK
}

/// Whether another connection has reserved the lock: never, since SQLite asks only while
/// this connection holds the lock, and there is only one lock.
unsafe extern "C" fn check_reserved_lock(_: *mut sqlite3_file, is_held: *mut c_int) -> c_int {
    // SAFETY: `is_held` is a valid pointer.
    unsafe { *is_held = 0 };
    ffi::SQLITE_OK
}

unsafe extern "C" fn control(file: *mut sqlite3_file, what: c_int, with: *mut c_void) -> c_int {
    // SAFETY: the file is open; SQLite's arguments are passed on unchanged.
    unsafe {
        let (_, _, below) = hooks(file);
        match below.0.is_null() {
            true => ffi::SQLITE_NOTFOUND,
            false => code(below.call(|file, of| method(of.xFileControl)(file, what, with))),
        }
    }
}

unsafe extern "C" fn sector_size(file: *mut sqlite3_file) -> c_int {
    // SAFETY: the file is open.
    unsafe {
        let below = hooks(file).2.0;
        match below.is_null() {
            true => 4096,
            false => method((*(*below).pMethods).xSectorSize)(below),
        }
    }
}

unsafe extern "C" fn characteristics(file: *mut sqlite3_file) -> c_int {
    // SAFETY: the file is open.
    unsafe {
        let below = hooks(file).2.0;
        match below.is_null() {
            true => 0,
            false => method((*(*below).pMethods).xDeviceCharacteristics)(below),
        }
    }
}
