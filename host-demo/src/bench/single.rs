//! One client on a thread of its own, that waits for each answer.

use anyhow::ensure;
use wasi_sessions::{Durability, Options};

use super::Bench;
use super::held::{Held, LIFE, compare, payload};
use super::plan::Name;
use super::population::Population;
use super::report::{Unit, Workload};
use super::rounds::{Random, repeat, rounds};
use super::store::Store;

/// Sessions that are compared with what was written, before and after.
const COMPARED: usize = 20_000;

/// What a client asks for.
#[derive(Clone, Copy)]
enum Operation {
    Read,
    Update,
    Touch,
}

/// Reads and updates: what is measured of a large store.
pub fn reads_and_updates(bench: &mut Bench, population: &Population) -> anyhow::Result<()> {
    if bench.plan.has(Name::Read) {
        operation(bench, population, "read", Operation::Read, true, None)?;
        let uncached = "read past the cache";
        operation(bench, population, uncached, Operation::Read, false, None)?;
    }
    if bench.plan.has(Name::Update) {
        for durability in [Durability::Full, Durability::Relaxed] {
            let durability = Some(durability);
            operation(
                bench,
                population,
                "update",
                Operation::Update,
                true,
                durability,
            )?;
        }
    }
    Ok(())
}

/// Touches.
pub fn touches(bench: &mut Bench, population: &Population) -> anyhow::Result<()> {
    if bench.plan.has(Name::Touch) {
        for durability in [Durability::Full, Durability::Relaxed] {
            let durability = Some(durability);
            operation(
                bench,
                population,
                "touch",
                Operation::Touch,
                true,
                durability,
            )?;
        }
    }
    Ok(())
}

fn operation(
    bench: &mut Bench,
    population: &Population,
    name: &'static str,
    operation: Operation,
    cached: bool,
    durability: Option<Durability>,
) -> anyhow::Result<()> {
    let workload = Workload {
        workload: name,
        sessions: population.ours.len(),
        clients: 1,
        durability,
        unit: Unit::Milliseconds,
    };
    let durability = durability.unwrap_or(Durability::Full);
    let options = Options {
        durability,
        ..Options::default()
    };
    let mut ours = match cached {
        true => population.open_ours(options)?,
        false => population.open_uncached(options)?,
    };
    let mut native = population.open_native(durability)?;
    let (of_ours, of_native) = (&population.ours, &population.native);
    let bar = bench.report.doing(name, bench.plan.rounds.into());
    // Both start with what they keep in memory.
    compare_all(&mut ours, of_ours)?;
    compare_all(&mut native, of_native)?;
    // As in use: before the first write SQLite asks for the size of the file
    // each time it reads.
    Store::touch(&mut ours, of_ours.id(0), of_ours.next_life())?;
    Store::touch(&mut native, of_native.id(0), of_native.next_life())?;

    let slice = bench.plan.slice();
    let (mut random, mut native_random) = (Random::new(1), Random::new(1));
    let sides = rounds(
        bench.plan.rounds,
        bar,
        || repeat(slice, || ask(&mut ours, of_ours, operation, &mut random)),
        || {
            repeat(slice, || {
                ask(&mut native, of_native, operation, &mut native_random)
            })
        },
    )?;
    compare_all(&mut ours, of_ours)?;
    compare_all(&mut native, of_native)?;
    Ok(bench.report.row(workload, sides)?)
}

fn ask(
    store: &mut impl Store,
    held: &Held,
    operation: Operation,
    random: &mut Random,
) -> anyhow::Result<()> {
    let index = random.below(held.len());
    match operation {
        Operation::Read => read(store, held, index),
        Operation::Update => update(store, held, index),
        Operation::Touch => {
            let there = store.touch(held.id(index), held.next_life())?;
            ensure!(there, "a session was lost");
            Ok(())
        }
    }
}

/// Reads a session, which has to hold what was written.
pub fn read(store: &mut impl Store, held: &Held, index: usize) -> anyhow::Result<()> {
    held.compare(index, store.get(held.id(index))?)
}

/// Writes another payload.
pub fn update(store: &mut impl Store, held: &Held, index: usize) -> anyhow::Result<()> {
    let there = store.update(held.id(index), held.next(index), LIFE)?;
    ensure!(there, "a session was lost");
    Ok(())
}

/// Compares all sessions, or enough of a large store, with what was written.
pub fn compare_all(store: &mut impl Store, held: &Held) -> anyhow::Result<()> {
    for index in (0..held.len()).step_by(held.len().div_ceil(COMPARED)) {
        read(store, held, index)?;
    }
    Ok(())
}

/// Sessions are started in stores that are empty at first.
pub fn creations(bench: &mut Bench) -> anyhow::Result<()> {
    for durability in [Durability::Full, Durability::Relaxed] {
        let population = Population::empty(bench.directory("create"))?;
        let options = Options {
            durability,
            ..Options::default()
        };
        let mut ours = population.open_ours(options)?;
        let mut native = population.open_native(durability)?;
        let workload = Workload {
            workload: "create",
            sessions: 0,
            clients: 1,
            durability: Some(durability),
            unit: Unit::Milliseconds,
        };
        let slice = bench.plan.slice();
        let (mut of_ours, mut of_native) = (Vec::new(), Vec::new());
        let bar = bench.report.doing("create", bench.plan.rounds.into());
        let sides = rounds(
            bench.plan.rounds,
            bar,
            || repeat(slice, || create(&mut ours, &mut of_ours)),
            || repeat(slice, || create(&mut native, &mut of_native)),
        )?;
        compare_created(&mut ours, &of_ours)?;
        compare_created(&mut native, &of_native)?;
        bench.report.row(workload, sides)?;
        drop((ours, native));
        population.remove()?;
    }
    Ok(())
}

fn create(store: &mut impl Store, ids: &mut Vec<String>) -> anyhow::Result<()> {
    ids.push(store.create(payload(ids.len() as u64), LIFE)?);
    Ok(())
}

fn compare_created(store: &mut impl Store, ids: &[String]) -> anyhow::Result<()> {
    for (number, id) in ids.iter().enumerate() {
        compare(store.get(id)?, number as u64)?;
    }
    Ok(())
}
