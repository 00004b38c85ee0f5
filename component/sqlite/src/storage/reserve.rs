//! The reserve of an exclusive database: a file of random bytes beside it, which is
//! removed when the disk is full, so that sessions can still be ended.
//!
//! It holds [`RESERVE`] bytes for what ending sessions writes to the write-ahead log
//! (WAL), plus the growth of the database that is in the WAL and not yet in its own
//! file, so that a checkpoint always finds space. Without a complete reserve the database
//! must not grow.

use fastrand::Rng;
use std::cell::Cell;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Seek, SeekFrom, Write};
use wasi_sessions_rules::error::Error;

/// Bytes for ending sessions.
pub const RESERVE: u64 = 1 << 20;

/// The unit in which the reserve grows, in bytes, so that it grows rarely.
const STEP: u64 = 256 << 10;

/// The reserve of one database.
pub struct Reserve {
    location: String,
    /// The number of pages that the database may have with the present reserve; `None`
    /// when there is no reserve, or it has to be checked.
    covered: Cell<Option<u64>>,
    /// The number of pages of the database at the last check.
    pages: Cell<u64>,
}

impl Reserve {
    /// The reserve of the database at `location`.
    pub fn of(location: &str) -> Reserve {
        Reserve {
            location: location.into(),
            covered: Cell::new(None),
            pages: Cell::new(0),
        }
    }

    /// Whether there was a complete reserve at the last check.
    pub fn is_there(&self) -> bool {
        self.covered.get().is_some()
    }

    /// Makes the reserve large enough for a database of `pages` pages. Fails with
    /// [`Error::StorageFull`] if the disk has no space for it.
    pub fn cover(&self, pages: u64, page_size: u64) -> Result<(), Error> {
        let shrank = pages < self.pages.replace(pages);
        if !shrank && self.covered.get().is_some_and(|covered| pages <= covered) {
            return Ok(());
        }
        let made = self.make(pages, page_size);
        self.covered.set(made.as_ref().ok().copied());
        match made {
            Ok(_) => Ok(()),
            Err(error) => Err(match error.kind() {
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Error::StorageFull,
                _ => Error::Other(format!("cannot make `{}`: {error}", self.path())),
            }),
        }
    }

    /// Frees the space of the reserve; it is created again before anything grows.
    pub fn remove(&self) {
        self.covered.set(None);
        let _ = fs::remove_file(self.path());
    }

    /// Creates or lengthens the file; returns the number of pages that it covers.
    fn make(&self, pages: u64, page_size: u64) -> io::Result<u64> {
        // The database file may be longer than `pages`.
        let in_file = fs::metadata(&self.location)?.len() / page_size;
        let growth = pages.saturating_sub(in_file) * page_size;
        let wanted = RESERVE + growth.next_multiple_of(STEP);
        let mut file = match self.open() {
            // The file belongs to another user, as which an earlier store ran.
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                fs::remove_file(self.path())?;
                self.open()?
            }
            file => file?,
        };
        let length = file.metadata()?.len();
        if length > wanted + 16 * STEP {
            file.set_len(wanted)?;
        }
        file.seek(SeekFrom::Start(length))?;
        if let Err(error) = write_random(&mut file, wanted.saturating_sub(length)) {
            drop(file);
            self.shorten(length);
            return Err(error);
        }
        let length = file.metadata()?.len();
        Ok(in_file.min(pages) + (length - RESERVE) / page_size)
    }

    fn open(&self) -> io::Result<File> {
        let mut options = File::options();
        options.create(true).truncate(false).write(true);
        options.open(self.path())
    }

    /// Undoes a partial growth: restores `length`, or removes the file.
    fn shorten(&self, length: u64) {
        let file = File::options().write(true).open(self.path());
        if length < RESERVE || file.and_then(|file| file.set_len(length)).is_err() {
            self.remove();
        }
    }

    fn path(&self) -> String {
        format!("{}-reserve", self.location)
    }
}

/// Appends random bytes, which do not compress: a file system that compresses would
/// allocate no space for zeros. They are not secret, so one random number of the host
/// seeds a generator, since a host may return only eight random bytes per call.
fn write_random(file: &mut File, bytes: u64) -> io::Result<()> {
    let seed = getrandom::u64().map_err(|_| io::Error::other("no random bytes"))?;
    let mut random = Rng::with_seed(seed);
    let mut piece = vec![0; bytes.min(64 << 10) as usize];
    let mut left = bytes;
    while left > 0 {
        let length = left.min(piece.len() as u64);
        random.fill(&mut piece[..length as usize]);
        file.write_all(&piece[..length as usize])?;
        left -= length;
    }
    Ok(())
}
