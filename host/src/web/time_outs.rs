//! The time-outs of clients.

use std::time::Duration;

use tokio::time::Instant;

/// Thirty years, which can be added to every clock without overflow.
const FAR: Duration = Duration::from_secs(30 * 365 * 86_400);

/// The time-outs, each described at the method of [`Server`](super::Server) that
/// sets it.
#[derive(Clone, Copy)]
pub(super) struct TimeOuts {
    pub(super) request: Duration,
    pub(super) head: Duration,
    pub(super) idle: Duration,
    pub(super) body: Duration,
}

impl Default for TimeOuts {
    fn default() -> Self {
        Self {
            request: Duration::from_secs(30),
            head: Duration::from_secs(10),
            idle: Duration::from_secs(60),
            body: Duration::from_secs(10),
        }
    }
}

/// The moment `time` from now, at most decades away.
pub(super) fn after(time: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(time).unwrap_or(now + FAR)
}
