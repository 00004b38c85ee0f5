//! A rate limit for tries of the operator's token, shared by the whole site: a leaky
//! bucket of [`BURST`] tries, with one more for each [`INTERVAL`].
//!
//! A site behind proxies cannot distinguish its clients, so all share the limit. A client
//! that tries without pause also uses up the operator's tries, but only while it goes on:
//! one interval later there is a try again. An operator whose session has been accepted is
//! not affected. A proxy in front can limit each address.

#![forbid(unsafe_code)]

/// The most tries that are available, after a pause.
pub const BURST: u64 = 10;

/// The milliseconds after which one more try is available.
pub const INTERVAL: u64 = 1000;

/// The milliseconds after which all tries are available again, and so how long the state
/// has to be kept.
pub const MEMORY: u64 = BURST * INTERVAL;

/// Takes a try at the time `now`, in milliseconds. `full` is the time at which all tries
/// are available again, initially 0. Returns the new `full`, or `None` when no try is
/// left.
pub fn take(full: u64, now: u64) -> Option<u64> {
    // No try sets `full` this late, so it comes from a clock that was ahead.
    let full = if full > now.saturating_add(MEMORY) {
        now
    } else {
        full.max(now)
    };
    let next = full.saturating_add(INTERVAL);
    (next - now <= MEMORY).then_some(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_700_000_000_000;

    /// The number of tries that can be made at `now`, and `full` after them.
    fn exhaust(mut full: u64, now: u64) -> (u64, u64) {
        for tries in 0.. {
            match take(full, now) {
                Some(next) => full = next,
                None => return (tries, full),
            }
        }
        unreachable!()
    }

    #[test]
    fn tries_are_used_up_and_come_back_one_by_one() {
        let (tries, full) = exhaust(0, NOW);
        assert_eq!(tries, BURST);
        assert_eq!(exhaust(full, NOW + INTERVAL - 1).0, 0);
        assert_eq!(exhaust(full, NOW + INTERVAL).0, 1);
        assert_eq!(exhaust(full, NOW + 3 * INTERVAL).0, 3);
        assert_eq!(exhaust(full, NOW + 100 * MEMORY).0, BURST);
    }

    #[test]
    fn a_clock_that_steps_back_keeps_no_operator_waiting_for_long() {
        let (_, full) = exhaust(0, NOW);
        for back in [1, INTERVAL, MEMORY, 86_400_000] {
            assert!(
                take(full, NOW - back + MEMORY + INTERVAL).is_some(),
                "{back}"
            );
        }
        assert_eq!(exhaust(full, NOW - 86_400_000).0, BURST);
        assert_eq!(exhaust(u64::MAX, NOW).0, BURST);
    }
}
