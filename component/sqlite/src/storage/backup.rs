//! Backups: a consistent copy of the database, which appears once it is complete.

use super::connection::check_location;
use super::database::Storage;
use super::failure::failure;
use super::mark;
use super::vfs::sync_directory;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Component, Path};
use wasi_sessions_rules::error::Error;
use wasi_sessions_rules::id;

impl Storage {
    /// Writes a consistent copy to `location`, where no file may exist. Until the copy
    /// is complete it has a random name, `….partial`. A process that is killed leaves
    /// that file behind; it is never removed automatically, since another process may
    /// still be writing it.
    pub fn backup(&self, location: &str) -> Result<(), Error> {
        check_location(location)?;
        self.check_target(location)?;
        let partial = partial(location)?;
        let cannot = |what, error: io::Error| match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Error::StorageFull,
            _ => Error::Other(format!("cannot {what} the backup `{location}`: {error}")),
        };
        let copied = self
            .wait(|| {
                self.connection()
                    .execute("VACUUM INTO ?1", [&partial])
                    .map_err(failure)
                    // `VACUUM INTO` fails if the file of an earlier attempt exists.
                    .inspect_err(|_| remove(&partial))
            })
            .and_then(|_| {
                mark::write(&partial, mark::MARK).map_err(|error| cannot("mark", error))?;
                // A rename would replace a file that was created meanwhile.
                self.check_target(location)?;
                fs::rename(&partial, location).map_err(|error| cannot("rename", error))?;
                sync_directory(location).map_err(|error| {
                    remove(location);
                    cannot("sync the name of", error)
                })
            });
        if copied.is_err() {
            remove(&partial);
        }
        copied
    }

    /// Refuses a location where a file exists, and the names of this database's own
    /// files.
    fn check_target(&self, location: &str) -> Result<(), Error> {
        let target = Path::new(location);
        if target.components().any(|part| part == Component::ParentDir) {
            return Err(Error::invalid("location: must not have `..` in it"));
        }
        // The database's own files do not always exist. Their names are refused in
        // every directory, since one directory can have several paths.
        let lower_case = |path: &Path| path.file_name().map(OsStr::to_ascii_lowercase);
        let name = lower_case(target).unwrap_or_default();
        let own = lower_case(Path::new(&self.location)).unwrap_or_default();
        let suffix = name.as_encoded_bytes().strip_prefix(own.as_encoded_bytes());
        let is_own = suffix.is_some_and(|suffix| {
            let own = ["-wal", "-journal", "-shm", "-reserve", ".lock"];
            own.iter().any(|own| suffix.starts_with(own.as_bytes()))
        });
        // A dangling link counts as a file.
        let is_free =
            fs::symlink_metadata(target).is_err_and(|error| error.kind() == ErrorKind::NotFound);
        if is_own || !is_free {
            return Err(Error::invalid(format!(
                "location: `{location}` exists, cannot be written, or is one of the database's \
                 own files"
            )));
        }
        Ok(())
    }
}

/// The name of the copy until it is complete, so that an incomplete copy does not look
/// like a backup. It is random, so that no other file has it.
fn partial(location: &str) -> Result<String, Error> {
    let random = hex::encode(id::random::<8>()?);
    Ok(format!("{location}.{random}.partial"))
}

/// Removes the file of a failed copy. If that fails, too, the first error says more.
fn remove(copy: &str) {
    let _ = fs::remove_file(copy);
}
