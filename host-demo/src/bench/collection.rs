//! Measures a collection of half of the sessions, and how long a reader and a writer wait
//! meanwhile.

use std::panic::resume_unwind;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::ensure;
use tokio::runtime::Runtime;
use wasi_sessions::{Durability, Options};

use super::Bench;
use super::held::LIFE;
use super::ours::Client;
use super::population::Population;
use super::report::{Sides, Unit, Workload};
use super::rounds::median;
use super::single::{read, update};
use crate::caller::Caller;
use crate::output::milliseconds;
use crate::random::Random;

/// The sessions are of four kinds, by index. Two kinds expire; one of the others is for the
/// reader and one for the writer, so that each knows the payloads of its sessions.
const KINDS: usize = 4;
const READ: usize = 0;
const WRITTEN: usize = 2;

/// The milliseconds of each collection, and of the longest request of the reader and of the
/// writer meanwhile.
#[derive(Default)]
struct Took {
    total: Vec<f64>,
    reader: Vec<f64>,
    writer: Vec<f64>,
}

/// Measures collections in a store of twenty times the sessions of the plan.
pub fn run(bench: &mut Bench) -> anyhow::Result<()> {
    let count = bench.plan.sessions.saturating_mul(20);
    bench.report.doing("filling the store to collect", 1);
    let life = |index| match index % KINDS {
        READ | WRITTEN => LIFE,
        _ => 1,
    };
    let filled = Population::fill(bench.directory("collect"), bench.plan.native(), count, life)?;
    for caller in Caller::ALL {
        let (mut ours, mut native) = (Took::default(), Took::default());
        for round in 0..bench.plan.rounds {
            let bar = bench.report.doing("collect", bench.plan.rounds.into());
            bar.set_position(round.into());
            let copy = filled.copy(bench.directory("round"))?;
            collect_ours(&bench.runtime, &copy, caller, &mut ours)?;
            collect_native(&bench.runtime, &copy, &mut native)?;
            copy.remove()?;
        }
        let rows = [
            ("collect", ours.total, native.total),
            ("collect: reader stalls", ours.reader, native.reader),
            ("collect: writer stalls", ours.writer, native.writer),
        ];
        for (name, ours, native) in rows {
            let workload = Workload {
                workload: name,
                sessions: count as usize,
                clients: 2,
                caller,
                durability: Some(Durability::Full),
                unit: Unit::Milliseconds,
            };
            let sides = Sides {
                ours: median(ours),
                native: median(native),
                details: None,
            };
            bench.report.row(workload, sides)?;
        }
    }
    filled.remove()
}

fn collect_ours(
    runtime: &Runtime,
    population: &Population,
    caller: Caller,
    took: &mut Took,
) -> anyhow::Result<()> {
    let sessions = population.open_ours(Options {
        gc_frequency: 0,
        ..Options::default()
    })?;
    let held = &population.ours;
    let client = || Client {
        sessions: sessions.clone(),
        caller,
    };
    let (mut reader, mut writer) = (client(), client());
    let removed = observe(
        took,
        held.len(),
        || Ok(runtime.block_on(caller.answer(sessions.collect_all()))?),
        |index| runtime.block_on(read(&mut reader, held, index)),
        |index| runtime.block_on(update(&mut writer, held, index)),
    )?;
    ensure!(removed == held.len() as u64 / 2, "not all was collected");
    Ok(())
}

/// Collects with one statement, as is usual for stores over SQLite.
fn collect_native(
    runtime: &Runtime,
    population: &Population,
    took: &mut Took,
) -> anyhow::Result<()> {
    let store = Mutex::new(population.open_native(Durability::Full)?);
    let lock = || {
        store
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    };
    let held = &population.native;
    let removed = observe(
        took,
        held.len(),
        || lock().collect(),
        |index| runtime.block_on(read(&mut *lock(), held, index)),
        |index| runtime.block_on(update(&mut *lock(), held, index)),
    )?;
    ensure!(removed == held.len() as u64 / 2, "not all was collected");
    Ok(())
}

/// Collects while a reader and a writer make requests; returns how many rows were removed.
fn observe(
    took: &mut Took,
    sessions: usize,
    collect: impl FnOnce() -> anyhow::Result<u64>,
    read: impl FnMut(usize) -> anyhow::Result<()> + Send,
    update: impl FnMut(usize) -> anyhow::Result<()> + Send,
) -> anyhow::Result<u64> {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let reader = scope.spawn(|| longest(sessions, READ, read, &done));
        let writer = scope.spawn(|| longest(sessions, WRITTEN, update, &done));
        let started = Instant::now();
        let removed = collect();
        let total = started.elapsed();
        // Set even if the collection failed, so that the others stop.
        done.store(true, Ordering::Relaxed);
        let reader = reader.join().unwrap_or_else(|panic| resume_unwind(panic));
        let writer = writer.join().unwrap_or_else(|panic| resume_unwind(panic));
        took.total.push(milliseconds(total));
        took.reader.push(milliseconds(reader?));
        took.writer.push(milliseconds(writer?));
        removed
    })
}

/// Repeats a request until `done` is set, and at least once; returns the longest time of one.
fn longest(
    sessions: usize,
    kind: usize,
    mut ask: impl FnMut(usize) -> anyhow::Result<()>,
    done: &AtomicBool,
) -> anyhow::Result<Duration> {
    let mut random = Random::new(kind as u64);
    let mut longest = Duration::ZERO;
    loop {
        let index = random.below(sessions / KINDS) * KINDS + kind;
        let started = Instant::now();
        ask(index)?;
        longest = longest.max(started.elapsed());
        if done.load(Ordering::Relaxed) {
            return Ok(longest);
        }
    }
}
