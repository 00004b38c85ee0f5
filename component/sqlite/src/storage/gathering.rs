//! Buffers writes to an exclusive database and to its write-ahead log (WAL): consecutive
//! writes go to the file together.
//!
//! SQLite writes each page of the WAL in two pieces, and a checkpoint writes page after page
//! to the database; each piece is a call out of the component. A buffer is flushed before its
//! file is read, synced, cut or closed, and that of the WAL before a request is answered. After a
//! failure the WAL may need a repair before the database is reopened; see [`Damage`].

use super::vfs::{Done, Failed, File, Hooks, Kind};
use std::ffi::c_int;
use std::fs;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The size of each buffer, in bytes; 0 turns buffering off.
static MOST: AtomicUsize = AtomicUsize::new(64 << 10);

/// Turns buffering on or off for databases that are opened from now on. For tests and
/// measurements; it does not change what the store does.
pub fn gather_writes(on: bool) {
    MOST.store(if on { 64 << 10 } else { 0 }, Ordering::Relaxed);
}

/// The hooks of an exclusive database's files.
pub struct Gathering {
    most: usize,
    failed: Failed,
    wal: Mutex<Wal>,
    /// What a checkpoint writes. If it fails, the WAL still has all of it.
    database: Mutex<Buffer>,
}

/// Consecutive writes that are not in the file yet.
#[derive(Default)]
struct Buffer {
    /// The offset in the file at which the buffer starts.
    start: i64,
    bytes: Vec<u8>,
}

#[derive(Default)]
struct Wal {
    buffer: Buffer,
    damage: Damage,
    /// Why the WAL could not be written or synced.
    failed: Option<c_int>,
}

/// The repair that a WAL needs before the database is reopened.
#[derive(Clone, Copy, Debug, Default)]
pub struct Damage {
    /// The offset of the first write since the last answer. SQLite appends to what was
    /// committed, or starts again at 0 once all of that is in the database, so everything
    /// from here on belongs to requests that failed.
    answered: Option<i64>,
    /// Whether a sync failed: the system may have marked pages as clean that never
    /// reached the disk.
    unsynced: bool,
}

impl Gathering {
    pub fn new() -> Gathering {
        Gathering {
            most: MOST.load(Ordering::Relaxed),
            failed: Failed::default(),
            wal: Mutex::default(),
            database: Mutex::default(),
        }
    }

    /// Whether the connection is to be given up.
    pub fn has_failed(&self) -> bool {
        self.failed.get()
    }

    /// The repair that is needed once the connection is given up.
    pub fn damage(&self) -> Damage {
        self.wal().damage
    }

    fn wal(&self) -> MutexGuard<'_, Wal> {
        self.wal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn database(&self) -> MutexGuard<'_, Buffer> {
        self.database.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Flushes the file's buffer, and then runs the operation.
    fn after_flush<T>(
        &self,
        kind: Kind,
        file: &File,
        operation: impl FnOnce() -> Done<T>,
    ) -> Done<T> {
        self.failed.guard(|| {
            match kind {
                Kind::Wal => self.flush_wal(&mut self.wal(), file)?,
                Kind::Database => self.flush_database(&mut self.database(), file)?,
                Kind::Journal | Kind::Other => {}
            }
            operation()
        })
    }

    fn flush_wal(&self, wal: &mut Wal, file: &File) -> Done {
        let flushed = wal.buffer.flush(file);
        flushed.inspect_err(|&code| self.fail(wal, code))
    }

    fn flush_database(&self, buffer: &mut Buffer, file: &File) -> Done {
        let flushed = buffer.flush(file);
        flushed.inspect_err(|_| self.failed.set(true))
    }

    /// Marks the connection to be given up, even if the disk is only full: SQLite
    /// believes that the buffered bytes were written.
    fn fail(&self, wal: &mut Wal, code: c_int) {
        wal.failed.get_or_insert(code);
        self.failed.set(true);
    }

    fn write_wal(&self, file: &File, bytes: &[u8], offset: i64) -> Done {
        let mut wal = self.wal();
        wal.damage.answered.get_or_insert(offset);
        let written = wal.buffer.write(file, bytes, offset, self.most);
        written.inspect_err(|&code| self.fail(&mut wal, code))
    }

