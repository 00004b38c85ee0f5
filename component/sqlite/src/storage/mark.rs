//! The mark of a copy: four bytes in the header that distinguish a copy made by
//! `backup` from a live database.
//!
//! If a copy replaces a database that was not closed, the write-ahead log and the journal
//! of that database are still beside it, and SQLite cannot see that they do not belong to
//! the copy. So a copy has the bytes `WSbk` as SQLite's `application_id`, at offset 68 of
//! the file. The instance that opens such a file first removes the files of the other
//! database, then the mark.

use super::vfs::sync_directory;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use wasi_sessions_rules::error::Error;

/// The four bytes of the mark.
pub const MARK: [u8; 4] = *b"WSbk";
const OFFSET: usize = 68;

/// The first bytes of every SQLite database.
const MAGIC: &[u8] = b"SQLite format 3\0";

/// The suffixes of the files that a replaced database leaves beside a copy.
const FOREIGN: [&str; 3] = ["-wal", "-journal", "-shm"];

/// Whether the file at `location` is a copy that was not opened yet; false if it is
/// missing or too short.
pub fn is_copy(location: &str) -> Result<bool, Error> {
    let mut header = [0; OFFSET + MARK.len()];
    match File::open(location).and_then(|mut file| file.read_exact(&mut header)) {
        Ok(()) => Ok(header.starts_with(MAGIC) && header[OFFSET..] == MARK),
        Err(error) => match error.kind() {
            ErrorKind::NotFound | ErrorKind::UnexpectedEof => Ok(false),
            _ => Err(Error::Other(format!(
                "`{location}` cannot be read: {error}"
            ))),
        },
    }
}

/// Turns the copy at `location` into a database. It must not be open elsewhere: `confirm`
/// fails if it may be, and is called before each change, since the journal may belong to
/// the next owner of the lock by then.
pub fn adopt(location: &str, confirm: impl Fn() -> Result<(), Error>) -> Result<(), Error> {
    let failed = |error: io::Error| {
        Error::Other(format!(
            "`{location}` is a copy and cannot be turned into a database: {error}"
        ))
    };
    for suffix in FOREIGN {
        let path = format!("{location}{suffix}");
        // The file is truncated and synced first, since a loss of power may undo its
        // removal.
        match File::options().write(true).open(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            file => {
                let file = file.map_err(failed)?;
                confirm()?;
                let truncated = file.set_len(0).and_then(|()| file.sync_all());
                truncated.map_err(failed)?;
            }
        }
        confirm()?;
        std::fs::remove_file(path).map_err(failed)?;
    }
    sync_directory(location).map_err(failed)?;
    // The file is opened before the last `confirm`: if another backup is moved to
    // `location` after it, that backup keeps its mark.
    let file = open(location).map_err(failed)?;
    confirm()?;
    write_to(file, [0; 4]).map_err(failed)
}

/// Writes the bytes of the mark, or zeros to remove it, and syncs the file.
pub fn write(location: &str, mark: [u8; 4]) -> io::Result<()> {
    write_to(open(location)?, mark)
}

fn open(location: &str) -> io::Result<File> {
    File::options().read(true).write(true).open(location)
}

fn write_to(mut file: File, mark: [u8; 4]) -> io::Result<()> {
    file.seek(SeekFrom::Start(OFFSET as u64))?;
    file.write_all(&mark)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_backup_moved_in_place_after_the_last_confirmation_keeps_its_mark() {
        let directory = tempfile::tempdir().unwrap();
        let [location, other] = ["sessions.db", "other.db"].map(|name| {
            let path = directory.path().join(name);
            let mut header = [0; 100];
            header[..MAGIC.len()].copy_from_slice(MAGIC);
            header[OFFSET..][..MARK.len()].copy_from_slice(&MARK);
            fs::write(&path, header).unwrap();
            path.to_str().unwrap().to_owned()
        });
        let moved = || {
            fs::rename(&other, &location).unwrap();
            Ok(())
        };
        adopt(&location, moved).unwrap();
        assert!(is_copy(&location).unwrap());
    }
}
