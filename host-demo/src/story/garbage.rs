//! Time passes: expired sessions are invisible at once and collected in steps, and their
//! space is freed.

use std::fs;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, ProgressBar};
use wasi_sessions::Sessions;

use super::fill::{expected, is_short};
use super::telling::{Phase, bar};
use super::{Time, in_parallel};
use crate::arguments::Scale;
use crate::database::Database;
use crate::output::count;

const HOUR: u64 = 60 * 60 * 1000;

/// The maximum number of rows that one step of the collection removes.
const STEP: u32 = 100;

const READERS: usize = 2;

/// So few rows that their collection may free no page.
const FEW: u64 = 200;

/// Moves time forward, so that every second session expires.
pub fn expire(
    sessions: &Sessions,
    ids: &[String],
    time: &Time,
    phase: &mut Phase,
) -> anyhow::Result<()> {
    let expired = (0..ids.len()).filter(|number| is_short(*number)).count() as u64;
    let before = sessions.count_sessions(None).wait()?;
    time.advance(HOUR);
    let after = sessions.count_sessions(None).wait()?;
    phase.equal(
        "every second session is no longer counted",
        after,
        before.saturating_sub(expired),
    );

    let bar = bar(ids.len() as u64);
    let (lost, found) = phase.time(|| {
        let (mut lost, mut found) = (0, 0);
        for (number, id) in ids.iter().enumerate() {
            match sessions.get(id).wait()? {
                Some(_) if is_short(number) => found += 1,
                None if !is_short(number) => lost += 1,
                _ => {}
            }
            bar.inc(1);
        }
        Ok(((lost, found), ids.len() as u64))
    })?;
    phase.equal("none of them is found by its id", found, 0);
    phase.equal("none of the others is lost", lost, 0);
    Ok(())
}

/// Collects in steps, while other threads read the live sessions.
pub fn collect(
    sessions: &Sessions,
    ids: &[String],
    scale: &Scale,
    phase: &mut Phase,
) -> anyhow::Result<()> {
    let waiting = sessions.stats().wait()?.expired;
    let bar = bar(waiting);
    let collected = AtomicBool::new(false);
    let (steps, readings) = phase.time(|| {
        let (steps, readings) = thread::scope(|scope| {
            let readers = scope.spawn(|| {
                in_parallel(READERS, |reader| {
                    keep_reading(sessions, ids, scale, reader, &collected)
                })
            });
            let steps = collect_all(sessions, &bar);
            // The readers stop even if the collection failed.
            collected.store(true, Ordering::Relaxed);
            (
                steps,
                readers.join().unwrap_or_else(|panic| resume_unwind(panic)),
            )
        });
        let (steps, readings) = (steps?, readings?);
        let operations = steps.len() as u64;
        Ok(((steps, readings), operations))
    })?;

    let removed: u64 = steps.iter().map(|step| step.removed).sum();
    let slowest = steps.iter().map(|step| step.took).max().unwrap_or_default();
    phase.note(format!(
        "{} in {} of at most {STEP}, the slowest {slowest:.1?}",
        count(removed, "row"),
        count(steps.len() as u64, "step"),
    ));
    phase.equal("all that had expired is removed", removed, waiting);
    phase.equal(
        "nothing is left to collect",
        sessions.stats().wait()?.expired,
        0,
    );
    phase.holds(
        "no step removes more than it may",
        steps.iter().all(|step| step.removed <= STEP.into()),
    );

    let reads: u64 = readings.iter().map(|reading| reading.reads).sum();
    let wrong: u64 = readings.iter().map(|reading| reading.wrong).sum();
    let slowest = readings.iter().map(|reading| reading.slowest).max();
    phase.note(format!(
        "{} meanwhile by {READERS} threads, the slowest {:.1?}",
        count(reads, "read"),
        slowest.unwrap_or_default(),
    ));
    phase.equal("the others read what was written", wrong, 0);
    Ok(())
}

struct Step {
    removed: u64,
    took: Duration,
}

fn collect_all(sessions: &Sessions, bar: &ProgressBar) -> anyhow::Result<Vec<Step>> {
    let mut steps = Vec::new();
    loop {
        let started = Instant::now();
        let collected = sessions.collect(STEP).wait()?;
        steps.push(Step {
            removed: collected.removed,
            took: started.elapsed(),
        });
        bar.inc(collected.removed);
        if !collected.more {
            return Ok(steps);
        }
    }
}

#[derive(Default)]
struct Reading {
    reads: u64,
    wrong: u64,
    slowest: Duration,
}

/// Reads the live sessions, over and over, until the collection is done.
fn keep_reading(
    sessions: &Sessions,
    ids: &[String],
    scale: &Scale,
    reader: usize,
    collected: &AtomicBool,
) -> anyhow::Result<Reading> {
    let mut reading = Reading::default();
    let live = (0..ids.len()).filter(|number| !is_short(*number));
    for number in live.cycle().skip(reader) {
        let started = Instant::now();
        let session = sessions.get(&ids[number]).wait()?;
        reading.slowest = reading.slowest.max(started.elapsed());
        reading.reads += 1;
        let right =
            session.is_some_and(|session| session.data == expected(number, scale).as_bytes());
        reading.wrong += u64::from(!right);
        if collected.load(Ordering::Relaxed) {
            break;
        }
    }
    Ok(reading)
}

/// The size of the database, in bytes.
pub struct Space {
    /// Rows waiting for collection.
    expired: u64,
    /// The size that the store reports.
    stored: u64,
    /// The length of the database's file.
    file: u64,
    /// The length of the WAL beside it; 0 if there is none.
    log: u64,
}

impl Space {
    /// Asks the store and the file system.
    pub fn measure(sessions: &Sessions, database: &Database) -> anyhow::Result<Self> {
        let stats = sessions.stats().wait()?;
        let mut log = database.path().into_os_string();
        log.push("-wal");
        Ok(Self {
            expired: stats.expired,
            stored: stats.size,
            file: fs::metadata(database.path())?.len(),
            log: fs::metadata(log).map_or(0, |log| log.len()),
        })
    }

    fn note(&self, when: &str) -> String {
        format!(
            "{when}: {} in the file, {} in its log",
            HumanBytes(self.file),
            HumanBytes(self.log)
        )
    }
}

/// Compares the database's size now with its size before the collection.
pub fn shrink(
    sessions: &Sessions,
    database: &Database,
    before: &Space,
    phase: &mut Phase,
) -> anyhow::Result<()> {
    let after = phase.time(|| Ok((Space::measure(sessions, database)?, 1)))?;
    phase.note(before.note("before"));
    phase.note(after.note("after"));
    if before.expired < FEW {
        phase.note("too few sessions have expired to free whole pages");
        return Ok(());
    }
    phase.holds("the database is smaller", after.stored < before.stored);
    phase.holds(
        "so is its size on disk",
        after.file + after.log < before.file + before.log,
    );
    phase.equal(
        "the file is as long as the database",
        after.file,
        after.stored,
    );
    Ok(())
}
