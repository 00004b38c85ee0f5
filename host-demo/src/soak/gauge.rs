//! How much memory and disk space the store takes, and whether that stays flat.

use std::fmt::Display;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::Context;
use indicatif::{BinaryBytes, HumanCount};
use serde_json::json;
use wasi_sessions::Sessions;

use super::store::Store;
use crate::ending::ensure;
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

/// The names of what a line shows, and their widths.
const HEADING: &str = "SECONDS OPERATIONS LIVE EXPIRED MEMORY DATABASE WAL";
const WIDTHS: [usize; 7] = [8, 12, 7, 7, 10, 10, 10];

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
    store: Arc<Store>,
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

    fn growth(&self) -> String {
        let (second, last) = self.most();
        let (second, last) = (BinaryBytes(second), BinaryBytes(last));
        format!("{} grew from {second} to {last}", self.name)
    }
}

impl Gauges {
    /// The gauges of a soak that starts now, on this store.
    pub fn start(duration: Duration, store: &Arc<Store>) -> Self {
        Self {
            started: Instant::now(),
            duration,
            store: store.clone(),
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
    pub fn measure(&mut self, sessions: &Sessions, output: &mut Output) -> anyhow::Result<()> {
        let path = self.store.database.path();
        let mut wal = path.clone().into_os_string();
        wal.push("-wal");
        let size = |file: PathBuf| fs::metadata(file).map_or(0, |file| file.len());
        let (memory, database, wal) = (resident(), size(path), size(wal.into()));
        let now = [memory, Some(database), Some(wal)];
        for (gauge, now) in self.all.iter_mut().zip(now) {
            gauge.measured.extend(now);
        }
        self.number += 1;
        if !self.number.is_multiple_of(PER_LINE) {
            return Ok(());
        }
        let stats = sessions.stats().wait().context("stats")?;
        let (took, operations) = (self.started.elapsed(), self.operations());
        if self.number == PER_LINE && !output.json {
            output.line(line(HEADING.split(' ')))?;
        }
        let bytes = |bytes| BinaryBytes(bytes).to_string();
        let human = line([
            format!("{:.1}", took.as_secs_f64()),
            HumanCount(operations).to_string(),
            stats.live.to_string(),
            stats.expired.to_string(),
            memory.map_or("-".to_owned(), bytes),
            bytes(database),
            bytes(wal),
        ]);
        let json = json!({
            "milliseconds": milliseconds(took),
            "operations": operations,
            "live": stats.live,
            "expired": stats.expired,
            "memory": memory,
            "database": database,
            "wal": wal,
        });
        output.result(json, human)?;
        Ok(output.flush()?)
    }

    fn operations(&self) -> u64 {
        self.store.operations.load(Ordering::Relaxed)
    }

    /// Prints the result of the soak; fails if memory or a file did not stay flat.
    pub fn judge(&self, output: &mut Output) -> anyhow::Result<()> {
        let grown = self.all.iter().filter(|gauge| !gauge.is_flat());
        let grown: Vec<_> = grown.map(Gauge::growth).collect();
        let is_flat = (self.duration >= SHORTEST).then_some(grown.is_empty());
        let gauges = match self.all[0].measured.is_empty() {
            true => "database and WAL (memory is not measured here)",
            false => "memory, database and WAL",
        };
        let verdict = match is_flat {
            Some(true) => format!("{gauges} stayed flat"),
            Some(false) => format!("of {gauges} not all stayed flat"),
            None => format!("too short to say whether {gauges} stay flat"),
        };
        let operations = self.operations();
        let count = HumanCount(operations);
        output.result(
            json!({ "operations": operations, "flat": is_flat }),
            format_args!("{count} operations, all as expected; {verdict}"),
        )?;
        ensure(is_flat != Some(false), &grown.join(", "))
    }
}

/// Aligns the cells of a line to the right.
fn line(cells: impl IntoIterator<Item = impl Display>) -> String {
    let cells = cells.into_iter().zip(WIDTHS);
    let cells = cells.map(|(cell, width)| format!("{cell:>width$}"));
    cells.collect::<Vec<_>>().join("  ")
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
