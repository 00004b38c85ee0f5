//! The wall clock of a store, as the component and its handles read it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::Timestamp;
use crate::settings::Clock;
use crate::sync::atomic::{AtomicU64, Ordering};

/// The clock of the component and of answers from memory.
pub(crate) struct StoreClock {
    clock: Clock,
    /// The latest time that the component was given since the clock last went far
    /// back.
    latest: AtomicU64,
    /// The earliest time that the component was given in the current call.
    earliest: AtomicU64,
}

/// A step back by more than this, in milliseconds, means that the clock was wrong before.
/// After a smaller step, `now` stays at the latest time until the clock has caught up, so
/// sessions that expire in between are not answered from memory.
const FAR: u64 = 60_000;

impl StoreClock {
    pub(crate) fn new(clock: Clock) -> Arc<Self> {
        Arc::new(Self {
            clock,
            latest: AtomicU64::new(0),
            earliest: AtomicU64::new(Timestamp::MAX),
        })
    }

    /// Reads the clock for the component, and records the time, which counts from 1970. It
    /// is clamped to the years 1970 to 2554, because SQLite reads it through the C library,
    /// which has 64 bits of nanoseconds.
    pub(crate) fn tell(&self) -> Duration {
        let time = self.read();
        let now = milliseconds(time);
        self.earliest.fetch_min(now, Ordering::SeqCst);
        self.latest.fetch_max(now, Ordering::SeqCst);
        time
    }

    /// Starts a new call: the owner calls this before it calls the component.
    pub(crate) fn start_call(&self) {
        self.earliest.store(Timestamp::MAX, Ordering::SeqCst);
    }

    /// The earliest time that the component was given in the last call.
    pub(crate) fn earliest(&self) -> Timestamp {
        self.earliest.load(Ordering::SeqCst)
    }

    /// The clock's time now, to compute a `ttl` from a point in time.
    #[cfg(feature = "tower-sessions")]
    pub(crate) fn shown(&self) -> Timestamp {
        milliseconds(self.read())
    }

    /// The time to compare `expires` with for an answer from memory: never earlier
    /// than `latest`.
    pub(crate) fn now(&self) -> Timestamp {
        milliseconds(self.read()).max(self.latest())
    }

    /// The latest time that the component was given since the clock last went far
    /// back. Sessions that expired by then may have been collected, whatever the
    /// clock shows.
    pub(crate) fn latest(&self) -> Timestamp {
        self.latest.load(Ordering::SeqCst)
    }

    /// Whether a time of the last call was far before the latest one. If so, the owner
    /// clears the cache and then calls `accept_call`.
    pub(crate) fn went_far_back(&self) -> bool {
        self.latest().saturating_sub(self.earliest()) > FAR
    }

    /// Makes the earliest time of the last call the latest one.
    pub(crate) fn accept_call(&self) {
        self.latest.store(self.earliest(), Ordering::SeqCst);
    }

    fn read(&self) -> Duration {
        (self.clock)()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default()
            .min(Duration::from_nanos(u64::MAX))
    }
}

/// Whole milliseconds, rounded down as in the component.
fn milliseconds(time: Duration) -> Timestamp {
    time.as_millis().try_into().unwrap_or(Timestamp::MAX)
}
