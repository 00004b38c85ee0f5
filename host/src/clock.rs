//! The wall clock of a store, as the component and its handles read it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use crate::Timestamp;
use crate::builder::Clock;

/// One clock for the component and for what is answered without it.
pub(crate) struct StoreClock {
    clock: Clock,
    told: AtomicU64,
    /// What the component was told first since the moment was forgotten.
    moment: AtomicU64,
}

/// No time at all: a clock stands still long before.
const NONE: u64 = u64::MAX;

impl StoreClock {
    pub(crate) fn new(clock: Clock) -> Arc<Self> {
        Arc::new(Self {
            clock,
            told: AtomicU64::new(0),
            moment: AtomicU64::new(NONE),
        })
    }

    /// The time since 1970, for the component. A clock that stands before 1970
    /// reads as 1970. One past the year 2554 stands still there: SQLite asks through
    /// the C library, which has 64 bits of nanoseconds.
    pub(crate) fn tell(&self) -> Duration {
        let time = self.read();
        let told = milliseconds(time);
        self.told.fetch_max(told, Ordering::SeqCst);
        let _ = self
            .moment
            .compare_exchange(NONE, told, Ordering::SeqCst, Ordering::SeqCst);
        time
    }

    /// To be called before the component is, by who owns it.
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

    /// The earliest time at which a session has to be there still, for anybody
    /// to be told that it is.
    pub(crate) fn now(&self) -> Timestamp {
        milliseconds(self.read()).max(self.told())
    }

    /// The latest time that the component was told. By then it may have collected
    /// what expired, wherever the clock has gone since.
    pub(crate) fn told(&self) -> Timestamp {
        self.told.load(Ordering::SeqCst)
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
