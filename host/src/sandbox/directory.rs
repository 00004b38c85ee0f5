//! The store's directory: created if missing, locked for one owner at a time, and checked
//! again while that owner uses it.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::Error;
use crate::cause::Cause;
use crate::sandbox::database_file::{self, DatabaseFile};
use crate::sandbox::directories::{
    create_private, open_directory, parent, sync_directory, with_suffix,
};
use crate::sandbox::lease::Lease;

/// The prefix of this crate's own files in the store's directory.
pub(crate) const RESERVED: &str = ".wasi-sessions";

/// The store's directory while this owner holds it.
///
/// The operating system's lock is on the directory itself, so that there is no lock
/// file to remove, and on the database's file. Both are released on drop, and by
/// the kernel when the process dies. Instances with `shared` access see only the lease,
/// which is released on drop, too.
pub(crate) struct Directory {
    /// The path that the builder was given, for errors.
    given: PathBuf,
    /// The absolute path without links, because the component may be restarted after the
    /// process has changed its working directory.
    path: PathBuf,
    file_name: String,
    /// `None` until the database exists.
    database: Option<DatabaseFile>,
    lease: Lease,
    /// Dropped last.
    lock: Lock,
}

impl Directory {
    /// Creates the directory for this user alone if it is missing. Locks it, and the
    /// database's file if that exists. Fails without waiting if another owner holds either
    /// lock, and after `patience` if an instance with `shared` access holds the lease.
    pub(crate) fn lock(path: &Path, file_name: &str, patience: Duration) -> Result<Self, Error> {
        let given = path.to_owned();
        let failed = |error: io::Error| directory_error(path, path, error);
        create_private(path).map_err(failed)?;
        let lock = Lock::take(path)?;
        let absolute = fs::canonicalize(path).map_err(failed)?;
        let mut directory = Self {
            lease: take_lease(path, &absolute.join(file_name), patience)?,
            lock,
            path: absolute,
            file_name: file_name.to_owned(),
            database: None,
            given,
        };
        directory.prepare()?;
        directory.remove_stage()?;
        Ok(directory)
    }

    /// Fails if a name of the database's files refers to anything but a regular file; a
    /// missing one is accepted. Locks the database if it exists, and takes from the other
    /// files the permissions that the database does not have. Must be called before each
    /// start of the component.
    pub(crate) fn prepare(&mut self) -> Result<(), Error> {
        for name in database_file::names(&self.file_name) {
            let path = self.path.join(name);
            database_file::refuse_odd(&path).map_err(|error| self.failed(&path, error))?;
        }
        if self.database.is_none() {
            self.database = self.claim()?;
        }
        if let Some(database) = &self.database {
            for name in database_file::names(&self.file_name).skip(1) {
                let path = self.path.join(name);
                let restricted = database.restrict(&path);
                restricted.map_err(|error| self.failed(&path, error))?;
            }
        }
        Ok(())
    }

    /// Checks that the component opened the locked database. If the component has just
    /// created it, locks it now and syncs the directory, so that the database's name is
    /// durable; the component does so itself for its WAL.
    pub(crate) fn opened(&mut self, database: Option<&File>) -> Result<(), Error> {
        if self.database.is_none() {
            self.database = self.claim()?;
            sync_directory(&self.path).map_err(|error| self.failed(&self.path, error))?;
        }
        if let Some(held) = &mut self.database {
            held.note_mark();
        }
        if let (Some(held), Some(opened)) = (&self.database, database) {
            match held.is(opened) {
                Ok(true) => {}
                Ok(false) => return Err(self.replaced("another file came in its place")),
                Err(error) => return Err(self.failed(&self.database_path(), error)),
            }
        }
        Ok(())
    }

    /// Opens and locks the database's file; `None` when it does not exist.
    fn claim(&self) -> Result<Option<DatabaseFile>, Error> {
        let path = self.database_path();
        DatabaseFile::lock(&path).map_err(|error| match error {
            TryLockError::WouldBlock => Error::InUse {
                directory: self.given.clone(),
            },
            TryLockError::Error(error) => self.failed(&path, error),
        })
    }

    /// Whether the open file is the database.
    pub(crate) fn is_database(&self, file: &File) -> bool {
        let database = self.database.as_ref();
        database.is_some_and(|database| database.is(file).unwrap_or(false))
    }

