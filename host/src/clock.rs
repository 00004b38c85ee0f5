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
}

impl StoreClock {
    pub(crate) fn new(clock: Clock) -> Arc<Self> {
        Arc::new(Self {
            clock,
            told: AtomicU64::new(0),
        })
    }

    /// The time since 1970, for the component. A clock that stands before 1970
    /// reads as 1970. One past the year 2554 stands still there: the component's
    /// C library has 64 bits of nanoseconds.
    pub(crate) fn tell(&self) -> Duration {
        let time = self.read();
        self.told.fetch_max(milliseconds(time), Ordering::SeqCst);
        time
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