    fn write_database(&self, file: &File, bytes: &[u8], offset: i64) -> Done {
        // The part of the WAL that a checkpoint copies must not be cut off.
        self.wal().damage.answered = None;
        let written = self.database().write(file, bytes, offset, self.most);
        written.inspect_err(|_| self.failed.set(true))
    }
}

impl Buffer {
    /// Buffers a write; flushes the buffer first if the write does not follow or does not
    /// fit. A write of more than `most` bytes is not buffered.
    fn write(&mut self, file: &File, bytes: &[u8], offset: i64, most: usize) -> Done {
        let follows = self.start + self.bytes.len() as i64 == offset;
        if !follows || self.bytes.len() + bytes.len() > most {
            self.flush(file)?;
        }
        if bytes.len() > most {
            return file.write(bytes, offset);
        }
        if self.bytes.is_empty() {
            self.start = offset;
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn flush(&mut self, file: &File) -> Done {
        if !self.bytes.is_empty() {
            file.write(&self.bytes, self.start)?;
            self.bytes.clear();
        }
        Ok(())
    }
}

impl Hooks for Gathering {
    fn read(&self, kind: Kind, file: &File, to: &mut [u8], offset: i64) -> Done {
        self.after_flush(kind, file, || file.read(to, offset))
    }

    fn write(&self, kind: Kind, file: &File, bytes: &[u8], offset: i64) -> Done {
        self.failed.guard(|| match kind {
            Kind::Wal => self.write_wal(file, bytes, offset),
            Kind::Database => self.write_database(file, bytes, offset),
            Kind::Journal | Kind::Other => file.write(bytes, offset),
        })
    }

    fn truncate(&self, kind: Kind, file: &File, size: i64) -> Done {
        self.after_flush(kind, file, || file.truncate(size))
    }

    fn sync(&self, kind: Kind, file: &File, flags: c_int) -> Done {
        let synced = self.after_flush(kind, file, || file.sync(flags));
        if let (Kind::Wal, Err(code)) = (kind, synced) {
            let mut wal = self.wal();
            wal.damage.unsynced = true;
            self.fail(&mut wal, code);
        }
        synced
    }

    fn size(&self, kind: Kind, file: &File) -> Done<i64> {
        self.after_flush(kind, file, || file.size())
    }

    fn close(&self, kind: Kind, file: &File) {
        // A failure loses nothing: all answered writes are in the WAL's file already, or
        // were synced in the database's.
        let _ = self.after_flush(kind, file, || Ok(()));
    }

    fn delete(&self) -> Done {
        self.failed.guard(|| Ok(()))
    }

    fn flush(&self, file: &File) -> Done {
        let mut wal = self.wal();
        if let Some(code) = wal.failed {
            return Err(code);
        }
        self.flush_wal(&mut wal, file)?;
        wal.damage.answered = None;
        Ok(())
    }
}

impl Damage {
    /// The repair after a failed sync.
    pub const UNSYNCED: Damage = Damage {
        answered: None,
        unsynced: true,
    };

    /// Repairs the WAL at `path`: cuts off what failed requests wrote and, after a failed
    /// sync, rewrites the rest in place, so that it is synced again.
    pub fn repair(self, path: &str) -> io::Result<()> {
        if self.answered.is_none() && !self.unsynced {
            return Ok(());
        }
        #[cfg(test)]
        super::faults::check_repair()?;
        let mut wal = match fs::File::options().read(true).write(true).open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            wal => wal?,
        };
        if let Some(end) = self.answered {
            let end = end.unsigned_abs().min(wal.metadata()?.len());
            wal.set_len(end)?;
        }
        if self.unsynced {
            let mut piece = vec![0; 64 << 10];
            let mut offset = 0;
            loop {
                let length = wal.read(&mut piece)?;
                if length == 0 {
                    break;
                }
                wal.seek(SeekFrom::Start(offset))?;
                wal.write_all(&piece[..length])?;
                offset += length as u64;
            }
        }
        wal.sync_all()
    }
}
