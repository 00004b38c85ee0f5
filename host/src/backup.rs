//! A backup on its way out of the component's directory to a path of the host.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use tempfile::{NamedTempFile, TempDir, TempPath};

use crate::Error;

/// A folder of the store's directory in which the component makes its copy.
/// There is never more than one, because only the owner of the directory makes
/// it; it is removed when this is dropped.
pub(crate) struct Folder(TempDir);

const FOLDER: &str = ".wasi-sessions.backup";
const COPY: &str = "copy";

impl Folder {
    /// Where the component writes the copy.
    pub(crate) const LOCATION: &str = "/.wasi-sessions.backup/copy";

    pub(crate) fn create(directory: &Path) -> Result<Self, Error> {
        remove_leftover(directory);
        tempfile::Builder::new()
            .prefix(FOLDER)
            .rand_bytes(0)
            .tempdir_in(directory)
            .map(Self)
            .map_err(|error| failed(directory, error))
    }

    /// Moves the copy to `target`, for this user alone to read, once it is on disk;
    /// never over a file that is there.
    pub(crate) fn move_copy(self, target: &Path) -> Result<(), Error> {
        self.sync_copy()
            .and_then(|copy| move_across(copy, target))
            .map_err(|error| failed(target, error))
    }

    /// The copy, after it has reached the disk.
    fn sync_copy(&self) -> io::Result<PathBuf> {
        let path = self.0.path().join(COPY);
        // The component can make links too, and must not lead the host out of
        // the directory with one.
        if fs::canonicalize(&path)? != path {
            return Err(io::Error::other("the copy is not where it should be"));
        }
        let file = File::options().write(true).open(&path)?;
        #[cfg(unix)]
        file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
        file.sync_all()?;
        Ok(path)
    }
}

/// Removes what a process left that was killed while it made a copy.
pub(crate) fn remove_leftover(directory: &Path) {
    // One that stays makes the next backup fail, in words.
    let _ = fs::remove_dir_all(directory.join(FOLDER));
}

/// Refuses a target before the work of copying.
pub(crate) fn refuse_existing(target: &Path) -> Result<(), Error> {
    match fs::symlink_metadata(target) {
        Ok(_) => Err(failed(target, io::ErrorKind::AlreadyExists.into())),
        Err(_) => Ok(()),
    }
}

fn move_across(copy: PathBuf, target: &Path) -> io::Result<()> {
    match TempPath::try_from_path(copy)?.persist_noclobber(target) {
        Ok(()) => Ok(()),
        Err(refused) if refused.error.kind() == io::ErrorKind::CrossesDevices => {
            copy_beside(&refused.path, target)
        }
        Err(refused) => Err(refused.error),
    }
}

/// Copies to another file system: under a temporary name beside the target, so
/// that the target is there in full or not at all.
fn copy_beside(copy: &Path, target: &Path) -> io::Result<()> {
    let folder = target.parent().unwrap_or(Path::new(""));
    let mut file = NamedTempFile::new_in(folder)?;
    io::copy(&mut File::open(copy)?, &mut file)?;
    file.as_file().sync_all()?;
    file.persist_noclobber(target)?;
    Ok(())
}

fn failed(path: &Path, error: io::Error) -> Error {
    let path = path.display();
    match error.kind() {
        io::ErrorKind::AlreadyExists => {
            Error::InvalidArgument(format!("backup: `{path}` is there already"))
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Error::StorageFull,
        _ => Error::Other(format!("backup to `{path}`: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixture {
        directory: TempDir,
        outside: TempDir,
    }

    impl Fixture {
        fn new() -> Self {
            Self {
                directory: tempfile::tempdir().unwrap(),
                outside: tempfile::tempdir().unwrap(),
            }
        }

        fn path(&self) -> PathBuf {
            fs::canonicalize(self.directory.path()).unwrap()
        }

        /// A copy as the component would have made it.
        fn copied(&self, content: &str) -> Folder {
            let folder = Folder::create(&self.path()).unwrap();
            fs::write(self.path().join(FOLDER).join(COPY), content).unwrap();
            folder
        }

        fn target(&self) -> PathBuf {
            self.outside.path().join("copy.db")
        }

        fn nothing_is_left(&self) -> bool {
            fs::read_dir(self.path()).unwrap().next().is_none()
        }
    }

    #[test]
    fn a_copy_is_moved_and_never_over_a_file() {
        let fixture = Fixture::new();
        let target = fixture.target();
        refuse_existing(&target).unwrap();
        fixture.copied("one").move_copy(&target).unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"one");
        assert!(fixture.nothing_is_left());

        let refused = fixture.copied("two").move_copy(&target);
        assert!(matches!(refused, Err(Error::InvalidArgument(_))));
        assert_eq!(refuse_existing(&target), refused);
        assert_eq!(fs::read(&target).unwrap(), b"one");
        assert!(fixture.nothing_is_left());
    }

    #[test]
    fn a_copy_to_another_file_system_is_whole_or_not_there() {
        let fixture = Fixture::new();
        let copy = fixture.path().join(COPY);
        fs::write(&copy, "one").unwrap();
        copy_beside(&copy, &fixture.target()).unwrap();
        assert_eq!(fs::read(fixture.target()).unwrap(), b"one");

        let error = copy_beside(&copy, &fixture.target()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_dir(fixture.outside.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_failed_backup_leaves_nothing_behind() {
        let fixture = Fixture::new();
        let target = fixture.outside.path().join("missing/copy.db");
        let refused = fixture.copied("one").move_copy(&target);
        assert!(matches!(refused, Err(Error::Other(_))));
        assert!(fixture.nothing_is_left());
    }

    #[test]
    fn what_a_killed_process_left_is_removed() {
        let fixture = Fixture::new();
        std::mem::forget(fixture.copied("half"));
        remove_leftover(&fixture.path());
        assert!(fixture.nothing_is_left());
    }

    #[cfg(unix)]
    #[test]
    fn a_link_in_place_of_the_copy_leads_nowhere() {
        let fixture = Fixture::new();
        let secret = fixture.outside.path().join("secret");
        fs::write(&secret, "secret").unwrap();
        let folder = Folder::create(&fixture.path()).unwrap();
        std::os::unix::fs::symlink(&secret, folder.0.path().join(COPY)).unwrap();
        assert!(folder.move_copy(&fixture.target()).is_err());
        assert!(!fixture.target().exists());
    }
}
