//! An open store under load, and when the load ends.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use wasi_sessions::{Durability, Sessions};

use super::store::Store;
use crate::random::Random;

/// How often the clock moves.
const TICK: Duration = Duration::from_millis(20);

/// An open store under load.
pub struct Load {
    pub sessions: Sessions,
    pub store: Arc<Store>,
    is_over: Mutex<bool>,
    ended: Condvar,
}

struct EndOnDrop<'a>(&'a Load);

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        *self.0.state() = true;
        self.0.ended.notify_all();
    }
}

impl Load {
    /// Opens the store.
    pub fn open(store: &Arc<Store>, durability: Durability) -> anyhow::Result<Self> {
        Ok(Self {
            sessions: store.open(durability)?,
            store: store.clone(),
            is_over: Mutex::new(false),
            ended: Condvar::new(),
        })
    }

    /// Counts an operation.
    pub fn count(&self) {
        self.store.operations.fetch_add(1, Ordering::Relaxed);
    }

    /// Ends the load when the result is dropped, also by a panic: clients, clock and operator
    /// stop after their current operation.
    pub fn ends_on_drop(&self) -> impl Drop {
        EndOnDrop(self)
    }

    /// Whether the load has ended.
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
            self.store.clock.step(&mut random);
        }
    }

    fn state(&self) -> MutexGuard<'_, bool> {
        self.is_over.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
