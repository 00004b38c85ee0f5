//! The soak: runs operations concurrently for a long time and compares each answer with a
//! model. The clock moves between requests. Between loads the store is compared, copied and opened
//! again. Memory and disk space must stay flat.

mod ask;
mod client;
mod clock;
mod gauge;
mod held;
mod load;
mod model;
mod operator;
mod shared;
mod store;
mod subjects;
#[cfg(test)]
mod tests;
mod whole;

use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use wasi_sessions::{Durability, Sessions};

use crate::caller::Caller;
use crate::ending::ensure;
use crate::location::{Location, temporary};
use crate::output::Output;
use crate::random::Random;
use client::Client;
use clock::Clock;
use gauge::Gauges;
use load::Load;
use shared::SharedIds;
use store::Store;

/// How long the soak lasts, and which choices it makes.
#[derive(Debug, Args)]
pub struct Plan {
    /// How long it lasts; fractions are allowed
    #[arg(long = "minutes", value_name = "N", default_value = "1", value_parser = minutes)]
    pub duration: Duration,
    /// The seed of the random choices. The same seed makes the same choices, but threads
    /// meet in another order each time
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
}

/// Parses a number of minutes, up to a year.
fn minutes(text: &str) -> Result<Duration, String> {
    const MOST: f64 = 525_600.0;
    match text.parse::<f64>() {
        Ok(minutes) if minutes > 0.0 && minutes <= MOST => {
            Ok(Duration::from_secs_f64(minutes * 60.0))
        }
        _ => Err(format!("it must be a number above 0, up to {MOST}")),
    }
}

/// Clients that block a thread each, and clients that are tasks.
const THREADS: usize = 4;
const TASKS: usize = 12;

/// The longest time for which the store stays open.
const LONGEST_OPEN: Duration = Duration::from_secs(20);

/// How long the last requests may take after the load has ended.
const PATIENCE: Duration = Duration::from_secs(60);

/// Before it is closed, the store is copied once in this many times, at random.
const COPIED: usize = 3;

/// Runs a soak; fails if an answer is not as expected, or if memory or disk space grows.
pub fn run(plan: &Plan, location: &Location, output: &mut Output) -> anyhow::Result<()> {
    let mut soak = Soak::new(plan, location)?;
    let done = soak.run(plan.duration, output);
    done.with_context(|| format!("with seed {}", plan.seed))
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
        let home = temporary(location.directory.as_deref())?;
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

    fn run(&mut self, duration: Duration, output: &mut Output) -> anyhow::Result<()> {
        // The component is compiled before the time starts.
        drop(self.store.open(Durability::Full)?);
        let mut gauges = Gauges::start(duration, self.store.database.path());
        while Instant::now() < gauges.end() {
            self.open_for((duration / 20).min(LONGEST_OPEN), &mut gauges, output)?;
        }
        gauges.judge(self.operations.load(Ordering::Relaxed), output)
    }

    /// Opens the store, compares it, puts load on it for a while, compares it again, and
    /// closes it.
    fn open_for(
        &mut self,
        time: Duration,
        gauges: &mut Gauges,
        output: &mut Output,
    ) -> anyhow::Result<()> {
        let durability = match self.random.below(2) {
            0 => Durability::Relaxed,
            _ => Durability::Full,
        };
        let sessions = self.store.open(durability)?;
        self.compare(&sessions).context("after it was opened")?;
        let load = Arc::new(Load::new(
            sessions,
            self.store.clock.clone(),
            self.shared.clone(),
            self.operations.clone(),
        ));
        let until = Instant::now() + time;
        self.run_clients(&load, || {
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
        let compared = self.compare(&load.sessions);
        compared.context("before it was closed")?;
        if self.random.below(COPIED) == 0 {
            let copied = self.store.copy(&load.sessions)?;
            self.compare(&copied.sessions).context("in a copy")?;
            whole::clear(&copied.sessions).context("in a copy")?;
        }
        Ok(())
    }

    /// Compares a store with what is known.
    fn compare(&mut self, sessions: &Sessions) -> anyhow::Result<()> {
        let (clients, shared) = (&mut self.clients, &self.shared);
        let compared = whole::compare(sessions, &self.store.clock, clients, shared);
        self.runtime.block_on(compared)
    }

    /// Runs all clients, the clock and an operator on the store, until `watch` returns or an
    /// answer is not as expected. Fails if a request is not answered.
    fn run_clients(
        &mut self,
        load: &Arc<Load>,
        watch: impl FnOnce() -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let [of_clock, of_operator] = [(); 2].map(|()| Random::new(self.random.next()));
        let mut running = self.clients.len() + 2;
        let (ended, endings) = mpsc::channel();
        // Threads are not scoped, since a request without an answer never ends.
        for client in mem::take(&mut self.clients) {
            let (caller, ended, load) = (client.caller(), ended.clone(), load.clone());
            let run = async move {
                let (client, done) = client.run(load).await;
                // Nothing receives it if another client was not answered.
                let _ = ended.send((Some(client), done));
            };
            let runtime = self.runtime.handle().clone();
            match caller {
                Caller::Task => drop(runtime.spawn(run)),
                Caller::Thread => drop(thread::spawn(move || runtime.block_on(run))),
            }
        }
        // Each drops its load before it reports the end, since the store is opened again then.
        let (clock_ended, clock_load) = (ended.clone(), load.clone());
        thread::spawn(move || {
            clock_load.move_clock(of_clock);
            drop(clock_load);
            let _ = clock_ended.send((None, Ok(())));
        });
        let (operator_load, store) = (load.clone(), self.store.clone());
        thread::spawn(move || {
            let done = operator::run(&operator_load, &store, of_operator);
            drop(operator_load);
            let _ = ended.send((None, done));
        });

        let end = load.ends_on_drop();
        let mut done = watch();
        drop(end);
        let deadline = Instant::now() + PATIENCE;
        while running > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            done = match endings.recv_timeout(left) {
                Ok((client, result)) => {
                    self.clients.extend(client);
                    done.and(result)
                }
                Err(RecvTimeoutError::Timeout) => {
                    return done.and(ensure(false, "a request was not answered"));
                }
                Err(RecvTimeoutError::Disconnected) => bail!("a client has panicked"),
            };
            running -= 1;
        }
        done
    }
}
