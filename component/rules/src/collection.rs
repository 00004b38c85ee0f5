//! When a request runs a collection step, and how large the step is.

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

/// The row limit of the collection step that follows `requests` requests; `None` if no
/// step is due, because fewer than `gcFrequency` requests have been `counted` since the
/// last complete collection.
pub fn step(options: &Options, counted: u64, requests: u64) -> Option<u64> {
    if options.gc_frequency == 0 || counted < options.gc_frequency {
        return None;
    }
    // Each request adds at most one row, so removing two for each lets a collection
    // catch up.
    let most = requests.saturating_mul(options.gc_step);
    Some(options.gc_step.max(requests.saturating_mul(2)).min(most))
}
