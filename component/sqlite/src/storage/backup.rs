//! Backups: a consistent copy of the database, which appears once it is whole.

use super::connection::check_location;
use super::database::Storage;
use super::failure::failure;
use super::mark;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Component, Path};
use wasi_sessions_rules::error::Error;
use wasi_sessions_rules::id;

impl Storage {
    /// Writes a consistent copy to `location`, where nothing may be yet. Until
    /// it is whole it has a name beside that which nobody else can know; who is
    /// killed meanwhile leaves such a file behind, as nobody can tell whose it
    /// is.
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
                    // The next attempt must find nothing of this one.
                    .inspect_err(|_| remove(&partial))
            })
            .and_then(|_| {
                mark::write(&partial, mark::MARK).map_err(|error| cannot("mark", error))?;
                // To rename replaces a file that came here meanwhile.
                self.check_target(location)?;
                fs::rename(&partial, location).map_err(|error| cannot("rename", error))?;
                mark::sync_directory(location);
                Ok(())
            });
        if copied.is_err() {
            remove(&partial);
        }
        copied
    }

    /// Refuses a place for a backup where something is, or where this database
    /// keeps or will keep its own files.
    fn check_target(&self, location: &str) -> Result<(), Error> {
        let target = Path::new(location);
        if target.components().any(|part| part == Component::ParentDir) {
            return Err(Error::invalid("location: must not have `..` in it"));
        }
        // Not every one of these is there at all times. They are refused in
        // every directory, since one directory can have several names.
        let lower_case = |path: &Path| path.file_name().map(|name| name.to_ascii_lowercase());
        let name = lower_case(target).unwrap_or_default();
        let own = lower_case(Path::new(&self.location)).unwrap_or_default();
        let suffix = name.as_encoded_bytes().strip_prefix(own.as_encoded_bytes());
        let is_own = suffix.is_some_and(|suffix| {
            let own = ["-wal", "-journal", "-shm", "-reserve", ".lock"];
            own.iter().any(|own| suffix.starts_with(own.as_bytes()))
        });
        // A link that leads nowhere is something, too.
        let is_free =
            fs::symlink_metadata(target).is_err_and(|error| error.kind() == ErrorKind::NotFound);
        if is_own || !is_free {
            return Err(Error::invalid(format!(
                "location: `{location}` is there already, or cannot be written"
            )));
        }
        Ok(())
    }
}

/// A name for the copy while it is made: one cut off half-way must not look
/// like a backup, and nothing of others can have this name.
fn partial(location: &str) -> Result<String, Error> {
    let random = hex::encode(id::random::<8>()?);
    Ok(format!("{location}.{random}.partial"))
}

/// Removes what a copy that failed left behind, if it can: its own error says
/// more than that of the removal.
fn remove(partial: &str) {
    let _ = fs::remove_file(partial);
}
