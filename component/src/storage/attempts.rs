//! How work is tried: alone or in a transaction, once or until the lock of a
//! shared database is free.

use super::Storage;
use super::lock::{self, DotLock};
use super::statements::{Prepared, Statements};
use crate::error::Error;
use rusqlite::{Connection, TransactionBehavior};
use std::mem;

impl Storage {
    /// Repeats an attempt that found the database in use, as long as
    /// `syncTimeout` allows.
    pub(super) fn wait<T>(
        &self,
        mut attempt: impl FnMut() -> Result<T, Error>,
    ) -> Result<T, Error> {
        match &self.lock {
            Some(lock) => lock.wait(|| self.once(&mut attempt)),
            None => self.once(attempt),
        }
    }

    /// Work that only reads, with a single statement. The only owner goes on
    /// reading where it left off: to begin and to end takes as long as to read.
    pub(super) fn continue_reading<T>(
        &self,
        work: impl Fn() -> Result<T, Error>,
    ) -> Result<T, Error> {
        if self.lock.is_some() {
            return self.wait(work);
        }
        if self.connection().is_autocommit() {
            self.statements(|statements| statements.begin.change([]))?;
        }
        work()
    }

    /// One attempt, of a connection that knows whether it holds the lock.
    pub(super) fn once<T>(&self, attempt: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
        match &self.lock {
            Some(lock) => {
                self.admit_loss(lock)?;
                lock.begin();
            }
            None => self.roll_back()?,
        }
        self.settle()?;
        attempt()
    }

    /// One transaction; on failure nothing of it is kept.
    pub(super) fn transact<T>(
        &self,
        behavior: TransactionBehavior,
        work: impl FnOnce() -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.statements(|statements| match behavior {
            TransactionBehavior::Deferred => statements.begin.change([]),
            _ => statements.begin_writing.change([]),
        })?;
        let done = work().and_then(|done| {
            if self.lock.as_ref().is_some_and(|lock| lock.is_doubtful()) {
                return Err(Error::Busy);
            }
            self.statements(|statements| statements.commit.change([]))?;
            Ok(done)
        });
        // SQLite itself may have rolled back already.
        if done.is_err() {
            self.roll_back()?;
        }
        done
    }

    /// A connection whose lock somebody else removed believes for ever that it
    /// holds it, and would work without one from then on.
    fn admit_loss(&self, lock: &DotLock) -> Result<(), Error> {
        if !lock::believes_to_hold(self.connection()) || self.is_exclusive()? {
            return Ok(());
        }
        lock.make_again()?;
        // SQLite takes this one for its own and, having read, removes it.
        self.ask::<i64>("PRAGMA schema_version").map(drop)
    }

    /// Whether the connection keeps the lock between transactions, as it does
    /// for a moment while the database is opened.
    fn is_exclusive(&self) -> Result<bool, Error> {
        Ok(self.ask::<String>("PRAGMA locking_mode")? == "exclusive")
    }

    /// Ends the transaction, if there is one.
    fn roll_back(&self) -> Result<(), Error> {
        if !self.connection().is_autocommit() {
            self.statements(|statements| statements.roll_back.change([]))?;
        }
        Ok(())
    }
}

impl Drop for Storage {
    fn drop(&mut self) {
        let Some(lock) = &self.lock else {
            return;
        };
        if lock.wait(|| self.admit_loss(lock)).is_ok() {
            return;
        }
        // Closing this connection would remove the lock of somebody else.
        if let Ok(other) = Connection::open_in_memory() {
            let other = Prepared::new(other, |other| Statements::new(other, &self.table));
            mem::forget(mem::replace(&mut self.prepared, other));
        }
    }
}
