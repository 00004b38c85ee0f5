//! The steps of a collection that replace the previous key of a table.

use super::database::{CollectedWal, Storage};
use rusqlite::TransactionBehavior::Immediate;
use wasi_sessions_rules::error::Error;

impl Storage {
    /// Whether rows are left to reseal with the present key.
    pub(super) fn is_changing_key(&self) -> bool {
        self.rows(|rows| rows.is_changing_key())
    }

    /// Reseals at most `limit` rows, in one transaction. It is as durable as any write:
    /// after the last step, the previous key may be lost.
    pub(super) fn reseal(&self, limit: u64) -> Result<(), Error> {
        let is_done = self.transact(Immediate, &mut || {
            let is_done = self.rows(|rows| rows.reseal(limit))?;
            self.cover_growth()?;
            Ok(is_done)
        })?;
        if is_done {
            self.rows(|rows| rows.stop_changing_key());
        }
        if self.collected_wal.get() == CollectedWal::Nothing {
            self.collected_wal.set(CollectedWal::Pages);
        }
        Ok(())
    }
}
