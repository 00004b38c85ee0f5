//! Many clients at once, each a task that waits for its answer before it asks again.
//!
//! On the native side one thread does the operations one by one, each a
//! transaction of its own: what a lock around the connection comes to, without
//! the cost of the lock.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::ensure;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use wasi_sessions::{Durability, Options, Sessions};

use super::Bench;
use super::held::{Held, LIFE};
use super::plan::Name;
use super::population::Population;
use super::report::{Unit, Workload};
use super::rounds::{Random, each, repeat, rounds};
use super::single::{compare_all, read, update};
use super::store::is_written;

/// How many clients ask at once where many do.
const MANY: usize = 64;

/// Of a hundred operations of the mix, so many are updates.
const MIXED: usize = 10;

/// The mix with one client and with many, and updates of many.
pub fn run(bench: &mut Bench, population: &Population) -> anyhow::Result<()> {
    for durability in [Durability::Full, Durability::Relaxed] {
        if bench.plan.has(Name::Update) {
            at_once(bench, population, "update", 100, MANY, durability)?;
        }
        if bench.plan.has(Name::Mix) {
            for clients in [1, MANY] {
                at_once(bench, population, "mix 90/10", MIXED, clients, durability)?;
            }
        }
    }
    Ok(())
}

fn at_once(
    bench: &mut Bench,
    population: &Population,
    name: &'static str,
    updates: usize,
    clients: usize,
    durability: Durability,
) -> anyhow::Result<()> {
    let options = Options {
        durability,
        ..Options::default()
    };
    let mut ours = population.open_ours(options)?;
    let mut native = population.open_native(durability)?;
    let (of_ours, of_native) = (&population.ours, &population.native);
    let bar = bench.report.doing(name, bench.plan.rounds.into());
    compare_all(&mut ours, of_ours)?;
    compare_all(&mut native, of_native)?;

    let runtime = Runtime::new()?;
    let slice = bench.plan.slice();
    let mut random = Random::new(0);
    let sides = rounds(
        bench.plan.rounds,
        bar,
        || runtime.block_on(all_clients(&ours, of_ours, updates, clients, slice)),
        || {
            repeat(slice, || {
                let index = random.below(of_native.len());
                match random.below(100) < updates {
                    true => update(&mut native, of_native, index),
                    false => read(&mut native, of_native, index),
                }
            })
        },
    )?;
    compare_all(&mut ours, of_ours)?;
    compare_all(&mut native, of_native)?;
    let workload = Workload {
        workload: name,
        sessions: of_ours.len(),
        clients,
        durability: Some(durability),
        unit: Unit::Milliseconds,
    };
    Ok(bench.report.row(workload, sides)?)
}

/// The time per operation with all clients together, in milliseconds.
async fn all_clients(
    sessions: &Sessions,
    held: &Arc<Held>,
    updates: usize,
    clients: usize,
    slice: Duration,
) -> anyhow::Result<f64> {
    let started = Instant::now();
    let mut tasks = JoinSet::new();
    for client in 0..clients {
        let (sessions, held) = (sessions.clone(), held.clone());
        tasks.spawn(async move {
            // Nobody else has this client's sessions, so that it knows what
            // they hold: every session of which the number leaves its own.
            let own = held.len() / clients;
            let mut random = Random::new(client as u64);
            let mut operations = 0;
            // Each asks at least once, however late it was given a turn.
            loop {
                let index = random.below(own) * clients + client;
                let updates = random.below(100) < updates;
                ask(&sessions, &held, index, updates).await?;
                operations += 1;
                if started.elapsed() >= slice {
                    return anyhow::Ok(operations);
                }
            }
        });
    }
    let mut operations = 0;
    while let Some(done) = tasks.join_next().await {
        operations += done??;
    }
    Ok(each(started.elapsed(), operations))
}

async fn ask(sessions: &Sessions, held: &Held, index: usize, updates: bool) -> anyhow::Result<()> {
    let id = held.id(index);
    if !updates {
        return held.compare(index, sessions.get(id).await?);
    }
    let outcome = sessions
        .update(id, held.next(index), Some(LIFE), None)
        .await?;
    ensure!(is_written(outcome)?, "a session was lost");
    Ok(())
}
