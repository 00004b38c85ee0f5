//! The wall clock of a store, as the component and its handles read it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use crate::Timestamp;
use crate::settings::Clock;

/// One clock for the component and for what is answered without it.
pub(crate) struct StoreClock {
    clock: Clock,
    /// The latest time of a call of the component since the clock last went far
    /// back.
    latest: AtomicU64,
    /// The first time that the component read since `forget_moment`.
    moment: AtomicU64,
}

/// No time at all: a clock stands still long before.
const NONE: u64 = u64::MAX;

/// A step back by more than this, in milliseconds, means that the clock was wrong
/// before. After a smaller step, sessions that expire within the step are not
/// answered from memory until the clock has caught up.
const FAR: u64 = 60_000;

impl StoreClock {
    pub(crate) fn new(clock: Clock) -> Arc<Self> {
        Arc::new(Self {
            clock,
            latest: AtomicU64::new(0),
            moment: AtomicU64::new(NONE),
        })
    }

    /// The time since 1970, for the component. A clock that stands before 1970
    /// reads as 1970. One past the year 2554 stands still there: SQLite asks through
    /// the C library, which has 64 bits of nanoseconds.
    pub(crate) fn tell(&self) -> Duration {
        let time = self.read();
        let now = milliseconds(time);
        let first = self
            .moment
            .compare_exchange(NONE, now, Ordering::SeqCst, Ordering::SeqCst);
        if first.is_ok() {
            self.latest.fetch_max(now, Ordering::SeqCst);
        }
        time
    }

    /// Starts a new call: the owner calls this before it calls the component.
    pub(crate) fn forget_moment(&self) {
        self.moment.store(NONE, Ordering::SeqCst);
    }

    /// The moment of the last call: the component asks for the time first, and
    /// SQLite may ask again.
    pub(crate) fn moment(&self) -> Timestamp {
        self.moment.load(Ordering::SeqCst)
    }

    /// What the clock shows now, to compute what the component is told next.
    #[cfg(feature = "tower-sessions")]
    pub(crate) fn shown(&self) -> Timestamp {
        milliseconds(self.read())
    }

    /// The time to compare `expires` with for an answer from memory: never earlier
    /// than `latest`.
    pub(crate) fn now(&self) -> Timestamp {
        milliseconds(self.read()).max(self.latest())
    }

    /// The latest time of a call of the component since the clock last went far
    /// back. Sessions that expired by then may have been collected, whatever the
    /// clock shows.
    pub(crate) fn latest(&self) -> Timestamp {
        self.latest.load(Ordering::SeqCst)
    }

    /// Whether the time of the last call was far before that of an earlier call. If
    /// so, the owner has the cache forget everything, and then calls
    /// `accept_moment`.
    pub(crate) fn went_far_back(&self) -> bool {
        self.latest().saturating_sub(self.moment()) > FAR
    }

    /// Makes the time of the last call the latest one.
    pub(crate) fn accept_moment(&self) {
        self.latest.store(self.moment(), Ordering::SeqCst);
    }

    fn read(&self) -> Duration {
        (self.clock)()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default()
            .min(Duration::from_nanos(u64::MAX))
    }
}

/// Whole milliseconds, cut off as the component does.
fn milliseconds(time: Duration) -> Timestamp {
    time.as_millis().try_into().unwrap_or(Timestamp::MAX)
}
