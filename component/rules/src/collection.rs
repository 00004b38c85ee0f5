//! When a request runs a collection step, and how large the step is.

use std::time::Duration;

use crate::error::Error;
use crate::options::Options;
use crate::types::Collected;

/// The counters of one open store for its collections.
#[derive(Default)]
pub struct Collection {
    /// Requests since the last complete collection.
    pub requests: u64,
    /// Rows collected since the store was opened.
    pub collected: u64,
}

impl Collection {
    /// Adds the result of a step; resets the requests if nothing is left to collect.
    pub fn note(&mut self, step: &Collected) {
        self.collected += step.removed;
        if !step.more {
            self.requests = 0;
        }
    }
}

/// The row limit of the collection step that follows `requests` requests. `None` if
/// `gcFrequency` is 0, or if fewer than `gcFrequency` requests have been `counted` since the
/// last complete collection.
pub fn step(options: &Options, counted: u64, requests: u64) -> Option<u64> {
    if options.gc_frequency == 0 || counted < options.gc_frequency {
        return None;
    }
    // Each request adds at most one row, so removing two for each lets a collection
    // catch up. At most `gcStep` for each request.
    let most = requests.saturating_mul(options.gc_step);
    Some(options.gc_step.max(requests.saturating_mul(2)).min(most))
}

/// The most time that a collection step adds to the request that it follows, in a database on
/// a server.
const LONGEST_STEP: Duration = Duration::from_secs(1);

/// The time for a collection step that follows a request, in a database on a server.
pub fn time(options: &Options) -> Duration {
    Duration::from_millis(options.sync_timeout).min(LONGEST_STEP)
}

/// The most rows that one transaction removes or defers in a database on a server, which
/// others use at the same time.
const CHUNK: u64 = 1000;

/// By how much the number of deferred rows may exceed the limit; otherwise a collection with
/// a small limit would hardly advance past renewed rows.
const EXTRA_DEFERRALS: u64 = 16;

/// What one transaction of a collection did.
pub struct Chunk {
    /// Expired rows removed.
    pub removed: u64,
    /// Renewed rows deferred.
    pub deferred: u64,
    /// Whether more rows are due.
    pub more: bool,
}

/// Removes at most `limit` expired rows, and defers about as many renewed ones, in
/// transactions of a limited number of rows. If one fails after rows were removed, its error
/// is dropped and the result so far is returned.
pub fn in_chunks(
    limit: u64,
    mut transaction: impl FnMut(u64) -> Result<Chunk, Error>,
) -> Result<Collected, Error> {
    let mut deferred = 0;
    let mut collected = Collected {
        removed: 0,
        more: true,
    };
    while collected.more
        && collected.removed < limit
        && deferred < limit.saturating_add(EXTRA_DEFERRALS)
    {
        match transaction(CHUNK.min(limit - collected.removed)) {
            Ok(chunk) => {
                collected.removed += chunk.removed;
                collected.more = chunk.more;
                deferred += chunk.deferred;
                if chunk.removed + chunk.deferred == 0 {
                    break;
                }
            }
            Err(error) if collected.removed == 0 => return Err(error),
            Err(_) => break,
        }
    }
    Ok(collected)
}
