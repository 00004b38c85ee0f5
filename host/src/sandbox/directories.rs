//! Directories of the host: created for this user alone, opened, and synced.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// Opens a directory for its metadata and its entries.
pub(crate) fn open_directory(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.read(true);
    #[cfg(unix)]
    {
        let directory = rustix::fs::OFlags::DIRECTORY.bits() as i32;
        std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, directory);
    }
    #[cfg(windows)]
    {
        // FILE_FLAG_BACKUP_SEMANTICS, which opens a directory.
        std::os::windows::fs::OpenOptionsExt::custom_flags(&mut options, 0x0200_0000);
    }
    options.open(path)
}

/// Creates a directory and its missing ancestors with permissions for this user alone, and
/// syncs their parents. An existing directory is not changed.
pub(crate) fn create_private(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    let created = match (builder.create(path), path.parent()) {
        (Err(error), Some(parent)) if error.kind() == io::ErrorKind::NotFound => {
            create_private(parent)?;
            builder.create(path)
        }
        (created, _) => created,
    };
    match created {
        Ok(()) => sync_directory(parent(path)),
        Err(_) if path.is_dir() => Ok(()),
        Err(error) => Err(error),
    }
}

/// The path with a suffix appended to its last name.
pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

/// The parent directory of `path`.
pub(crate) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

/// Syncs a directory, so that new names in it are durable, where the system can do that.
pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    if cfg!(not(unix)) {
        return Ok(());
    }
    match open_directory(path)?.sync_all() {
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
        synced => synced,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relative_path_has_a_parent() {
        assert_eq!(parent(Path::new("a")), Path::new("."));
        assert_eq!(parent(Path::new("a/b")), Path::new("a"));
        assert_eq!(parent(Path::new("/a")), Path::new("/"));
    }
}
