//! When a collection may and must be active, as far as it shows from outside: after
//! its last row it may go on to give pages back, which does not show.

/// Follows the counting of requests towards `gcFrequency`.
pub struct Garbage {
    frequency: u64,
    step: u64,
    /// At least so many requests were counted.
    least: u64,
    /// At most so many requests were counted.
    most: u64,
    /// The collection that removed the last row may still be on.
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

    /// Counts `requests` that one call carried, of which `least` to `most`
    /// count, and checks that it removed as many of the `expired` rows as it
    /// should: a step, or two for each if that is more, but no more for each
    /// than a step.
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
            // It was over before this call.
            self.winding_up = false;
            self.least = least;
            self.most = self.most.min(self.frequency - 1);
        } else if may {
            self.may_be_over();
        }
    }

    /// Nothing is left, and that is known.
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
