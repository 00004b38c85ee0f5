//! Measures both sides in turn, in several rounds, and takes the medians.

use std::time::{Duration, Instant};

use indicatif::ProgressBar;

use super::report::{Details, Sides, Times};
use crate::output::milliseconds;

/// A side's turn with one client.
pub const TURN: Duration = Duration::from_millis(5);

/// Measures both sides in each round, alternately one and the other first, so that other load
/// on the machine affects both alike. Returns the medians.
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
        details: None,
    })
}

/// The median; for an even count, the greater of the two in the middle.
pub fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

/// The measurements of one side.
#[derive(Default)]
pub struct Side {
    /// The time and the operations of this round so far.
    spent: Duration,
    operations: u64,
    /// The average milliseconds of an operation, for each round.
    each: Vec<f64>,
    /// The milliseconds of each operation.
    times: Vec<f32>,
}

impl Side {
    /// Adds a turn: how long it was, and how long each operation took.
    pub fn add(&mut self, turn: Duration, times: impl IntoIterator<Item = Duration>) {
        let before = self.times.len();
        self.times
            .extend(times.into_iter().map(|time| milliseconds(time) as f32));
        self.operations += (self.times.len() - before) as u64;
        self.spent += turn;
    }

    fn end_round(&mut self) {
        self.each
            .push(milliseconds(self.spent) / self.operations as f64);
        (self.spent, self.operations) = (Duration::ZERO, 0);
    }

    fn times(&mut self) -> Times {
        self.times.sort_by(f32::total_cmp);
        let at = |part: f64| f64::from(self.times[((self.times.len() - 1) as f64 * part) as usize]);
        Times {
            median: at(0.5),
            p99: at(0.99),
            longest: at(1.0),
        }
    }
}

/// A result is marked as unsteady if the native side's slowest round took more than this many
/// times as long as its fastest one.
const UNSTEADY: f64 = 2.0;

/// Measures both sides in rounds of many short turns, so that other load on the machine and
/// its disk affects both alike.
pub async fn turns(
    count: u32,
    slice: Duration,
    turn: Duration,
    bar: &ProgressBar,
    mut ours: impl AsyncFnMut(Duration, &mut Side) -> anyhow::Result<()>,
    mut native: impl AsyncFnMut(Duration, &mut Side) -> anyhow::Result<()>,
) -> anyhow::Result<Sides> {
    let turn = turn.min(slice);
    let (mut of_ours, mut of_native) = (Side::default(), Side::default());
    for round in 0..count {
        let mut number = round;
        while of_ours.spent < slice || of_native.spent < slice {
            if number % 2 == 0 {
                ours(turn, &mut of_ours).await?;
                native(turn, &mut of_native).await?;
            } else {
                native(turn, &mut of_native).await?;
                ours(turn, &mut of_ours).await?;
            }
            number += 1;
        }
        of_ours.end_round();
        of_native.end_round();
        bar.inc(1);
    }
    let ratios = of_ours.each.iter().zip(&of_native.each);
    let ratios: Vec<f64> = ratios.map(|(ours, native)| native / ours).collect();
    let (fastest, slowest) = ends(&of_native.each);
    let (lowest, highest) = ends(&ratios);
    Ok(Sides {
        ours: median(of_ours.each.clone()),
        native: median(of_native.each.clone()),
        details: Some(Details {
            ratio: median(ratios),
            lowest,
            highest,
            ours_times: of_ours.times(),
            native_times: of_native.times(),
            unsteady: slowest > fastest * UNSTEADY,
        }),
    })
}

fn ends(numbers: &[f64]) -> (f64, f64) {
    let lowest = numbers.iter().copied().fold(f64::INFINITY, f64::min);
    (lowest, numbers.iter().copied().fold(0.0, f64::max))
}

/// Repeats an operation for at least `turn`, and at least once.
pub async fn repeat(
    turn: Duration,
    side: &mut Side,
    mut operation: impl AsyncFnMut() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let started = Instant::now();
    let mut before = started;
    let mut times = Vec::new();
    loop {
        operation().await?;
        let now = Instant::now();
        times.push(now - before);
        before = now;
        if now - started >= turn {
            side.add(now - started, times);
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_in_the_middle_and_both_sides_are_measured_equally_often() {
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

    #[tokio::test]
    async fn both_sides_take_turns_until_each_had_its_time() {
        let (slice, turn) = (Duration::from_millis(10), Duration::from_millis(4));
        let bar = ProgressBar::hidden();
        let sides = turns(
            3,
            slice,
            turn,
            &bar,
            async |turn, side| {
                side.add(turn, [turn / 4, turn - turn / 4]);
                Ok(())
            },
            async |turn, side| {
                side.add(turn, [turn]);
                Ok(())
            },
        );
        let sides = sides.await.unwrap();
        assert_eq!((sides.ours, sides.native), (2.0, 4.0));
        let details = sides.details.unwrap();
        assert_eq!(
            (details.lowest, details.ratio, details.highest),
            (2.0, 2.0, 2.0)
        );
        let times = details.ours_times;
        assert_eq!((times.median, times.longest), (1.0, 3.0));
        assert!(!details.unsteady);
    }
}
