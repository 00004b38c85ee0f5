//! The mark of a backup: four bytes in its header that a database in use never has.
//!
//! The component marks a copy. When it opens a marked file as a database, it removes the
//! WAL and the journal beside it, which belong to the previous database, and then removes
//! the mark, durably. So renaming a marked file over the database replaces the database and
//! its WAL in one step.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};

/// The offset of SQLite's `application_id` in the file.
const PLACE: u64 = 68;
const MARK: &[u8; 4] = b"WSbk";

/// Marks a database as a backup. No program may have it open.
pub(crate) fn put_on(file: &mut File) -> io::Result<()> {
    file.seek(SeekFrom::Start(PLACE))?;
    file.write_all(MARK)
}

/// Whether the file is a backup that no store has opened as its database yet.
#[cfg(unix)]
pub(crate) fn is_on(file: &File) -> bool {
    let mut found = [0; MARK.len()];
    let read = std::os::unix::fs::FileExt::read_exact_at(file, &mut found, PLACE);
    read.is_ok() && found == *MARK
}
