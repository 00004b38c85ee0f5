//! How often the operator's token may be tried, on the whole site: some times at
//! once, and then once for each [`INTERVAL`] that has passed (a leaky bucket).
//!
//! A site that runs behind any number of proxies cannot tell one client from
//! another, so the limit is for all together. Who tries without pause takes the
//! tries of the operator, too, but no longer than for as long as they go on: one
//! interval later there is a try again. An operator who showed the token before
//! stays one. A limit for each address is the matter of a proxy in front.

/// Tries that can be made at once, after a while without any.
pub const BURST: u64 = 10;

/// Milliseconds after which there is another try.
pub const INTERVAL: u64 = 1000;

/// Milliseconds after which all tries are there again, and nothing need be known
/// of the earlier ones.
pub const MEMORY: u64 = BURST * INTERVAL;

/// Takes a try at the moment `now`, in milliseconds. `full` is when all tries are
/// there again, 0 at first; the `full` after this try, or `None` when there is
/// none left.
pub fn take(full: u64, now: u64) -> Option<u64> {
    // Later than any try could have made it: the clock was ahead, once.
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

    /// The tries that can be made at a moment, and what is known afterwards.
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
    fn a_clock_that_steps_back_makes_nobody_wait_for_long() {
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