    /// Whether the path is the name of a file of the store or of SQLite in this directory.
    /// Case is ignored, as some file systems do.
    pub(crate) fn owns(&self, path: &Path) -> bool {
        let Ok(folder) = fs::canonicalize(parent(path)) else {
            return false;
        };
        let Some(name) = path.file_name() else {
            return false;
        };
        let name = name.to_string_lossy().to_lowercase();
        let lease = format!("{}.lock", self.file_name.to_lowercase());
        let is_own = name.starts_with(RESERVED)
            || name == lease
            || name.starts_with(&format!("{lease}-"))
            || database_file::names(&self.file_name).any(|own| own.to_lowercase() == name);
        folder == self.path && is_own || folder == Lease::path(&self.database_path())
    }

    /// The path of the folder that a restore prepares its files in. It has a fixed name,
    /// because only the owner of the directory creates it.
    pub(crate) fn stage(&self) -> PathBuf {
        self.path.join(format!("{RESERVED}.restore"))
    }

    /// Removes the folder that is left behind if a process is killed during a restore.
    fn remove_stage(&self) -> Result<(), Error> {
        match fs::remove_dir_all(self.stage()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(self.failed(&self.stage(), error))
            }
            _ => Ok(()),
        }
    }

    /// Removes the logs and the reserve of a database that was replaced.
    pub(crate) fn remove_logs(&self) -> io::Result<()> {
        for name in database_file::names(&self.file_name).skip(1) {
            match fs::remove_file(self.path.join(name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// The permissions of files that the component creates: those of the database,
    /// or read and write for this user alone.
    pub(crate) fn new_file_mode(&self) -> u32 {
        self.database.as_ref().map_or(0o600, DatabaseFile::mode)
    }

    /// Fails if the name of the directory, of the database or of its WAL no longer refers
    /// to the open one, or if the lease was lost.
    pub(crate) fn look(&self, log: Option<&File>) -> Result<(), Error> {
        if !self.lock.is_at(&self.path) {
            return Err(self.replaced("its directory was moved, removed or replaced"));
        }
        if self.lease.is_lost() {
            return Err(Error::LockLost {
                database: self.given.join(&self.file_name),
            });
        }
        let Some(database) = &self.database else {
            return Ok(());
        };
        database
            .look(&self.database_path())
            .and_then(|()| match log {
                Some(log) => database_file::look_at_log(log, &self.log_path()),
                None => Ok(()),
            })
            .map_err(|reason| self.replaced(reason))
    }

    /// Fails if the database or its open WAL was unlinked, or if the lease was not renewed for
    /// long and is lost. Faster than [`Directory::look`], but does not notice a file that was
    /// moved.
    pub(crate) fn refuse_unlinked(&self, log: Option<&File>) -> Result<(), Error> {
        let database = self.database.as_ref();
        if self.lease.is_doubtful() {
            self.look(log)
        } else if database.is_some_and(DatabaseFile::is_unlinked) {
            Err(self.replaced("its file was removed or replaced"))
        } else if log.is_some_and(database_file::is_unlinked) {
            Err(self.replaced("its write-ahead log was removed or replaced"))
        } else {
            Ok(())
        }
    }

    /// Whether the lease may have been lost, because it was not renewed for long; if so,
    /// [`Directory::look`] finds out.
    pub(crate) fn is_doubtful(&self) -> bool {
        self.lease.is_doubtful()
    }

    /// The directory's absolute path, without links.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn database_path(&self) -> PathBuf {
        self.path.join(&self.file_name)
    }

    fn log_path(&self) -> PathBuf {
        self.path.join(format!("{}-wal", self.file_name))
    }

    fn failed(&self, path: &Path, error: io::Error) -> Error {
        directory_error(&self.given, path, error)
    }

    fn replaced(&self, reason: &str) -> Error {
        Error::Replaced {
            database: self.given.join(&self.file_name),
            reason: reason.to_owned(),
        }
    }
}

/// An error about the directory `given`. Also names `path`, where the error happened, if it
/// is a different path.
fn directory_error(given: &Path, path: &Path, error: io::Error) -> Error {
    Error::Directory {
        path: given.to_owned(),
        file: (path != given).then(|| path.to_owned()),
        reason: Cause::new(error),
    }
}

/// The lock on an open directory: on the directory itself or, if the file system
/// cannot do that, on a file in it that is never removed.
struct Lock {
    #[cfg(unix)]
    directory: File,
    file: Option<File>,
}

impl Lock {
    #[cfg(unix)]
    fn take(path: &Path) -> Result<Self, Error> {
        let failed = |error: io::Error| directory_error(path, path, error);
        let directory = open_directory(path).map_err(failed)?;
        let file = match directory.try_lock() {
            Ok(()) => None,
            Err(TryLockError::WouldBlock) => return Err(in_use(path)),
            Err(TryLockError::Error(_)) => Some(lock_file(path)?),
        };
        Ok(Self { directory, file })
    }

    #[cfg(not(unix))]
    fn take(path: &Path) -> Result<Self, Error> {
        let file = Some(lock_file(path)?);
        Ok(Self { file })
    }

    /// Whether the path still refers to the directory.
    #[cfg(unix)]
    fn is_at(&self, path: &Path) -> bool {
        database_file::is_at(&self.directory, path)
    }

    /// Always true: a directory with an open file in it cannot be moved.
    #[cfg(not(unix))]
    fn is_at(&self, _path: &Path) -> bool {
        true
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing is not enough: a process that another thread is just starting may hold
        // a copy of the descriptor. If unlocking fails, closing must suffice.
        #[cfg(unix)]
        let _ = self.directory.unlock();
        if let Some(file) = &self.file {
            let _ = file.unlock();
        }
    }
}

/// Takes the lease of a database in the directory `given`. On a full disk, takes the space
/// that it needs from the reserve, which the component makes again.
fn take_lease(given: &Path, database: &Path, patience: Duration) -> Result<Lease, Error> {
    let lease = Lease::path(database);
    let is_full = |error: &io::Error| {
        let full = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded];
        full.contains(&error.kind())
    };
    let mut taken = Lease::take(lease.clone(), patience);
    if taken.as_ref().is_err_and(is_full)
        && fs::remove_file(with_suffix(database, "-reserve")).is_ok()
    {
        taken = Lease::take(lease.clone(), patience);
    }
    match taken {
        Ok(Some(lease)) => Ok(lease),
        Ok(None) => Err(in_use(given)),
        Err(error) if is_full(&error) => Err(Error::StorageFull),
        Err(error) => Err(directory_error(given, &lease, error)),
    }
}

fn in_use(directory: &Path) -> Error {
    Error::InUse {
        directory: directory.to_owned(),
    }
}

/// Locks a file in the directory that only this user can open, since any user who
/// can open it can hold the lock.
fn lock_file(directory: &Path) -> Result<File, Error> {
    let path = directory.join(format!("{RESERVED}.lock"));
    let mut options = File::options();
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let failed = |error| directory_error(directory, &path, error);
    let file = database_file::open_plain(&mut options, &path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(in_use(directory)),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "sessions.db";

    fn lock(path: &Path) -> Result<Directory, Error> {
        Directory::lock(path, FILE, Duration::ZERO)
    }

    #[test]
    fn a_second_owner_is_refused_until_the_first_is_gone() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("a/b");
        let first = lock(&path).unwrap();
        assert_eq!(lock(&path).err(), Some(in_use(&path)));
        drop(first);
        lock(&path).unwrap();
    }

    #[test]
    fn a_file_is_locked_if_the_directory_cannot_be() {
        let directory = tempfile::tempdir().unwrap();
        let first = lock_file(directory.path()).unwrap();
        let second = lock_file(directory.path());
        assert_eq!(second.err(), Some(in_use(directory.path())));
        first.unlock().unwrap();
        lock_file(directory.path()).unwrap();
    }

    #[test]
    fn a_lock_file_that_cannot_be_used_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join(".wasi-sessions.lock");
        fs::create_dir(&file).unwrap();
        let error = lock_file(directory.path()).unwrap_err().to_string();
        assert!(error.contains(&file.display().to_string()), "{error}");
    }

    #[test]
    fn a_path_that_cannot_be_a_directory_is_named() {
        let parent = tempfile::tempdir().unwrap();
        let file = parent.path().join("file");
        fs::write(&file, "").unwrap();
        match lock(&file).err() {
            Some(Error::Directory { path, .. }) => assert_eq!(path, file),
            other => panic!("{other:?}"),
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_directory_that_was_missing_is_for_its_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("new");
        let _lock = lock(&path).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o700);
    }

    #[test]
    fn the_names_of_the_databases_files_belong_to_the_store() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("store");
        let directory = lock(&path).unwrap();
        for own in [
            "sessions.db",
            "Sessions.db-WAL",
            "sessions.db-journal",
            "sessions.db.lock",
            "sessions.db.lock/token",
            "sessions.db.lock-0123456789abcdef",
            ".wasi-sessions.x",
        ] {
            assert!(directory.owns(&path.join(own)), "{own}");
        }
        for free in [
            "copy.db",
            "sessions.db.bak",
            "sessions.db.locked",
            "old-sessions.db",
        ] {
            assert!(!directory.owns(&path.join(free)), "{free}");
        }
        assert!(!directory.owns(&parent.path().join(FILE)));
    }
}
