//! The store's directory: created when missing, and locked for one owner at a time.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use crate::Error;

/// Files of this crate in the store's directory start with this.
pub(crate) const RESERVED: &str = ".wasi-sessions";

/// The store's directory while this owner holds it.
///
/// The lock is the operating system's, on a file that is never deleted: it is
/// released when this is dropped, and by the kernel on any death of the process.
pub(crate) struct Directory {
    path: PathBuf,
    lock: File,
}

impl Directory {
    /// Creates the directory when it is missing, for this user alone, and
    /// locks it; fails at once when another owner holds it.
    pub(crate) fn lock(path: &Path) -> Result<Self, Error> {
        let failed = |error: io::Error| Error::Directory {
            path: path.to_owned(),
            reason: error.to_string(),
        };
        create_private(path).map_err(failed)?;
        let lock = open_lock(&path.join(format!("{RESERVED}.lock"))).map_err(failed)?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => Error::InUse {
                directory: path.to_owned(),
            },
            TryLockError::Error(error) => failed(error),
        })?;
        Ok(Self {
            // The component may be started again after the process has changed
            // its working directory.
            path: fs::canonicalize(path).map_err(failed)?,
            lock,
        })
    }

    /// Whether a file of this name is there.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.path.join(name).exists()
    }

    /// Lets only this user read a database that was just made, and its log no
    /// more than the database: the component has no say in permissions.
    #[cfg(unix)]
    pub(crate) fn keep_private(&self, database: &str, is_new: bool) -> io::Result<()> {
        use std::os::unix::fs::PermissionsExt;
        let open = |name: &str| open_plain(OpenOptions::new().read(true), &self.path.join(name));
        let file = open(database)?;
        if is_new {
            file.set_permissions(fs::Permissions::from_mode(0o600))?;
        }
        match open(&format!("{database}-wal")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            log => log?.set_permissions(file.metadata()?.permissions()),
        }
    }

    /// Elsewhere a file has the permissions of its directory.
    #[cfg(not(unix))]
    pub(crate) fn keep_private(&self, _database: &str, _is_new: bool) -> io::Result<()> {
        Ok(())
    }

    /// Where the directory is, as an absolute path without links.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // Closing the file would not do: a process that another thread is just
        // starting holds a copy of it for a moment. If this fails, closing does.
        let _ = self.lock.unlock();
    }
}

/// Opens the file to lock, which only this user can open: whoever can, can
/// keep the store from its owner.
fn open_lock(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    open_plain(&mut options, path)
}

/// Opens a file, but follows no link: the component can make one, which must
/// lead nowhere.
fn open_plain(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    #[cfg(unix)]
    {
        let no_link = rustix::fs::OFlags::NOFOLLOW.bits() as i32;
        std::os::unix::fs::OpenOptionsExt::custom_flags(options, no_link);
    }
    options.open(path)
}

/// Creates a directory, and those above it, for this user alone; one that is
/// there stays as it is.
pub(crate) fn create_private(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_owner_is_refused_until_the_first_is_gone() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("a/b");
        let first = Directory::lock(&path).unwrap();
        assert_eq!(
            Directory::lock(&path).err(),
            Some(Error::InUse {
                directory: path.clone()
            })
        );
        drop(first);
        Directory::lock(&path).unwrap();
    }

    #[test]
    fn a_path_that_cannot_be_a_directory_is_named() {
        let parent = tempfile::tempdir().unwrap();
        let file = parent.path().join("file");
        fs::write(&file, "").unwrap();
        match Directory::lock(&file).err() {
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
        let _lock = Directory::lock(&path).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o700);
        assert_eq!(mode(&path.join(".wasi-sessions.lock")), 0o600);
    }
}
