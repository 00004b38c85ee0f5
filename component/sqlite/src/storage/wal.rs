//! The write-ahead log (WAL) of an exclusive database: checkpoints, and whether
//! commits wait for the disk.

use super::connected::synchronous;
use super::database::Storage;
use wasi_sessions_rules::error::Error;
use wasi_sessions_rules::options::Durability;

/// SQLite's `wal_autocheckpoint`: a transaction after which the WAL has at least this many
/// pages ends with a checkpoint. The host knows the number for relaxed durability, too
/// (`sandbox/wal.rs`).
///
/// A checkpoint waits for the disk, and requests wait for it. With 64 clients and an fsync of
/// 0.25 ms, the 99th percentile of durable updates was 10 to 13 ms with SQLite's 1000 pages,
/// and is 5 to 7 ms with 256, for a tenth of the throughput: pages that are written again
/// and again are copied more often. Relaxed updates wait for the disk only in checkpoints and
/// after them, so the throughput comes first.
pub(super) const fn checkpoint_after(durability: Durability) -> u64 {
    match durability {
        Durability::Full => 256,
        Durability::Relaxed => 1000,
    }
}

impl Storage {
    /// Relaxes the durability for a collection step, which need not wait for the disk:
    /// a loss of power only brings expired rows back. Not for a shared database, which
    /// has no WAL and could be damaged.
    pub(super) fn relax_durability(&self) -> Result<(), Error> {
        if self.lock.is_none() {
            self.connected().is_relaxed.set(true);
            self.pragma(synchronous(self.options.access, Durability::Relaxed), None)?;
        }
        Ok(())
    }

    /// Restores the durability of the options, before anything else is written.
    pub(super) fn restore_durability(&self) -> Result<(), Error> {
        if self.connected().is_relaxed.get() {
            self.pragma(
                synchronous(self.options.access, self.options.durability),
                None,
            )?;
            self.connected().is_relaxed.set(false);
        }
        Ok(())
    }

    /// How many pages of the WAL are not in the database file yet.
    pub(super) fn wal_pages(&self) -> Result<u64, Error> {
        let pages = self.statements(|statements| {
            statements.inspect_wal.first([], |row| {
                let (all, checkpointed): (i64, i64) = (row.get(1)?, row.get(2)?);
                Ok((all - checkpointed).max(0).unsigned_abs())
            })
        })?;
        Ok(pages.unwrap_or(0))
    }

    /// Copies the pages of the WAL into the database file.
    pub(super) fn checkpoint(&self) -> Result<(), Error> {
        self.statements(|statements| statements.checkpoint.number([]))?;
        Ok(())
    }

    /// Checkpoints the WAL and truncates its file.
    pub(super) fn truncate_wal(&self) -> Result<(), Error> {
        self.statements(|statements| statements.truncate_wal.number([]))?;
        Ok(())
    }
}
