//! The soak: runs operations concurrently for a long time and compares each answer with a
//! model. The clock moves between requests. Between loads the store is compared, copied and opened
//! again. Memory and disk space must stay flat.

mod asked;
mod client;
mod clock;
mod gauge;
mod load;
mod model;
mod operator;
mod shared;
mod store;
mod subjects;
#[cfg(test)]
mod tests;
mod whole;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};
use std::{iter, mem, thread};

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
const PATIENCE: Duration = Duration::from_secs(300);

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
    store: Arc<Store>,
    clients: Vec<Client>,
    random: Random,
    runtime: Runtime,
    _home: TempDir,
}

/// A client that has ended, or the clock or the operator, and the first difference it found.
type Ended = (Option<Client>, anyhow::Result<()>);

impl Soak {
    fn new(plan: &Plan, location: &Location) -> anyhow::Result<Self> {
        let home = temporary(location.directory.as_deref())?;
        let mut random = Random::new(plan.seed);
        let callers = [(Caller::Thread, THREADS), (Caller::Task, TASKS)];
        let callers = callers.map(|(caller, number)| iter::repeat_n(caller, number));
        let clients = callers.into_iter().flatten().enumerate();
        Ok(Self {
            store: Arc::new(Store {
                database: location.database_in(&home.path().join("store"))?,
                clock: Arc::new(Clock::start()),
                shared: SharedIds::new(),
                operations: AtomicU64::new(0),
                beside: home.path().to_owned(),
            }),
            clients: clients
                .map(|(number, caller)| Client::new(number, caller, random.next()))
                .collect(),
            random,
            runtime: Runtime::new()?,
            _home: home,
        })
    }

    fn run(&mut self, duration: Duration, output: &mut Output) -> anyhow::Result<()> {
        // The component is compiled before the time starts.
        drop(self.store.open(Durability::Full)?);
        let mut gauges = Gauges::start(duration, &self.store);
        while Instant::now() < gauges.end() {
            self.open_for((duration / 20).min(LONGEST_OPEN), &mut gauges, output)?;
        }
        gauges.judge(output)
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
        let load = Arc::new(Load::open(&self.store, durability)?);
        let sessions = &load.sessions;
        self.compare(sessions).context("after it was opened")?;
        let until = Instant::now() + time;
        self.run_clients(&load, || {
            loop {
                // Also what is due when a slow machine comes here late.
                if gauges.next() <= until.min(Instant::now()) {
                    gauges.measure(sessions, output)?;
                } else if Instant::now() >= until || load.waits_until(until.min(gauges.next())) {
                    return Ok(());
                }
            }
        })?;
        self.compare(sessions).context("before it was closed")?;
        if self.random.below(COPIED) == 0 {
            let copied = self.store.copy(sessions)?;
            self.compare(&copied.sessions).context("in a copy")?;
            whole::clear(&copied.sessions).context("in a copy")?;
        }
        Ok(())
    }

    /// Compares a store with what is known.
    fn compare(&self, sessions: &Sessions) -> anyhow::Result<()> {
        let compared = whole::compare(sessions, &self.store, &self.clients);
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
        let running = self.clients.len() + 2;
        let (ended, endings) = mpsc::channel::<Ended>();
        // Threads are not scoped, since a request without an answer never ends. Each drops its
        // load before it reports the end, since the store is opened again then. Nothing
        // receives the report if another client was not answered.
        let on_thread = |run: Box<dyn FnOnce(&Load) -> Ended + Send>| {
            let (ended, load) = (ended.clone(), load.clone());
            thread::spawn(move || {
                let done = run(&load);
                drop(load);
                let _ = ended.send(done);
            });
        };
        for client in mem::take(&mut self.clients) {
            let runtime = self.runtime.handle().clone();
            let (ended, load) = (ended.clone(), load.clone());
            match client.caller() {
                Caller::Thread => {
                    on_thread(Box::new(move |load| runtime.block_on(client.run(load))));
                }
                Caller::Task => drop(runtime.spawn(async move {
                    let done = client.run(&load).await;
                    drop(load);
                    let _ = ended.send(done);
                })),
            }
        }
        on_thread(Box::new(move |load| {
            load.move_clock(of_clock);
            (None, Ok(()))
        }));
        on_thread(Box::new(move |load| {
            (None, operator::run(load, of_operator))
        }));
        drop(ended);

        let end = load.ends_on_drop();
        let mut done = watch();
        drop(end);
        let deadline = Instant::now() + PATIENCE;
        for _ in 0..running {
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
        }
        done
    }
}
