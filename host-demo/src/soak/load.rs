//! The state that clients, clock and operator share while a store is open.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use wasi_sessions::Sessions;

use super::clock::Clock;
use super::shared::SharedIds;
use crate::random::Random;

/// How often the clock moves.
const TICK: Duration = Duration::from_millis(20);

/// An open store under load.
pub struct Load {
    pub sessions: Sessions,
    pub clock: Arc<Clock>,
    pub shared: Arc<SharedIds>,
    operations: Arc<AtomicU64>,
    is_over: Mutex<bool>,
    ended: Condvar,
}

struct EndOnDrop<'a>(&'a Load);

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl Load {
    /// The load on an open store: with the store's clock, the sessions that all clients
    /// share, and the number of operations so far.
    pub fn new(
        sessions: Sessions,
        clock: Arc<Clock>,
        shared: Arc<SharedIds>,
        operations: Arc<AtomicU64>,
    ) -> Self {
        Self {
            sessions,
            clock,
            shared,
            operations,
            is_over: Mutex::new(false),
            ended: Condvar::new(),
        }
    }

    /// Counts operations.
    pub fn count(&self, operations: u64) {
        self.operations.fetch_add(operations, Ordering::Relaxed);
    }

    /// The number of operations so far.
    pub fn operations(&self) -> u64 {
        self.operations.load(Ordering::Relaxed)
    }

    /// Ends the load: clients, clock and operator stop after their current operation.
    pub fn end(&self) {
        *self.state() = true;
        self.ended.notify_all();
    }

    /// Ends the load when the result is dropped, also by a panic.
    pub fn ends_on_drop(&self) -> impl Drop {
        EndOnDrop(self)
    }

    /// Whether the load was ended.
    pub fn is_over(&self) -> bool {
        *self.state()
    }

    /// Waits until `when`, or until the load ends; returns whether the load has ended.
    pub fn waits_until(&self, when: Instant) -> bool {
        let span = when.saturating_duration_since(Instant::now());
        let waited = self
            .ended
            .wait_timeout_while(self.state(), span, |is_over| !*is_over);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Moves the clock until the load ends.
    pub fn move_clock(&self, mut random: Random) {
        while !self.waits_until(Instant::now() + TICK) {
            self.clock.step(&mut random);
        }
    }

    fn state(&self) -> MutexGuard<'_, bool> {
        self.is_over.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
