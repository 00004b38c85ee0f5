//! One client, a task or a thread that waits for each answer before its next request.

use anyhow::ensure;
use native_stores::Store;
use wasi_sessions::{Durability, Options};

use super::Bench;
use super::held::{Held, LIFE, compare, payload};
use super::ours::Client;
use super::plan::Name;
use super::population::Population;
use super::report::{Sides, Unit, Workload};
use super::rounds::{TURN, repeat, turns};
use crate::caller::Caller;
use crate::random::Random;

/// The maximum number of sessions that are compared with their payloads, before and after.
const COMPARED: usize = 20_000;

/// The operation of a client.
#[derive(Clone, Copy)]
enum Operation {
    Read,
    Update,
    Touch,
}

/// Measures reads and updates, also for the large store.
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

/// Measures touches.
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
    for caller in Caller::ALL {
        let workload = Workload {
            workload: name,
            sessions: population.ours.len(),
            clients: 1,
            caller,
            durability,
            unit: Unit::Milliseconds,
        };
        let durability = durability.unwrap_or(Durability::Full);
        let options = Options {
            durability,
            ..Options::default()
        };
        let sessions = match cached {
            true => population.open_ours(options)?,
            false => population.open_uncached(options)?,
        };
        let ours = Client { sessions, caller };
        let native = population.open_native(durability)?;
        let measured = measure(bench, population, name, operation, ours, native);
        let sides = bench.runtime.block_on(measured)?;
        bench.report.row(workload, sides)?;
    }
    Ok(())
}

async fn measure(
    bench: &Bench<'_>,
    population: &Population,
    name: &'static str,
    operation: Operation,
    mut ours: Client,
    mut native: impl Store,
) -> anyhow::Result<Sides> {
    let (of_ours, of_native) = (&population.ours, &population.native);
    let plan = bench.plan;
    let bar = bench.report.doing(name, plan.rounds.into());
    // Also fills the caches of both sides.
    compare_all(&mut ours, of_ours).await?;
    compare_all(&mut native, of_native).await?;
    // Until its first write SQLite asks for the size of the file at each read, which a store
    // in use does not do.
    ours.touch(of_ours.id(0), of_ours.next_life()).await?;
    native.touch(of_native.id(0), of_native.next_life()).await?;

    let (mut random, mut native_random) = (Random::new(1), Random::new(1));
    let sides = turns(
        plan.rounds,
        plan.slice(),
        TURN,
        bar,
        async |turn, side| {
            repeat(turn, side, async || {
                ask(&mut ours, of_ours, operation, &mut random).await
            })
            .await
        },
        async |turn, side| {
            repeat(turn, side, async || {
                ask(&mut native, of_native, operation, &mut native_random).await
            })
            .await
        },
    )
    .await?;
    compare_all(&mut ours, of_ours).await?;
    compare_all(&mut native, of_native).await?;
    Ok(sides)
}

async fn ask(
    store: &mut impl Store,
    held: &Held,
    operation: Operation,
    random: &mut Random,
) -> anyhow::Result<()> {
    let index = random.below(held.len());
    match operation {
        Operation::Read => read(store, held, index).await,
        Operation::Update => update(store, held, index).await,
        Operation::Touch => {
            let there = store.touch(held.id(index), held.next_life()).await?;
            ensure!(there, "a session was lost");
            Ok(())
        }
    }
}

/// Reads a session, and compares its payload with what was written.
pub async fn read(store: &mut impl Store, held: &Held, index: usize) -> anyhow::Result<()> {
    held.compare(index, store.get(held.id(index)).await?)
}

/// Writes the next payload of a session.
pub async fn update(store: &mut impl Store, held: &Held, index: usize) -> anyhow::Result<()> {
    let there = store.update(held.id(index), held.next(index), LIFE).await?;
    ensure!(there, "a session was lost");
    Ok(())
}

/// Compares all sessions, or a part of a large store, with what was written.
pub async fn compare_all(store: &mut impl Store, held: &Held) -> anyhow::Result<()> {
    for index in (0..held.len()).step_by(held.len().div_ceil(COMPARED)) {
        read(store, held, index).await?;
    }
    Ok(())
}

/// Measures creations in stores that are empty at first.
pub fn creations(bench: &mut Bench) -> anyhow::Result<()> {
    let ways = [Durability::Full, Durability::Relaxed]
        .map(|durability| Caller::ALL.map(|caller| (durability, caller)));
    for (durability, caller) in ways.into_iter().flatten() {
        let population = Population::empty(bench.directory("create"), bench.plan.native())?;
        let options = Options {
            durability,
            ..Options::default()
        };
        let sessions = population.open_ours(options)?;
        let ours = Client { sessions, caller };
        let native = population.open_native(durability)?;
        let workload = Workload {
            workload: "create",
            sessions: 0,
            clients: 1,
            caller,
            durability: Some(durability),
            unit: Unit::Milliseconds,
        };
        let sides = bench
            .runtime
            .block_on(measure_creations(bench, ours, native))?;
        bench.report.row(workload, sides)?;
        population.remove()?;
    }
    Ok(())
}

async fn measure_creations(
    bench: &Bench<'_>,
    mut ours: Client,
    mut native: impl Store,
) -> anyhow::Result<Sides> {
    let plan = bench.plan;
    let (mut of_ours, mut of_native) = (Vec::new(), Vec::new());
    let sides = turns(
        plan.rounds,
        plan.slice(),
        TURN,
        bench.report.doing("create", plan.rounds.into()),
        async |turn, side| repeat(turn, side, async || create(&mut ours, &mut of_ours).await).await,
        async |turn, side| {
            repeat(turn, side, async || {
                create(&mut native, &mut of_native).await
            })
            .await
        },
    )
    .await?;
    compare_created(&mut ours, &of_ours).await?;
    compare_created(&mut native, &of_native).await?;
    Ok(sides)
}

async fn create(store: &mut impl Store, ids: &mut Vec<String>) -> anyhow::Result<()> {
    ids.push(store.create(payload(ids.len() as u64), LIFE).await?);
    Ok(())
}

async fn compare_created(store: &mut impl Store, ids: &[String]) -> anyhow::Result<()> {
    for (number, id) in ids.iter().enumerate() {
        compare(store.get(id).await?, number as u64)?;
    }
    Ok(())
}
