//! The soak: runs all operations concurrently for a long time and compares each answer with
//! a model, while the clock moves. Between loads the store is compared, copied and opened
//! again. Memory and disk space must stay flat.

mod ask;
mod client;
mod clock;
mod gauge;
mod held;
mod load;
mod model;
mod operator;
mod plan;
mod shared;
mod store;
mod subjects;
#[cfg(test)]
mod tests;
mod whole;

use std::mem;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use anyhow::Context;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use crate::caller::Caller;
use crate::location::Location;
use crate::output::Output;
use crate::random::Random;
use client::Client;
use clock::Clock;
use gauge::Gauges;
use load::Load;
use shared::SharedIds;
use store::Store;

pub use plan::Plan;

/// Clients that block a thread each, and clients that are tasks.
const THREADS: usize = 4;
const TASKS: usize = 12;

/// The longest time for which the store stays open.
const LONGEST_OPEN: Duration = Duration::from_secs(20);

/// Before it is closed, the store is copied once in this many times, at random.
const COPIED: usize = 3;

/// Runs a soak; fails if an answer is not as expected, or if memory or disk space grows.
pub fn run(plan: &Plan, location: &Location, output: &mut Output) -> anyhow::Result<()> {
    let mut soak = Soak::new(plan, location)?;
    let duration = plan.duration();
    let mut gauges = Gauges::start(duration, soak.store.database.path());
    let open_for = (duration / 20).min(LONGEST_OPEN);
    let differs = || format!("with seed {}", plan.seed);
    while Instant::now() < gauges.end() {
        soak.open_for(open_for, &mut gauges, output)
            .with_context(differs)?;
    }
    gauges.judge(soak.operations.load(Ordering::Relaxed), output)
}

/// A soak, while its store is closed.
struct Soak {
    store: Store,
    clients: Vec<Client>,
    shared: Arc<SharedIds>,
    operations: Arc<AtomicU64>,
    random: Random,
    runtime: Runtime,
    _home: TempDir,
}

impl Soak {
    fn new(plan: &Plan, location: &Location) -> anyhow::Result<Self> {
        let mut home = tempfile::Builder::new();
        home.prefix("wasi-sessions-");
        let home = match &location.directory {
            Some(directory) => home.tempdir_in(directory),
            None => home.tempdir(),
        };
        let home = home.context("a temporary directory cannot be created")?;
        let store = Store {
            database: location.database_in(&home.path().join("store"))?,
            clock: Arc::new(Clock::start()),
            beside: home.path().to_owned(),
        };
        let clients = (0..THREADS + TASKS).map(|number| {
            let caller = match number < THREADS {
                true => Caller::Thread,
                false => Caller::Task,
            };
            Client::new(number, caller, plan.seed)
        });
        Ok(Self {
            store,
            clients: clients.collect(),
            shared: Arc::new(SharedIds::new()),
            operations: Arc::default(),
            random: Random::new(plan.seed),
            runtime: Runtime::new()?,
            _home: home,
        })
    }

    /// Opens the store, compares it, puts load on it for a while, compares it again, and
    /// closes it.
    fn open_for(
        &mut self,
        time: Duration,
        gauges: &mut Gauges,
        output: &mut Output,
    ) -> anyhow::Result<()> {
        let sessions = self.store.open()?;
        let clock = self.store.clock.clone();
        let clock = &*clock;
        whole::compare(&sessions, clock, &mut self.clients, &self.shared)
            .context("after it was opened")?;
        let load = Arc::new(Load::new(
            sessions,
            self.store.clock.clone(),
            self.shared.clone(),
            self.operations.clone(),
        ));
        let until = gauges.end().min(Instant::now() + time);
        self.put(&load, || {
            while !load.waits_until(until.min(gauges.next())) {
                if Instant::now() >= gauges.next() {
                    gauges.measure(&load.sessions, load.operations(), output)?;
                }
                if Instant::now() >= until {
                    break;
                }
            }
            Ok(())
        })?;
        whole::compare(&load.sessions, clock, &mut self.clients, &self.shared)
            .context("before it was closed")?;
        if self.random.below(COPIED) == 0 {
            let copied = self.store.copy(&load.sessions)?;
            whole::compare(copied.sessions(), clock, &mut self.clients, &self.shared)
                .context("in a copy")?;
        }
        Ok(())
    }

    /// Runs all clients, the clock and an operator on the store, until `watch` returns or an
    /// answer is not as expected.
    fn put(
        &mut self,
        load: &Arc<Load>,
        watch: impl FnOnce() -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let [of_clock, of_operator] = [(); 2].map(|()| Random::new(self.random.next()));
        let (store, runtime) = (&self.store, self.runtime.handle());
        let (as_threads, as_tasks): (Vec<_>, Vec<_>) = mem::take(&mut self.clients)
            .into_iter()
            .partition(|client| client.caller() == Caller::Thread);
        let mut tasks = JoinSet::new();
        for client in as_tasks {
            tasks.spawn_on(client.run(load.clone()), runtime);
        }
        let (mut ran, watched) = thread::scope(|scope| {
            let clock = scope.spawn(|| load.move_clock(of_clock));
            let operator = scope.spawn(|| operator::run(load, store, of_operator));
            let threads: Vec<_> = as_threads
                .into_iter()
                .map(|client| scope.spawn(|| runtime.block_on(client.run(load.clone()))))
                .collect();
            let watched = watch();
            load.end();
            let ran: Vec<_> = threads.into_iter().map(joined).collect();
            joined(clock);
            (ran, watched.and(joined(operator)))
        });
        ran.extend(runtime.block_on(tasks.join_all()));
        for (client, done) in ran {
            self.clients.push(client);
            done?;
        }
        watched
    }
}

/// Waits for a thread; returns its result, or resumes its panic.
fn joined<T>(thread: ScopedJoinHandle<T>) -> T {
    thread.join().unwrap_or_else(|panic| resume_unwind(panic))
}
