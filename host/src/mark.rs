//! The mark of a backup: four bytes in its header that a database in use never
//! has.
//!
//! The component gives it to a copy, and takes it away, durably, when it opens
//! one as a database; before that it removes the write-ahead log and the journal
//! beside it, which belong to the database that was there before. So renaming a
//! marked file over the database replaces all of it, at once.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};

/// SQLite's `application_id`.
const PLACE: u64 = 68;
const MARK: &[u8; 4] = b"WSbk";

/// Marks a database that nobody has open as a backup.
pub(crate) fn put_on(file: &mut File) -> io::Result<()> {
    file.seek(SeekFrom::Start(PLACE))?;
    file.write_all(MARK)
}

/// Whether the file is a backup that no store has opened yet.
#[cfg(unix)]
pub(crate) fn is_on(file: &File) -> bool {
    let mut found = [0; MARK.len()];
    let read = std::os::unix::fs::FileExt::read_exact_at(file, &mut found, PLACE);
    read.is_ok() && found == *MARK
}
