//! How much memory and disk space the store takes, and whether that stays flat.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use indicatif::{BinaryBytes, HumanCount};
use serde_json::json;
use wasi_sessions::Sessions;

use crate::ending::No;
use crate::memory::resident;
use crate::output::{Output, milliseconds};

/// The number of lines that are printed, and of measurements for each.
const LINES: u32 = 20;
const PER_LINE: u32 = 3;

/// The shortest soak whose growth is judged: caches fill at first.
const SHORTEST: Duration = Duration::from_secs(600);

/// By how many bytes the maximum of the last third of the time may exceed that of the second,
/// however long the soak lasts. The WAL varies by up to 4 MiB between two checkpoints.
const MARGIN: u64 = 4 << 20;
const DATABASE_MARGIN: u64 = 512 << 10;

/// One kind of measurement, in bytes.
struct Gauge {
    name: &'static str,
    margin: u64,
    /// Empty if this system cannot measure it.
    measured: Vec<u64>,
}

/// The measurements of a soak.
pub struct Gauges {
    started: Instant,
    duration: Duration,
    database: PathBuf,
    /// How often everything was measured.
    number: u32,
    all: [Gauge; 3],
}

impl Gauge {
    fn new(name: &'static str, margin: u64) -> Self {
        Self {
            name,
            margin,
            measured: Vec::new(),
        }
    }

    /// The maximum in the second third of the time, and in the last.
    fn most(&self) -> (u64, u64) {
        let (from, to) = (self.measured.len() / 3, self.measured.len() * 2 / 3);
        let most = |of: &[u64]| of.iter().copied().max().unwrap_or_default();
        (most(&self.measured[from..to]), most(&self.measured[to..]))
    }

    /// Whether it has grown by no more than is allowed.
    fn is_flat(&self) -> bool {
        let (second, last) = self.most();
        last <= second + self.margin
    }
}

impl Gauges {
    /// The gauges of a soak that starts now, on this database.
    pub fn start(duration: Duration, database: PathBuf) -> Self {
        Self {
            started: Instant::now(),
            duration,
            database,
            number: 0,
            all: [
                Gauge::new("memory", MARGIN),
                Gauge::new("database", DATABASE_MARGIN),
                Gauge::new("WAL", MARGIN),
            ],
        }
    }

    /// When to measure next.
    pub fn next(&self) -> Instant {
        self.started + self.duration * (self.number + 1) / (LINES * PER_LINE)
    }

    /// When the soak ends.
    pub fn end(&self) -> Instant {
        self.started + self.duration
    }

    /// Measures, and prints a line now and then.
    pub fn measure(
        &mut self,
        sessions: &Sessions,
        operations: u64,
        output: &mut Output,
    ) -> anyhow::Result<()> {
        let size = |file: PathBuf| fs::metadata(file).map_or(0, |file| file.len());
        let mut wal = self.database.clone().into_os_string();
        wal.push("-wal");
        let (memory, database, wal) = (resident(), size(self.database.clone()), size(wal.into()));
        let now = [memory, Some(database), Some(wal)];
        for (gauge, now) in self.all.iter_mut().zip(now) {
            gauge.measured.extend(now);
        }
        self.number += 1;
        if !self.number.is_multiple_of(PER_LINE) {
            return Ok(());
        }
        let stats = sessions.stats().wait().context("stats")?;
        let took = self.started.elapsed();
        if self.number == PER_LINE && !output.json {
            output.line(format_args!(
                "{:>8}  {:>12}  {:>7}  {:>7}  {:>10}  {:>10}  {:>10}",
                "SECONDS", "OPERATIONS", "LIVE", "EXPIRED", "MEMORY", "DATABASE", "WAL"
            ))?;
        }
        let json = json!({
            "milliseconds": milliseconds(took),
            "operations": operations,
            "live": stats.live,
            "expired": stats.expired,
            "memory": memory,
            "database": database,
            "wal": wal,
        });
        let human = format!(
            "{:>8.1}  {:>12}  {:>7}  {:>7}  {:>10}  {:>10}  {:>10}",
            took.as_secs_f64(),
            HumanCount(operations).to_string(),
            stats.live,
            stats.expired,
            memory.map_or("-".to_owned(), |memory| BinaryBytes(memory).to_string()),
            BinaryBytes(database).to_string(),
            BinaryBytes(wal).to_string(),
        );
        output.result(json, human)?;
        Ok(output.flush()?)
    }

    /// Prints the result of the soak; fails if memory or a file did not stay flat.
    pub fn judge(&self, operations: u64, output: &mut Output) -> anyhow::Result<()> {
        let is_judged = self.duration >= SHORTEST;
        let grown: Vec<_> = self.all.iter().filter(|gauge| !gauge.is_flat()).collect();
        let is_flat = is_judged.then_some(grown.is_empty());
        let gauges = match self.all[0].measured.is_empty() {
            true => "database and WAL (memory is not measured here)",
            false => "memory, database and WAL",
        };
        let verdict = match is_flat {
            Some(true) => format!("{gauges} stayed flat"),
            Some(false) => format!("of {gauges} not all stayed flat"),
            None => format!("too short to say whether {gauges} stay flat"),
        };
        let count = HumanCount(operations);
        output.result(
            json!({ "operations": operations, "flat": is_flat }),
            format_args!("{count} operations, all as expected; {verdict}"),
        )?;
        if is_flat != Some(false) {
            return Ok(());
        }
        let grown = grown.into_iter().map(|gauge| {
            let (second, last) = gauge.most();
            let (second, last) = (BinaryBytes(second), BinaryBytes(last));
            format!("{} grew from {second} to {last}", gauge.name)
        });
        bail!(No(grown.collect::<Vec<_>>().join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_flat(measured: impl Iterator<Item = u64>) -> bool {
        let mut gauge = Gauge::new("memory", MARGIN);
        gauge.measured = measured.collect();
        gauge.is_flat()
    }

    #[test]
    fn what_grows_all_the_time_is_not_flat_and_noise_is() {
        const MIB: u64 = 1 << 20;
        assert!(is_flat((0..60).map(|_| 100 * MIB)));
        assert!(is_flat((0..60).map(|at| (100 + at * 7919 % 5) * MIB)));
        // A cache that fills at first.
        assert!(is_flat((0..60).map(|at| (100 + at.min(20) * 5) * MIB)));
        // From 35 to 50 MiB.
        assert!(!is_flat((0..60).map(|at| 35 * MIB + at * MIB / 4)));
        assert!(is_flat([].into_iter()));
    }
}
