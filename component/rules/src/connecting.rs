//! What the calls of engines over a network share: the time of each attempt to connect, the
//! clock of this host, leave to migrate, and the pauses between retries.

use std::cell::Cell;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::error::Error;
use crate::id;
use crate::options::Options;
use crate::types::Timestamp;

/// The pause between two attempts to connect.
pub const PAUSE: Duration = Duration::from_millis(50);

/// The most retries of work that conflicts with other writers.
pub const MOST_TRIES: u32 = 100;

/// The time for a migration, which has no limit: a hundred years.
pub const MIGRATING: Duration = Duration::from_secs(100 * 365 * 86_400);

/// Leave to create the table or to migrate it.
#[derive(Clone, Copy)]
pub struct Migration<'a> {
    /// The present time: by this host's clock, and once the server's is known, by that.
    pub now: Timestamp,
    /// Set once there is a table that may be that of koa-generic-session-sequelize. From then
    /// on there is no time limit, neither of the client nor of the server: reading and copying
    /// it takes as long as it is large.
    pub has_begun: &'a Cell<bool>,
}

impl Migration<'_> {
    /// The same, with the time by a server's clock that is ahead by so many milliseconds.
    pub fn by_server_clock(self, clock_offset: i64) -> Self {
        Migration {
            now: self.now.saturating_add_signed(clock_offset),
            ..self
        }
    }
}

/// Refuses options that leave no time for a server.
pub fn check_time(options: &Options) -> Result<(), Error> {
    match options.sync_timeout {
        0 => Err(Error::invalid(
            "options: `syncTimeout` must be at least 1: a server takes time to answer",
        )),
        _ => Ok(()),
    }
}

/// The error of work that may have been done, when the deadline has passed without an answer.
pub fn unanswered() -> Error {
    Error::Other("the server has not answered within `syncTimeout`".into()).with_unknown_outcome()
}

/// The pause before work is run again that has conflicted with other writers so many times:
/// random, and longer with each time; none before the third.
pub fn pause_after(tries: u32) -> Option<Duration> {
    (tries > 2).then(|| {
        let random = id::random::<1>().map_or(1, |[random]| u64::from(random));
        Duration::from_micros(random << tries.min(7))
    })
}

/// The deadline of the next attempt, if `attempts` share the time until `end`.
pub fn share(end: Instant, attempts: usize) -> Instant {
    let now = Instant::now();
    let left = end.saturating_duration_since(now);
    now + left / u32::try_from(attempts).unwrap_or(u32::MAX).max(1)
}

/// The time of this host, in milliseconds: only to measure how far the server's is from it.
pub fn wall_clock() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as i64)
}

/// What to do if TLS fails; `off` is the parameter of a URL that turns it off.
pub fn tls_advice(off: &str) -> String {
    format!(
        "the certificate must lead to a root in `tlsRoots` (else to a public one) and have the \
         host's name; on a trusted network, such as the loopback interface, `{off}` in the URL \
         turns TLS off"
    )
}
