//! Collection, in steps: rows that no longer count, free space, and the log that
//! both leave behind.

use super::attempts::Room;
use super::connection::synchronous;
use super::{Storage, failure};
use crate::error::Error;
use crate::options::Durability;
use crate::types::{Collected, Timestamp};
use rusqlite::TransactionBehavior::Immediate;

/// Pages of the log that are copied into the database at once while garbage is
/// collected: who comes then is not to wait long. Otherwise SQLite copies 1000,
/// which lets many writes to a page be copied as one.
const SHORT_LOG: u64 = 160;

/// Pages that one step of a collection gives back at most; each is moved.
const MOST_PAGES: u64 = 128;

impl Storage {
    /// Removes at most `limit` rows that no longer count and gives some pages
    /// back to the file system. When nothing is left, the requests counted in
    /// the database start at 0 again. Now and then it only copies the log: whoever
    /// waits does not wait for both.
    pub fn collect(&self, limit: u64, now: Timestamp) -> Result<Collected, Error> {
        self.repeat(Room::Freeing, &mut || {
            if self.copies_log.take() && self.has_long_log() {
                self.copy_log()?;
                return Ok(Collected {
                    removed: 0,
                    more: true,
                });
            }
            let mut collected = self.collection_step(limit, now)?;
            if self.has_long_log() {
                self.copies_log.set(true);
                collected.more = true;
            }
            self.empty_log_after(&collected);
            Ok(collected)
        })
    }

    /// Like [`Storage::collect`], but for one attempt only: a request that carries
    /// a collection waits for nobody. It does both.
    pub fn collect_at_once(&self, limit: u64, now: Timestamp) -> Result<Collected, Error> {
        self.once(&mut || {
            let collected = self.collection_step(limit, now)?;
            if self.has_long_log() {
                // What was collected stays so if that fails.
                let _ = self.copy_log();
            }
            self.empty_log_after(&collected);
            Ok(collected)
        })
    }

    fn collection_step(&self, limit: u64, now: Timestamp) -> Result<Collected, Error> {
        // A row is smaller than a page more often than not; what is left of
        // larger ones is given back by the steps that follow.
        let pages = (limit / 2 + 1).min(MOST_PAGES);
        self.hurry()?;
        let done = self.collect_and_give_back(limit, pages, now);
        self.settle()?;
        done
    }

    /// The last step of a collection that changed something leaves no log behind.
    fn empty_log_after(&self, collected: &Collected) {
        if self.lock.is_none() && !collected.more && self.has_log.take() {
            // The file itself gets shorter when the log is copied into it.
            // What was collected stays so if that fails, and is copied later.
            let _ = self.empty_log();
        }
    }

    /// Whether so much of the log waits to be copied that it takes a while.
    fn has_long_log(&self) -> bool {
        self.lock.is_none() && self.log_to_copy().is_ok_and(|pages| pages >= SHORT_LOG)
    }

    /// The step itself.
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
            let more = any_due || free > pages;
            if !more {
                self.rows(|rows| rows.reset_requests())?;
            }
            if removed + free > 0 {
                self.has_log.set(true);
            }
            Ok(Collected { removed, more })
        })
    }

    /// For a step of a collection: it does not wait for the disk, since what is
    /// lost with the power is garbage as it was before. A shared database has no
    /// log, and is not safe without waiting.
    fn hurry(&self) -> Result<(), Error> {
        if self.lock.is_none() {
            self.hurried.set(true);
            self.pragma(synchronous(Durability::Relaxed), None)?;
        }
        Ok(())
    }

    /// Goes back to what the options say, before anything else is written.
    pub(super) fn settle(&self) -> Result<(), Error> {
        if self.hurried.get() {
            self.pragma(synchronous(self.durability), None)?;
            self.hurried.set(false);
        }
        Ok(())
    }

    /// How many pages of the log are to be copied into the file.
    pub(super) fn log_to_copy(&self) -> Result<u64, Error> {
        let to_copy = self.statements(|statements| {
            statements.look_at_log.first([], |row| {
                let (all, copied): (i64, i64) = (row.get(1)?, row.get(2)?);
                Ok((all - copied).max(0).unsigned_abs())
            })
        })?;
        Ok(to_copy.unwrap_or(0))
    }

    pub(super) fn copy_log(&self) -> Result<(), Error> {
        self.statements(|statements| statements.copy_log.number([]))?;
        Ok(())
    }

    /// Copies the log, and makes its own file empty.
    pub(super) fn empty_log(&self) -> Result<(), Error> {
        self.statements(|statements| statements.empty_log.number([]))?;
        Ok(())
    }

    /// Free pages to give back. A quarter as many as are in use are kept for the
    /// sessions to come: what is given back has to be moved before, and asked for
    /// again.
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
