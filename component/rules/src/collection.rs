//! When requests carry a collection, and how much of it.

use crate::options::Options;
use crate::types::Collected;

/// What one open store counts towards its collections.
#[derive(Default)]
pub struct Collection {
    /// Requests since the last complete collection.
    pub requests: u64,
    /// Rows collected since the store was opened.
    pub collected: u64,
}

impl Collection {
    /// Notes what a step has done.
    pub fn note(&mut self, step: &Collected) {
        self.collected += step.removed;
        if !step.more {
            self.requests = 0;
        }
    }
}

/// How many rows to collect after `requests` requests that pay for the step, if at
/// least `gcFrequency` have been `counted` since the last complete collection. A failed
/// step does not fail the requests; the next request retries.
pub fn step(options: &Options, counted: u64, requests: u64) -> Option<u64> {
    if options.gc_frequency == 0 || counted < options.gc_frequency {
        return None;
    }
    // Each request adds one row at most, so two removals for each let a collection
    // catch up with the requests.
    let most = requests.saturating_mul(options.gc_step);
    Some(options.gc_step.max(requests.saturating_mul(2)).min(most))
}
