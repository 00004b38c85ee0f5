//! Collection in steps: removes expired rows, gives free pages back to the file system,
//! and checkpoints the write-ahead log (WAL) that both write to.

use super::attempts::Room;
use super::database::{CollectedWal, Storage};
use super::failure::failure;
use rusqlite::TransactionBehavior::Immediate;
use wasi_sessions_rules::error::Error;
use wasi_sessions_rules::types::{Collected, Timestamp};

/// The number of pages in the WAL at which a collection checkpoints, so that no request
/// waits long for the checkpoint. Lower than [`super::wal::checkpoint_after`].
const MANY_PAGES: u64 = 160;

/// The most pages that one step gives back to the file system. SQLite may have to move
/// a page for each of them.
const MOST_PAGES: u64 = 128;

impl Storage {
    /// One step: removes at most `limit` expired rows and gives some free pages back to
    /// the file system. If it removed fewer than `limit`, it also reseals rows of the
    /// previous key. If nothing is left, it sets the requests counted in the database to
    /// 0. After a step that leaves many pages in the WAL, the next one only checkpoints,
    /// so that no request waits for a collection and a checkpoint.
    pub fn collect(&self, limit: u64, now: Timestamp) -> Result<Collected, Error> {
        let mut collected = self.repeat(Room::Freeing, &mut || {
            if self.collected_wal.get() == CollectedWal::ManyPages {
                self.collected_wal.set(CollectedWal::Pages);
                if self.has_many_pages() {
                    self.checkpoint()?;
                    return Ok(Collected {
                        removed: 0,
                        more: true,
                    });
                }
            }
            let mut collected = self.collection_step(limit, now)?;
            if self.has_many_pages() {
                self.collected_wal.set(CollectedWal::ManyPages);
                collected.more = true;
            }
            self.truncate_wal_after(&collected);
            Ok(collected)
        })?;
        if self.reseals_after(&collected, limit) {
            collected.more = true;
            match self.repeat(Room::Growing, &mut || self.reseal(limit)) {
                // Something was removed, so this step has not failed. The next one
                // retries.
                Err(_) if collected.removed > 0 => {}
                resealed => resealed?,
            }
        }
        Ok(collected)
    }

    /// Like [`Storage::collect`], for the step that follows a request, whose caller waits:
    /// makes only one attempt. Checkpoints in the same step, not in the next, which comes
    /// only with another request.
    pub fn collect_without_waiting(&self, limit: u64, now: Timestamp) -> Result<Collected, Error> {
        let collected = self.attempt(&mut || {
            let collected = self.collection_step(limit, now)?;
            if self.has_many_pages() {
                // If the checkpoint fails, the pages stay in the WAL.
                let _ = self.checkpoint();
            }
            self.truncate_wal_after(&collected);
            Ok(collected)
        })?;
        if self.reseals_after(&collected, limit) {
            // If resealing fails, the next step retries.
            let _ = self.attempt(&mut || self.reseal(limit));
        }
        Ok(collected)
    }

    /// Whether to reseal rows after this step: only if no expired rows are left, since
    /// sealing makes the database larger.
    fn reseals_after(&self, collected: &Collected, limit: u64) -> bool {
        let is_connected = self.connected.borrow().is_some();
        is_connected && collected.removed < limit && self.is_changing_key()
    }

    fn collection_step(&self, limit: u64, now: Timestamp) -> Result<Collected, Error> {
        // One page for every two rows, since a row is usually smaller than a page. What
        // larger rows leave is given back by later steps.
        let pages = (limit / 2 + 1).min(MOST_PAGES);
        self.relax_durability()?;
        let done = self.collect_and_give_back(limit, pages, now);
        self.restore_durability()?;
        done
    }

    /// Truncates the WAL after the last step of a collection that wrote to it.
    fn truncate_wal_after(&self, collected: &Collected) {
        let is_last = self.lock.is_none() && !collected.more;
        if is_last && self.collected_wal.take() != CollectedWal::Nothing {
            // The checkpoint also shortens the database file. If it fails, the pages
            // stay in the WAL until a later checkpoint.
            let _ = self.truncate_wal();
        }
    }

    /// Whether the WAL has reached [`MANY_PAGES`] pages that are not checkpointed.
    fn has_many_pages(&self) -> bool {
        self.lock.is_none() && self.wal_pages().is_ok_and(|pages| pages >= MANY_PAGES)
    }

    /// The transaction of a step; gives back at most `pages` pages.
    fn collect_and_give_back(
        &self,
        limit: u64,
        pages: u64,
        now: Timestamp,
    ) -> Result<Collected, Error> {
        self.transact(Immediate, &mut || {
            let (removed, any_due) = self.rows(|rows| rows.collect(limit, now))?;
            let free = self.free_pages()?;
            if free > 0 {
                self.give_back(pages.min(free))?;
            }
            let more = any_due || free > pages || self.is_changing_key();
            if !more {
                self.rows(|rows| rows.reset_requests())?;
            }
            if removed + free > 0 && self.collected_wal.get() == CollectedWal::Nothing {
                self.collected_wal.set(CollectedWal::Pages);
            }
            Ok(Collected { removed, more })
        })
    }

    /// How many free pages to give back. One free page for every four in use is kept for
    /// new sessions: giving a page back may require moving another, and the file would
    /// have to grow again.
    fn free_pages(&self) -> Result<u64, Error> {
        if !self.gives_space_back.get() {
            return Ok(0);
        }
        let (all, free) = self.statements(|statements| {
            let all = statements.all_pages.number([])?;
            Ok::<_, Error>((all, statements.free_pages.number([])?))
        })?;
        Ok(free.saturating_sub(all.saturating_sub(free) / 4))
    }

    fn give_back(&self, pages: u64) -> Result<(), Error> {
        let pragma = format!("PRAGMA incremental_vacuum({pages})");
        let connection = self.connection();
        let mut vacuum = connection.prepare(&pragma).map_err(failure)?;
        let mut steps = vacuum.query([]).map_err(failure)?;
        // Each row is one page given back.
        while steps.next().map_err(failure)?.is_some() {}
        Ok(())
    }
}
