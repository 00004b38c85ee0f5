//! The mark of a copy: what `backup` made is told from a live database by its
//! header.
//!
//! A copy that is put in the place of a database whose owner crashed finds that
//! database's write-ahead log and journal beside it, and SQLite cannot tell that
//! they are another's. So a copy carries the bytes `WSbk` as SQLite's
//! `application_id`, at offset 68 of the file. Whoever opens such a file first
//! removes what belongs to another database, then the mark.

use crate::error::Error;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};

/// The four bytes, and where in the file they are.
pub const MARK: [u8; 4] = *b"WSbk";
const OFFSET: usize = 68;

/// How every database of SQLite starts.
const MAGIC: &[u8] = b"SQLite format 3\0";

/// What belongs to a database and not to its copy.
const FOREIGN: [&str; 3] = ["-wal", "-journal", "-shm"];

/// Whether the file at `location` is a copy that nobody opened yet.
pub fn is_copy(location: &str) -> bool {
    let mut header = [0; OFFSET + MARK.len()];
    match File::open(location).and_then(|mut file| file.read_exact(&mut header)) {
        Ok(()) => header.starts_with(MAGIC) && header[OFFSET..] == MARK,
        // SQLite says what is wrong with any other file.
        Err(_) => false,
    }
}

/// Makes a database of the copy at `location`, which nobody else has open.
pub fn adopt(location: &str) -> Result<(), Error> {
    let adopt = || {
        for suffix in FOREIGN {
            match std::fs::remove_file(format!("{location}{suffix}")) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        sync_directory(location);
        write(location, [0; 4])
    };
    adopt().map_err(|error: io::Error| {
        Error::Other(format!(
            "`{location}` is a copy and cannot be made the database: {error}"
        ))
    })
}

/// Writes the mark, or what is there without one, and waits for the disk.
pub fn write(location: &str, mark: [u8; 4]) -> io::Result<()> {
    let mut file = File::options().read(true).write(true).open(location)?;
    file.seek(SeekFrom::Start(OFFSET as u64))?;
    file.write_all(&mark)?;
    file.sync_all()
}

/// Waits until the names in the directory of `location` are on the disk, where
/// the system can do that.
pub fn sync_directory(location: &str) {
    let parent = std::path::Path::new(location).parent();
    let parent = parent.filter(|parent| !parent.as_os_str().is_empty());
    let directory = parent.unwrap_or(".".as_ref());
    if let Ok(directory) = File::open(directory) {
        let _ = directory.sync_all();
    }
}
