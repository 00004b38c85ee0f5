//! The clock of the soak, which moves in random steps, and the times that it showed during a
//! request.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::random::Random;

/// How far the clock may be behind the latest time that it showed, in milliseconds.
pub const FARTHEST_BACK: u64 = 2_000;

/// How many steps are remembered: more than can be made during one request.
const REMEMBERED: usize = 10_000;

/// A clock that moves only with [`Clock::step`], which may be called while requests run.
pub struct Clock(Mutex<Hands>);

struct Hands {
    /// The time after each of the last steps; the present time is the last.
    shown: VecDeque<u64>,
    /// The number of older steps, which are no longer in `shown`.
    forgotten: u64,
    /// The latest time that the clock ever showed.
    highest: u64,
}

/// The times, in milliseconds since 1970, that the clock showed during a request.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// The earliest and the latest of these times.
    pub shown: Span,
    /// The latest time that the clock ever showed. A session that expired before it may have
    /// been collected, even if the clock has gone back since.
    pub highest: u64,
}

/// A number of which only the bounds are known.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// The least that it can be.
    pub least: u64,
    /// The most that it can be.
    pub most: u64,
}

impl Clock {
    /// A clock that shows the present time.
    pub fn start() -> Self {
        let now = UNIX_EPOCH.elapsed().unwrap_or_default().as_millis() as u64;
        Self(Mutex::new(Hands {
            shown: VecDeque::from([now]),
            forgotten: 0,
            highest: now,
        }))
    }

    /// What the clock shows.
    pub fn now(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.hands().now())
    }

    /// Moves the clock: mostly by less than 400 milliseconds, sometimes by up to 10 or 90
    /// seconds, and sometimes back.
    pub fn step(&self, random: &mut Random) {
        let mut hands = self.hands();
        let now = hands.now();
        let next = match random.below(100) {
            0 => now + 30_000 + random.below(60_000) as u64,
            1..8 => now + 1_000 + random.below(9_000) as u64,
            8 => {
                let back = now.saturating_sub(random.below(FARTHEST_BACK as usize) as u64);
                back.max(hands.highest.saturating_sub(FARTHEST_BACK))
            }
            _ => now + random.below(400) as u64,
        };
        hands.highest = hands.highest.max(next);
        hands.shown.push_back(next);
        if hands.shown.len() > REMEMBERED {
            hands.shown.pop_front();
            hands.forgotten += 1;
        }
    }

    /// The number of the present step: called before a request, for [`Clock::since`].
    pub fn begin(&self) -> u64 {
        let hands = self.hands();
        hands.forgotten + hands.shown.len() as u64 - 1
    }

    /// The times that the clock has shown since the step `begun`.
    pub fn since(&self, begun: u64) -> Moment {
        let hands = self.hands();
        let first = begun.saturating_sub(hands.forgotten) as usize;
        let mut shown = Span::exactly(hands.now());
        for time in hands.shown.range(first..) {
            shown.least = shown.least.min(*time);
            shown.most = shown.most.max(*time);
        }
        Moment {
            shown,
            highest: hands.highest,
        }
    }

    fn hands(&self) -> MutexGuard<'_, Hands> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hands {
    fn now(&self) -> u64 {
        self.shown.back().copied().unwrap_or_default()
    }
}

impl Moment {
    /// Whether a session or a tombstone that expires at `end` is there.
    pub fn is_before(self, end: Span) -> Presence {
        if end.least > self.highest {
            Presence::Yes
        } else if end.most <= self.shown.least {
            Presence::No
        } else {
            Presence::Maybe
        }
    }
}

/// Whether a session or a tombstone is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// Certainly.
    Yes,
    /// Certainly not.
    No,
    /// Unknown: it expires at about the time of the request.
    Maybe,
}

impl Span {
    /// A number that is known.
    pub fn exactly(number: u64) -> Self {
        Self {
            least: number,
            most: number,
        }
    }

    /// Whether the number can be this one.
    pub fn has(self, number: u64) -> bool {
        (self.least..=self.most).contains(&number)
    }

    /// The smaller of the two numbers.
    pub fn min(self, other: Self) -> Self {
        Self {
            least: self.least.min(other.least),
            most: self.most.min(other.most),
        }
    }

    /// This number, or an earlier one down to the least of `other`.
    pub fn or_earlier(self, other: Self) -> Self {
        Self {
            least: self.least.min(other.least),
            most: self.most,
        }
    }
}

/// The sum of this number and a known one.
impl std::ops::Add<u64> for Span {
    type Output = Self;

    fn add(self, other: u64) -> Self {
        Self {
            least: self.least + other,
            most: self.most + other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_has_all_times_that_were_shown_meanwhile() {
        let (clock, mut random) = (Clock::start(), Random::new(1));
        let mut before = clock.hands().now();
        for _ in 0..3 * REMEMBERED {
            let begun = clock.begin();
            clock.step(&mut random);
            let now = clock.hands().now();
            let moment = clock.since(begun);
            assert!(moment.shown.has(before) && moment.shown.has(now));
            assert!(moment.highest <= now + FARTHEST_BACK);
            before = now;
        }
    }

    #[test]
    fn what_ends_about_now_may_be_there() {
        let shown = Span {
            least: 10,
            most: 20,
        };
        let moment = Moment { shown, highest: 30 };
        let presence = |end| moment.is_before(Span::exactly(end));
        assert_eq!(presence(31), Presence::Yes);
        assert_eq!(presence(30), Presence::Maybe);
        assert_eq!(presence(11), Presence::Maybe);
        assert_eq!(presence(10), Presence::No);
    }
}
