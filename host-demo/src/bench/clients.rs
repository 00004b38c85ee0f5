//! Many concurrent clients, each a task or a thread that waits for each answer before its
//! next request.
//!
//! On the native side one thread does the operations one by one, each in its own
//! transaction: that is equivalent to a lock around the connection, without the cost of
//! the lock.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use native_stores::Store;
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use wasi_sessions::{Durability, Options, Sessions};

use super::Bench;
use super::held::Held;
use super::ours::Client;
use super::plan::Name;
use super::population::Population;
use super::report::{Sides, Unit, Workload};
use super::requests::{Request, Requests};
use super::rounds::{TURN, repeat, turns};
use super::single::{compare_all, read, update};
use crate::caller::Caller;
use crate::random::Random;

/// The number of clients in workloads with many.
pub const MANY: usize = 64;

/// A side's turn with many clients: long compared with the time that they take to start.
pub const LONG_TURN: Duration = Duration::from_millis(25);

/// The percentage of updates in the mix.
pub const MIXED: usize = 10;

/// Measures the mix with one client and with many, and updates with many.
pub fn run(bench: &mut Bench, population: &Population) -> anyhow::Result<()> {
    for durability in [Durability::Full, Durability::Relaxed] {
        if bench.plan.has(Name::Update) {
            together(bench, population, "update", 100, MANY, durability)?;
        }
        if bench.plan.has(Name::Mix) {
            for clients in [1, MANY] {
                together(bench, population, "mix 90/10", MIXED, clients, durability)?;
            }
        }
    }
    Ok(())
}

fn together(
    bench: &mut Bench,
    population: &Population,
    name: &'static str,
    updates: usize,
    clients: usize,
    durability: Durability,
) -> anyhow::Result<()> {
    for caller in Caller::ALL {
        let options = Options {
            durability,
            ..Options::default()
        };
        let sessions = population.open_ours(options)?;
        let native = population.open_native(durability)?;
        let ask = Asking {
            sessions,
            held: population.ours.clone(),
            updates,
            clients,
            caller,
            runtime: bench.runtime.handle().clone(),
        };
        let measured = measure(bench, population, name, ask, native);
        let sides = bench.runtime.block_on(measured)?;
        let workload = Workload {
            workload: name,
            sessions: population.ours.len(),
            clients,
            caller,
            durability: Some(durability),
            unit: Unit::Milliseconds,
        };
        bench.report.row(workload, sides)?;
    }
    Ok(())
}

/// The clients of our store, and their operations.
#[derive(Clone)]
struct Asking {
    sessions: Sessions,
    held: Arc<Held>,
    /// The percentage of updates; the other operations are reads.
    updates: usize,
    clients: usize,
    caller: Caller,
    runtime: Handle,
}

async fn measure(
    bench: &Bench<'_>,
    population: &Population,
    name: &'static str,
    asking: Asking,
    mut native: impl Store,
) -> anyhow::Result<Sides> {
    let (of_ours, of_native) = (&population.ours, &population.native);
    let mut ours = asking.client();
    let plan = bench.plan;
    let bar = bench.report.doing(name, plan.rounds.into());
    compare_all(&mut ours, of_ours).await?;
    compare_all(&mut native, of_native).await?;
    let turn = match asking.clients {
        1 => TURN,
        _ => LONG_TURN,
    };
    let mut random = Random::new(0);
    let updates = asking.updates;
    let sides = turns(
        plan.rounds,
        plan.slice(),
        turn,
        bar,
        async |turn, side| {
            let started = Instant::now();
            let times = asking.all_clients(turn).await?;
            side.add(started.elapsed(), times);
            Ok(())
        },
        async |turn, side| {
            repeat(turn, side, async || {
                let index = random.below(of_native.len());
                match random.below(100) < updates {
                    true => update(&mut native, of_native, index).await,
                    false => read(&mut native, of_native, index).await,
                }
            })
            .await
        },
    )
    .await?;
    compare_all(&mut ours, of_ours).await?;
    compare_all(&mut native, of_native).await?;
    Ok(sides)
}

impl Asking {
    fn client(&self) -> Client {
        Client {
            sessions: self.sessions.clone(),
            caller: self.caller,
        }
    }

    /// Runs all clients for a turn; returns the times of their operations.
    async fn all_clients(&self, turn: Duration) -> anyhow::Result<Vec<Duration>> {
        let requests = (0..self.clients)
            .map(|client| Requests::new(client, self.clients, self.held.len(), self.updates, turn));
        let requests: Vec<_> = requests.collect();
        let mut times = Vec::new();
        if self.caller == Caller::Task {
            let mut tasks = JoinSet::new();
            for requests in requests {
                let asking = self.clone();
                tasks.spawn(async move { asking.one_client(requests).await });
            }
            while let Some(done) = tasks.join_next().await {
                times.extend(done??);
            }
            return Ok(times);
        }
        thread::scope(|scope| {
            let clients = requests.into_iter().map(|requests| {
                scope.spawn(move || self.runtime.block_on(self.one_client(requests)))
            });
            let clients: Vec<_> = clients.collect();
            for client in clients {
                times.extend(client.join().unwrap_or_else(|panic| resume_unwind(panic))?);
            }
            Ok(times)
        })
    }

    async fn one_client(&self, mut requests: Requests) -> anyhow::Result<Vec<Duration>> {
        let mut store = self.client();
        for request in requests.by_ref() {
            match request {
                Request::Read(index) => read(&mut store, &self.held, index).await?,
                Request::Write(index) => update(&mut store, &self.held, index).await?,
            }
        }
        Ok(requests.times)
    }
}
