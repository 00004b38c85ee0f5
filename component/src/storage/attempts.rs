//! How work is tried: alone or in a transaction, once or until the lock of a
//! shared database is free, and again when room was made on a full disk.

use super::Storage;
use crate::error::Error;
use crate::types::Timestamp;
use rusqlite::TransactionBehavior;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// What an attempt needs room for on a full disk.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// It makes the database larger: not without a whole reserve.
    Growing,
    /// It frees space, and so may use the room of the reserve.
    Freeing,
    /// It writes nothing that stays.
    Any,
}

/// The longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

/// How often and how long something was tried.
struct Tries {
    started: Instant,
    pause: Duration,
    room: Room,
    has_made_room: bool,
}

// What is done often is not generic, and work comes as `dyn`: each copy of these
// functions is part of the component.
impl Storage {
    /// Repeats an attempt that found the database in use, as long as
    /// `syncTimeout` allows.
    pub(super) fn wait<T>(
        &self,
        mut attempt: impl FnMut() -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.repeat(Room::Any, &mut attempt)
    }

    /// The same for one that writes: it is tried again when room was made, too.
    pub(super) fn repeat<T>(
        &self,
        room: Room,
        attempt: &mut dyn FnMut() -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut tries = self.first_try(room)?;
        loop {
            match self.once(&mut *attempt) {
                Err(error) if self.tries_again(&mut tries, &error) => {}
                done => return done,
            }
        }
    }

    fn first_try(&self, room: Room) -> Result<Tries, Error> {
        let reserve = self.reserve.as_ref();
        if room == Room::Growing && reserve.is_some_and(|reserve| !reserve.is_there()) {
            self.once(&mut || self.cover_growth())?;
        }
        Ok(Tries {
            started: Instant::now(),
            pause: Duration::from_millis(1),
            room,
            has_made_room: false,
        })
    }

    /// Whether to try again after this error, now that it has waited or made room.
    fn tries_again(&self, tries: &mut Tries, error: &Error) -> bool {
        match (error, &self.lock, &self.reserve) {
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
                // This gives the room of the write-ahead log back, if it can be
                // copied.
                let empty = || self.statements(|statements| statements.empty_log.number([]));
                let _ = self.once(&mut || empty().map(drop));
                true
            }
            _ => false,
        }
    }

    /// Opens the database for the first time, or waits for it.
    pub(super) fn open_when_free(&self, now: Timestamp) -> Result<(), Error> {
        let mut tries = self.first_try(Room::Any)?;
        loop {
            match self.connect(Some(now)) {
                Err(error) if self.tries_again(&mut tries, &error) => {}
                done => return done,
            }
        }
    }

    /// Work that only reads, with a single statement. The only owner goes on
    /// reading where it left off: to begin and to end takes as long as to read.
    pub(super) fn continue_reading<T>(
        &self,
        mut work: impl FnMut() -> Result<T, Error>,
    ) -> Result<T, Error> {
        if self.lock.is_some() {
            return self.wait(work);
        }
        self.reconnect()?;
        match self.begin_reading().and_then(|()| work()) {
            // To read leaves nothing to be written.
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

    /// Has the reserve cover what the database has grown by. A shared one has no
    /// reserve.
    pub(super) fn cover_growth(&self) -> Result<(), Error> {
        let Some(reserve) = &self.reserve else {
            return Ok(());
        };
        let pages = self.statements(|statements| statements.all_pages.number([]))?;
        reserve.cover(pages, self.page_size.get())
    }

    /// One attempt, with a connection that is to be trusted and has nothing begun.
    pub(super) fn once<T>(
        &self,
        attempt: &mut dyn FnMut() -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.reconnect()?;
        let done = self.begin_attempt().and_then(|()| attempt());
        self.conclude(done)
    }

    fn begin_attempt(&self) -> Result<(), Error> {
        self.roll_back()?;
        self.settle()
    }

    /// The end of an attempt; see [`Storage::end_attempt`].
    pub(super) fn conclude<T>(&self, done: Result<T, Error>) -> Result<T, Error> {
        let (done, error) = match done {
            Ok(done) => (Some(done), None),
            Err(error) => (None, Some(error)),
        };
        match (done, self.end_attempt(error)) {
            (Some(done), None) => Ok(done),
            (_, error) => Err(error.unwrap_or(Error::Busy)),
        }
    }

    /// One transaction; on failure nothing of it is kept.
    pub(super) fn transact<T>(
        &self,
        behavior: TransactionBehavior,
        work: &mut dyn FnMut() -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.begin(behavior)?;
        let done = work().and_then(|done| self.commit().map(|()| done));
        // SQLite itself may have rolled back already. What failed says more than
        // that the connection, which is then given up, cannot roll back.
        if done.is_err() {
            let _ = self.roll_back();
        }
        done
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
