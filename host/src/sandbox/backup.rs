//! Writing a backup to a path of the host.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use tempfile::{TempDir, TempPath};

use crate::Error;
use crate::cause::Cause;
use crate::sandbox::database_file;
use crate::sandbox::directories::{open_directory, parent, sync_directory};
use crate::sandbox::instance::BACKUP;

/// A directory beside the target, accessible to this user alone, into which the component
/// writes its copy. It is removed on drop.
pub(crate) struct Folder<'a> {
    directory: TempDir,
    target: &'a Path,
}

impl<'a> Folder<'a> {
    /// Creates the directory. Refuses a target that exists, before anything is
    /// copied.
    pub(crate) fn beside(target: &'a Path) -> Result<Self, Error> {
        let mut folder = tempfile::Builder::new();
        folder.prefix(".wasi-sessions.backup.");
        #[cfg(unix)]
        folder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700));
        match fs::symlink_metadata(target) {
            Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
            Err(_) => folder.tempdir_in(parent(target)),
        }
        .map(|directory| Self { directory, target })
        .map_err(|error| failed(target, error))
    }

    /// Opens the directory for the component.
    pub(crate) fn open(&self) -> Result<File, Error> {
        open_directory(self.directory.path()).map_err(|error| failed(self.target, error))
    }

    /// Syncs the copy and moves it to the target, with permissions for this user alone.
    /// Never replaces an existing file.
    pub(crate) fn move_copy(self) -> Result<(), Error> {
        self.sync_copy()
            .and_then(|copy| {
                let copy = TempPath::try_from_path(copy)?;
                copy.persist_noclobber(self.target)?;
                sync_directory(parent(self.target))
            })
            .map_err(|error| failed(self.target, error))
    }

    /// Syncs the copy; returns its path.
    fn sync_copy(&self) -> io::Result<PathBuf> {
        let path = self.directory.path().join(BACKUP);
        // The component could have created a link in its place.
        database_file::refuse_odd(&path)?;
        let file = database_file::open_plain(File::options().read(true).write(true), &path)?;
        #[cfg(unix)]
        {
            let links = std::os::unix::fs::MetadataExt::nlink(&file.metadata()?);
            if links != 1 {
                // It could be the database itself.
                return Err(io::Error::other("the component made no copy"));
            }
            file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
        }
        file.sync_all()?;
        Ok(path)
    }

    /// Names the target in an error of the component, which knows the copy by another name
    /// and reports errors of the target's disk as errors of its own storage.
    pub(crate) fn failed(&self, error: Error) -> Error {
        match error {
            Error::StorageFull => failed(self.target, io::ErrorKind::StorageFull.into()),
            Error::InvalidArgument(words) | Error::Other(words) => {
                failed(self.target, io::Error::other(words))
            }
            error => error,
        }
    }
}

/// The error of a backup that could not be written.
pub(crate) fn failed(target: &Path, error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::AlreadyExists => {
            let target = target.display();
            Error::InvalidArgument(format!("backup: `{target}` already exists"))
        }
        _ => Error::Backup {
            file: target.to_owned(),
            reason: Cause::new(error),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes a copy as the component would.
    fn copied<'a>(target: &'a Path, content: &str) -> Folder<'a> {
        let folder = Folder::beside(target).unwrap();
        fs::write(folder.directory.path().join(BACKUP), content).unwrap();
        folder
    }

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    #[test]
    fn a_copy_is_moved_and_never_over_a_file() {
        let outside = tempfile::tempdir().unwrap();
        let target = outside.path().join("copy.db");
        let late = copied(&target, "late");
        copied(&target, "one").move_copy().unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"one");

        let refused = late.move_copy();
        assert!(matches!(refused, Err(Error::InvalidArgument(_))));
        assert_eq!(Folder::beside(&target).err(), refused.err());
        assert_eq!(fs::read(&target).unwrap(), b"one");
        assert_eq!(names(outside.path()), ["copy.db"]);
    }

    #[test]
    fn a_failed_backup_leaves_nothing_behind_and_names_its_target() {
        let outside = tempfile::tempdir().unwrap();
        let target = outside.path().join("copy.db");
        drop(copied(&target, "half"));
        let empty = Folder::beside(&target).unwrap();
        let error = empty.failed(Error::StorageFull).to_string();
        assert!(error.contains(&target.display().to_string()), "{error}");
        let Err(Error::Backup { file, reason }) = empty.move_copy() else {
            panic!("a backup that the component did not write is no backup");
        };
        let reason: &io::Error = reason.downcast_ref().unwrap();
        assert_eq!(
            (file, reason.kind()),
            (target.clone(), io::ErrorKind::NotFound)
        );
        assert!(names(outside.path()).is_empty());

        let missing = outside.path().join("missing/copy.db");
        let error = Folder::beside(&missing).err().unwrap().to_string();
        assert!(error.contains(&missing.display().to_string()), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn a_link_in_place_of_the_copy_is_refused() {
        let outside = tempfile::tempdir().unwrap();
        let secret = outside.path().join("secret");
        fs::write(&secret, "secret").unwrap();
        let target = outside.path().join("copy.db");
        let folder = Folder::beside(&target).unwrap();
        std::os::unix::fs::symlink(&secret, folder.directory.path().join(BACKUP)).unwrap();
        assert!(folder.move_copy().is_err());
        assert!(!target.exists());
    }
}
