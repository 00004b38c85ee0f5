//! The database's file while a store has it open: its lock, its permissions, and checks
//! that it is a regular file and that its name still refers to it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::Path;

use crate::sandbox::file_lock::{self, Kind};
#[cfg(unix)]
use crate::sandbox::mark;

/// The suffixes of the files that SQLite and the component keep for a database.
const SUFFIXES: [&str; 5] = ["", "-wal", "-journal", "-shm", "-reserve"];

/// The names of a database's files, the database itself first.
pub(crate) fn names(file_name: &str) -> impl Iterator<Item = String> {
    SUFFIXES
        .iter()
        .map(move |suffix| format!("{file_name}{suffix}"))
}

/// A database's file, locked against other programs that use SQLite until dropped.
///
/// The component cannot lock files, so the host does. It locks the bytes that SQLite
/// locks, so that another program gets "database is locked".
pub(crate) struct DatabaseFile {
    file: File,
    /// Whether the file still had the mark of a backup after the component opened
    /// it.
    #[cfg_attr(not(unix), expect(dead_code))]
    was_marked: bool,
}

impl DatabaseFile {
    /// Opens and locks the file; `None` if it does not exist.
    pub(crate) fn lock(path: &Path) -> Result<Option<Self>, TryLockError> {
        match open_plain(File::options().read(true).write(true), path) {
            Ok(file) => {
                file_lock::try_lock(&file, Kind::Exclusive)?;
                Ok(Some(Self {
                    file,
                    was_marked: false,
                }))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(TryLockError::Error(error)),
        }
    }

    /// Records whether the file is still marked as a backup after the component opened it.
    /// A component that knows the mark has removed it by then.
    #[cfg(unix)]
    pub(crate) fn note_mark(&mut self) {
        self.was_marked = mark::is_on(&self.file);
    }

    /// Does nothing: on other systems the mark is not checked.
    #[cfg(not(unix))]
    pub(crate) fn note_mark(&mut self) {}

    /// Whether `other` is the same file.
    pub(crate) fn is(&self, other: &File) -> io::Result<bool> {
        same(&self.file, other)
    }

    /// Fails with a reason if the path no longer refers to this file.
    #[cfg(unix)]
    pub(crate) fn look(&self, path: &Path) -> Result<(), &'static str> {
        if !is_at(&self.file, path) {
            Err("its file was moved, removed or replaced")
        } else if !self.was_marked && mark::is_on(&self.file) {
            Err("a backup was copied over it")
        } else {
            Ok(())
        }
    }

    /// Always succeeds: on other systems an open file keeps its name.
    #[cfg(not(unix))]
    pub(crate) fn look(&self, _path: &Path) -> Result<(), &'static str> {
        Ok(())
    }

    pub(crate) fn is_unlinked(&self) -> bool {
        is_unlinked(&self.file)
    }

    /// The permissions of the database.
    #[cfg(unix)]
    pub(crate) fn mode(&self) -> u32 {
        use std::os::unix::fs::MetadataExt;
        self.file
            .metadata()
            .map_or(0o600, |file| file.mode() & 0o666)
    }

    /// On other systems a file has the permissions of its directory.
    #[cfg(not(unix))]
    pub(crate) fn mode(&self) -> u32 {
        0o600
    }

    /// Restricts the permissions of a log that an earlier owner left to those of the
    /// database, so that only users who can read the database can read the log.
    #[cfg(unix)]
    pub(crate) fn restrict(&self, log: &Path) -> io::Result<()> {
        use std::os::unix::fs::{MetadataExt, PermissionsExt};
        let Ok(there) = fs::symlink_metadata(log) else {
            return Ok(());
        };
        let mode = there.mode() & self.mode();
        if there.mode() & 0o777 == mode {
            return Ok(());
        }
        let log = open_plain(File::options().read(true), log)?;
        log.set_permissions(fs::Permissions::from_mode(mode))
    }

    /// On other systems a file has the permissions of its directory.
    #[cfg(not(unix))]
    pub(crate) fn restrict(&self, _log: &Path) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for DatabaseFile {
    fn drop(&mut self) {
        // Closing is not enough: a process that another thread is just starting may hold
        // a copy of the descriptor.
        file_lock::unlock(&self.file);
    }
}

/// Fails with a reason if the WAL's path no longer refers to the open WAL.
pub(crate) fn look_at_log(log: &File, path: &Path) -> Result<(), &'static str> {
    match is_at(log, path) {
        true => Ok(()),
        false => Err("its write-ahead log was moved, removed or replaced"),
    }
}

/// Opens a file without following a link, which the component could have created, and
/// without blocking on a pipe.
pub(crate) fn open_plain(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    #[cfg(unix)]
    {
        use rustix::fs::OFlags;
        let plain = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32;
        std::os::unix::fs::OpenOptionsExt::custom_flags(options, plain);
    }
    options.open(path)
}

/// Refuses anything that is not a regular file. A missing file is accepted.
pub(crate) fn refuse_odd(path: &Path) -> io::Result<()> {
    let kind = match fs::symlink_metadata(path) {
        Ok(there) => there.file_type(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if kind.is_file() {
        return Ok(());
    }
    let kind = if kind.is_symlink() {
        "a link"
    } else if kind.is_dir() {
        "a directory"
    } else {
        "a pipe, a socket or a device"
    };
    Err(io::Error::other(format!("this is {kind}, not a file")))
}

#[cfg(unix)]
fn same(one: &File, other: &File) -> io::Result<bool> {
    Ok(identity(&one.metadata()?) == identity(&other.metadata()?))
}

#[cfg(unix)]
fn identity(metadata: &fs::Metadata) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt;
    (metadata.dev(), metadata.ino())
}

/// Whether the path refers to the open file; true when that cannot be determined.
#[cfg(unix)]
pub(crate) fn is_at(file: &File, path: &Path) -> bool {
    match (fs::symlink_metadata(path), file.metadata()) {
        (Ok(there), Ok(open)) => identity(&there) == identity(&open),
        (Err(error), _) => {
            let gone = [io::ErrorKind::NotFound, io::ErrorKind::NotADirectory];
            !gone.contains(&error.kind())
        }
        (_, Err(_)) => true,
    }
}

/// Whether the open file has no name any more.
#[cfg(unix)]
pub(crate) fn is_unlinked(file: &File) -> bool {
    rustix::fs::fstat(file).is_ok_and(|file| file.st_nlink == 0)
}

/// Always true: on other systems an open file keeps its name.
#[cfg(not(unix))]
fn same(_: &File, _: &File) -> io::Result<bool> {
    Ok(true)
}

#[cfg(not(unix))]
pub(crate) fn is_at(_: &File, _: &Path) -> bool {
    true
}

#[cfg(not(unix))]
pub(crate) fn is_unlinked(_: &File) -> bool {
    false
}
