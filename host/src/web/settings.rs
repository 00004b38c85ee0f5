//! The settings of a [`Server`](super::Server), with its time-outs and limits.

use std::path::PathBuf;
use std::time::Duration;

use tokio::time::Instant;

use crate::Stores;

/// The maximum length of a request's head, in bytes; a longer one is answered with 431.
pub(super) const HEAD_LIMIT: usize = 64 << 10;

/// Thirty years, which can be added to any instant without overflow.
const FAR: Duration = Duration::from_secs(30 * 365 * 86_400);

/// The settings, each described at the method of [`Server`](super::Server) that
/// changes it.
pub(super) struct Settings {
    pub(super) stores: Stores,
    pub(super) admin: bool,
    pub(super) environment: Vec<(String, String)>,
    pub(super) time_outs: TimeOuts,
    pub(super) connection_limit: usize,
    pub(super) instance_limit: u32,
    pub(super) requests_per_instance: u32,
    pub(super) body_limit: u64,
    pub(super) memory_limit: usize,
    pub(super) cache_directory: Option<PathBuf>,
}

impl Settings {
    /// The defaults, with these stores.
    pub(super) fn new(stores: Stores) -> Self {
        Self {
            stores,
            admin: false,
            environment: Vec::new(),
            time_outs: TimeOuts::default(),
            connection_limit: 1024,
            instance_limit: 256,
            requests_per_instance: 1,
            body_limit: 1 << 20,
            memory_limit: 64 << 20,
            cache_directory: None,
        }
    }
}

/// The time-outs, each described at the method of [`Server`](super::Server) that changes it.
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

impl TimeOuts {
    /// The name of a time-out that is 0, if there is one.
    pub(super) fn zero(&self) -> Option<&'static str> {
        let all = [
            ("time_out", self.request),
            ("head_time_out", self.head),
            ("idle_time_out", self.idle),
            ("body_time_out", self.body),
        ];
        let zero = all.into_iter().find(|(_, time)| time.is_zero());
        zero.map(|(name, _)| name)
    }
}

/// The instant `time` from now, or [`FAR`] from now if that overflows.
pub(super) fn after(time: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(time).unwrap_or(now + FAR)
}
