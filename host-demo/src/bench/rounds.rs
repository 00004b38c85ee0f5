//! Rounds: both sides are measured in turn, and the medians are kept.

use std::time::{Duration, Instant};

use indicatif::ProgressBar;

use super::report::Sides;
use crate::output::milliseconds;

/// Operations between two looks at the clock.
const STRIDE: u64 = 8;

/// Measures both sides in each round, the one and the other first in turn, so
/// that whatever else the machine does meets both; the medians.
pub fn rounds(
    count: u32,
    bar: &ProgressBar,
    mut ours: impl FnMut() -> anyhow::Result<f64>,
    mut native: impl FnMut() -> anyhow::Result<f64>,
) -> anyhow::Result<Sides> {
    let (mut of_ours, mut of_native) = (Vec::new(), Vec::new());
    for round in 0..count {
        if round % 2 == 0 {
            of_ours.push(ours()?);
            of_native.push(native()?);
        } else {
            of_native.push(native()?);
            of_ours.push(ours()?);
        }
        bar.inc(1);
    }
    Ok(Sides {
        ours: median(of_ours),
        native: median(of_native),
    })
}

/// The middle one; of an even number, the greater of the two in the middle.
pub fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

/// Repeats an operation for at least `slice`, and at least [`STRIDE`] times;
/// returns the milliseconds that each took.
pub fn repeat(
    slice: Duration,
    mut operation: impl FnMut() -> anyhow::Result<()>,
) -> anyhow::Result<f64> {
    let started = Instant::now();
    let mut operations = 0;
    loop {
        for _ in 0..STRIDE {
            operation()?;
        }
        operations += STRIDE;
        let took = started.elapsed();
        if took >= slice {
            return Ok(each(took, operations));
        }
    }
}

/// The milliseconds that each of `operations` took.
pub fn each(all: Duration, operations: u64) -> f64 {
    milliseconds(all) / operations as f64
}

/// Numbers in no order, the same each time.
pub struct Random(u64);

impl Random {
    /// Another sequence for each seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        ((u128::from(mixed) * bound as u128) >> 64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_in_the_middle_and_both_sides_are_measured_as_often() {
        assert_eq!(median(vec![9.0, 1.0, 5.0]), 5.0);
        let (mut first, mut second) = (0.0, 0.0);
        let sides = rounds(
            5,
            &ProgressBar::hidden(),
            || {
                first += 1.0;
                Ok(first)
            },
            || {
                second -= 1.0;
                Ok(second)
            },
        );
        let sides = sides.unwrap();
        assert_eq!((sides.ours, sides.native), (3.0, -3.0));
    }

    #[test]
    fn random_numbers_are_below_their_bound_and_reach_all_of_it() {
        let mut random = Random::new(0);
        let drawn: Vec<usize> = (0..1_000).map(|_| random.below(10)).collect();
        assert!((0..10).all(|number| drawn.contains(&number)));
        assert!(drawn.iter().all(|number| *number < 10));
    }
}
