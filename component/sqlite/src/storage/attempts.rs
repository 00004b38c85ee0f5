//! Runs work in attempts, with or without a transaction, and retries it: until the lock of
//! a shared database is free, or once space was freed on a full disk.

use super::connection::other_key;
use super::database::Storage;
use rusqlite::TransactionBehavior;
use std::thread::sleep;
use std::time::{Duration, Instant};
use wasi_sessions_rules::error::Error;
use wasi_sessions_rules::types::Timestamp;

/// What an attempt needs disk space for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// The database may grow: refused unless the reserve is complete.
    Growing,
    /// Sessions are ended, which frees space, so the space of the reserve may be used.
    Freeing,
    /// The reserve does not matter: reads, and every operation on a shared database.
    Any,
}

/// The longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

/// The state of one operation across its attempts.
struct Tries {
    started: Instant,
    pause: Duration,
    room: Room,
    has_made_room: bool,
}

// The loops take work as `dyn`, generic only in its result: a copy for each closure would
// make the component larger.
impl Storage {
    /// Retries an attempt while a shared database is locked, for at most `syncTimeout`.
    pub(super) fn wait<T>(
        &self,
        mut attempt: impl FnMut() -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.repeat(Room::Any, &mut attempt)
    }

    /// Like [`Storage::wait`], for an attempt that writes: it is also retried after
    /// space was freed on a full disk.
    pub(super) fn repeat<T>(
        &self,
        room: Room,
        attempt: &mut dyn FnMut() -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut tries = self.first_try(room)?;
        loop {
            match self.attempt(&mut *attempt) {
                Err(error) if self.tries_again(&mut tries, &error) => {}
                done => return done,
            }
        }
    }

    fn first_try(&self, room: Room) -> Result<Tries, Error> {
        let reserve = self.reserve.as_ref();
        if room == Room::Growing && reserve.is_some_and(|reserve| !reserve.is_there()) {
            self.make_reserve()?;
        }
        Ok(Tries {
            started: Instant::now(),
            pause: Duration::from_millis(1),
            room,
            has_made_room: false,
        })
    }

    /// Completes the reserve. If the disk is full, truncates the write-ahead log to free its
    /// space, and tries once more.
    fn make_reserve(&self) -> Result<(), Error> {
        match self.attempt(&mut || self.cover_growth()) {
            Err(Error::StorageFull) => {}
            done => return done,
        }
        self.attempt(&mut || self.truncate_wal())?;
        self.attempt(&mut || self.cover_growth())
    }

    /// Whether to retry after this error. Before it returns true, it has waited, or has tried
    /// to free space.
    fn tries_again(&self, tries: &mut Tries, error: &Error) -> bool {
        match (error, &self.lock, &self.reserve) {
            // A lost lock is not retried: if it was lost in the last step of a commit, the
            // work is in the database and must not be done twice.
            (Error::Busy, Some(lock), _) if lock.is_lost() => false,
            (Error::Busy, Some(_), _) => {
                let patience = Duration::from_millis(self.options.sync_timeout);
                let is_patient = tries.started.elapsed() < patience;
                if is_patient {
                    sleep(tries.pause);
                    tries.pause = (tries.pause * 2).min(LONGEST_PAUSE);
                }
                is_patient
            }
            (Error::StorageFull, _, Some(reserve))
                if tries.room != Room::Any && !tries.has_made_room =>
            {
                tries.has_made_room = true;
                if tries.room == Room::Freeing {
                    reserve.remove();
                }
                // A checkpoint that truncates the write-ahead log frees the log's space,
                // provided that its pages fit into the database file.
                let _ = self.attempt(&mut || self.truncate_wal());
                true
            }
            _ => false,
        }
    }

    /// Opens the database for the first time; waits while it is locked. A lost lock is not
    /// retried, though opening twice does no harm: losing a lock takes longer than most
    /// `syncTimeout`s.
    pub(super) fn open_when_free(&self, now: Timestamp) -> Result<(), Error> {
        let mut tries = self.first_try(Room::Any)?;
        loop {
            match self.connect(Some(now)) {
                Err(error) if self.tries_again(&mut tries, &error) => {}
                done => return done,
            }
        }
    }

    /// Runs work that is one reading statement. With exclusive access it shares the read
    /// transaction that earlier reads left open, because beginning and ending one takes as
    /// long as the read itself.
    pub(super) fn continue_reading<T>(
        &self,
        mut work: impl FnMut() -> Result<T, Error>,
    ) -> Result<T, Error> {
        if self.lock.is_some() {
            return self.wait(work);
        }
        self.reconnect()?;
        match self.begin_reading().and_then(|()| work()) {
            // A successful read has nothing to flush, so `end_attempt` is not needed.
            Ok(done) => Ok(done),
            Err(error) => Err(self.end_attempt(Some(error)).unwrap_or(Error::Busy)),
        }
    }

    fn begin_reading(&self) -> Result<(), Error> {
        if self.connection().is_autocommit() {
            self.statements(|statements| statements.begin.change([]))?;
        }
        Ok(())
    }

    /// Grows the reserve to cover the growth of the database. A shared database has no
    /// reserve.
    pub(super) fn cover_growth(&self) -> Result<(), Error> {
        let Some(reserve) = &self.reserve else {
            return Ok(());
        };
        let pages = self.statements(|statements| statements.all_pages.number([]))?;
        reserve.cover(pages, self.page_size.get())
    }

    /// Makes one attempt, on a sound connection without an open transaction.
    pub(super) fn attempt<T>(
        &self,
        attempt: &mut dyn FnMut() -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.reconnect()?;
        let done = self.begin_attempt().and_then(|()| attempt());
        self.conclude(done)
            .map_err(|error| match self.was_exclusive(&error) {
                true => Error::Busy,
                false => error,
            })
    }

    fn begin_attempt(&self) -> Result<(), Error> {
        self.roll_back()?;
        self.restore_durability()
    }

    /// Runs work in one transaction; a failure rolls it back.
    pub(super) fn transact<T>(
        &self,
        behavior: TransactionBehavior,
        work: &mut dyn FnMut() -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.begin(behavior)?;
        let done = self.confirm_key().and_then(|()| work());
        let done = done.and_then(|done| self.commit().map(|()| done));
        // SQLite itself may have rolled back already. An error of the rollback is
        // ignored: the first error says more, and the next attempt rolls back again.
        if done.is_err() {
            let _ = self.roll_back();
        }
        done
    }

    /// Fails if another instance has changed the key of a shared table; otherwise this
    /// instance would go on to seal rows with the old key.
    fn confirm_key(&self) -> Result<(), Error> {
        let is_same = match &self.lock {
            None => true,
            Some(_) => self.rows(|rows| rows.has_same_key())?,
        };
        match is_same {
            true => Ok(()),
            false => Err(other_key(&self.options.table_name)),
        }
    }

    fn begin(&self, behavior: TransactionBehavior) -> Result<(), Error> {
        let begun = self.statements(|statements| match behavior {
            TransactionBehavior::Deferred => statements.begin.change([]),
            _ => statements.begin_writing.change([]),
        });
        begun.map(drop)
    }

    fn commit(&self) -> Result<(), Error> {
        self.statements(|statements| statements.commit.change([]))
            .map(drop)
    }

    /// Ends the transaction, if there is one.
    fn roll_back(&self) -> Result<(), Error> {
        if !self.connection().is_autocommit() {
            self.statements(|statements| statements.roll_back.change([]))?;
        }
        Ok(())
    }
}
