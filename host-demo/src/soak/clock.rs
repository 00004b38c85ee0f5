//! The clock of the soak, which moves in random steps between requests.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::{RwLock, RwLockReadGuard};

use crate::random::Random;

/// A clock that moves only with [`Clock::step`], and never back.
pub struct Clock {
    /// Milliseconds since 1970.
    now: AtomicU64,
    /// Locked for reading while the clock is stopped, and for writing by a step.
    movement: RwLock<()>,
}

/// The clock shows the same time until this is dropped.
pub struct Stopped<'a> {
    /// This time, in milliseconds since 1970.
    pub now: u64,
    _guard: RwLockReadGuard<'a, ()>,
}

impl Clock {
    /// A clock that shows the present time.
    pub fn start() -> Self {
        let now = UNIX_EPOCH.elapsed().unwrap_or_default().as_millis() as u64;
        Self {
            now: AtomicU64::new(now),
            movement: RwLock::default(),
        }
    }

    /// What the clock shows. Does not wait for a step, since a step waits for the requests
    /// that call this.
    pub fn now(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.now.load(Ordering::SeqCst))
    }

    /// Stops the clock.
    pub async fn stop(&self) -> Stopped<'_> {
        let guard = self.movement.read().await;
        Stopped {
            now: self.now.load(Ordering::SeqCst),
            _guard: guard,
        }
    }

    /// Moves the clock once it is not stopped: mostly by less than 400 milliseconds, sometimes
    /// by up to 10 or 90 seconds. Blocks the thread.
    pub fn step(&self, random: &mut Random) {
        let by = match random.below(100) {
            0 => 30_000 + random.below(60_000),
            1..8 => 1_000 + random.below(9_000),
            _ => random.below(400),
        };
        let _guard = self.movement.blocking_write();
        self.now.fetch_add(by as u64, Ordering::SeqCst);
    }
}
