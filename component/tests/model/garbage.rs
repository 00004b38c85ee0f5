//! When a collection may and must be active, as far as it can be observed. After it has
//! removed the last row it may still give pages back, which cannot be observed.

/// Models the counting of requests for `gcFrequency`.
pub struct Garbage {
    frequency: u64,
    step: u64,
    /// At least this many requests were counted.
    least: u64,
    /// At most this many requests were counted.
    most: u64,
    /// The collection that removed the last row may still be active.
    winding_up: bool,
}

impl Garbage {
    pub fn new(frequency: u64, step: u64) -> Garbage {
        Garbage {
            frequency,
            step,
            least: 0,
            most: 0,
            winding_up: false,
        }
    }

    /// Counts a call with `requests` requests, of which `least` to `most` count, and checks
    /// that the right number of the `expired` rows was removed: a step, or two rows for each
    /// request if that is more, but at most a step for each.
    pub fn carried(&mut self, requests: u64, least: u64, most: u64, expired: u64, removed: u64) {
        self.most += most;
        if !self.winding_up {
            self.least += least;
        }
        let never = self.frequency == 0;
        let must = !never && !self.winding_up && self.least >= self.frequency;
        let may = !never && (self.winding_up || self.most >= self.frequency);
        let limit = self.step.max(2 * requests).min(self.step * requests);
        let step = expired.min(limit);
        let allowed = match (must, may) {
            (true, _) => removed == step,
            (false, true) => removed == step || removed == 0,
            (false, false) => removed == 0,
        };
        assert!(allowed, "removed {removed} of {expired} rows");
        if expired > removed && removed > 0 {
            self.goes_on();
        } else if must || removed > 0 {
            self.may_be_over();
        } else if may && expired > 0 {
            // The collection was over before this call.
            self.winding_up = false;
            self.least = least;
            self.most = self.most.min(self.frequency - 1);
        } else if may {
            self.may_be_over();
        }
    }

    /// Records that the collection is known to be over.
    pub fn is_over(&mut self) {
        self.least = 0;
        self.most = 0;
        self.winding_up = false;
    }

    fn goes_on(&mut self) {
        self.least = self.frequency;
        self.most = self.frequency;
        self.winding_up = false;
    }

    fn may_be_over(&mut self) {
        self.least = 0;
        self.winding_up = true;
    }
}
