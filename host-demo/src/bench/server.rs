//! The bench of a database on a server: our store beside tokio-postgres, each client a task.
//!
//! In each round, a side runs for all of its time at once. Both wait for the server most of the
//! time, and how fast idle processors wake depends on what they did before: in short turns, each
//! side would be measured in the state that the other one left.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use native_stores::{Postgres, Schema, Session, Store};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use wasi_sessions::{Database, Durability, Options, Sessions};

use super::clients::{MANY, MIXED};
use super::held::{Held, LIFE, ids};
use super::ours::Client;
use super::plan::{Name, Plan};
use super::population::fill;
use super::report::{Report, Unit, Workload};
use super::requests::{Request, Requests};
use super::rounds::{self, turns};
use crate::caller::Caller;
use crate::location::Location;
use crate::output::Output;
use crate::server;

/// The maximum number of connections of the native side, which many clients share.
const CONNECTIONS: usize = 32;

/// The maximum number of sessions that are compared with their payloads, before and after,
/// each in a round trip.
const COMPARED: usize = 1_000;

/// Runs the plan in a schema of its own in the database, and prints the results.
pub fn run(plan: &Plan, location: &Location, output: &mut Output) -> anyhow::Result<()> {
    let url = location
        .store
        .as_ref()
        .context("no URL was given")?
        .as_str();
    let runtime = Runtime::new()?;
    let password = server::password(&Database::new(url))?;
    let schema = runtime.block_on(Schema::create(url, password.as_deref()))?;
    let measured = in_schema(plan, location, url, &schema, &runtime, output);
    let removed = runtime.block_on(schema.remove());
    measured.and(removed)
}

fn in_schema(
    plan: &Plan,
    location: &Location,
    url: &str,
    schema: &Schema,
    runtime: &Runtime,
    output: &mut Output,
) -> anyhow::Result<()> {
    let mut report = Report::start(output)?;
    report.doing("filling the tables", 1);
    let timeout = Options::default().sync_timeout;
    let server = location.server_at(&schema.url(url), timeout)?;
    let (sessions, _) = server.create()?;
    let ids = ids(plan.sessions);
    let (ours, native) = (Held::new(ids.clone()), Held::new(ids));
    fill(&sessions, &ours, |_| LIFE)?;
    runtime.block_on(schema.copy(&location.table))?;
    let (ours, native) = (Arc::new(ours), Arc::new(native));
    for (name, workload, writes, clients) in [
        (Name::Read, "read", 0, 1),
        (Name::Set, "set", 100, 1),
        (Name::Set, "set", 100, MANY),
        (Name::Mix, "mix 90/10", MIXED, MANY),
    ] {
        if !plan.has(name) {
            continue;
        }
        let workload = Workload {
            workload,
            sessions: plan.sessions as usize,
            clients,
            caller: Caller::Task,
            durability: (writes > 0).then_some(Durability::Full),
            unit: Unit::Milliseconds,
        };
        let bar = report.doing(workload.workload, plan.rounds.into());
        let sides = runtime.block_on(async {
            let ours = Clients::of_ours(&sessions, &ours, clients, writes);
            let native = Clients::of_native(schema, &native, clients, writes).await?;
            ours.compare_all().await?;
            native.compare_all().await?;
            let sides = turns(
                plan.rounds,
                plan.slice(),
                plan.slice(),
                bar,
                async |turn, side| ours.run(turn, side).await,
                async |turn, side| native.run(turn, side).await,
            );
            let sides = sides.await?;
            ours.compare_all().await?;
            native.compare_all().await?;
            anyhow::Ok(sides)
        })?;
        report.row(workload, sides)?;
    }
    let version = runtime.block_on(schema.server_version())?;
    Ok(report.end(plan, "tokio-postgres", &format!("PostgreSQL {version}"))?)
}

/// A client of one of the sides.
#[derive(Clone)]
enum One {
    Ours(Client),
    Native(Postgres),
}

impl One {
    async fn get(&mut self, id: &str) -> anyhow::Result<Option<Session>> {
        match self {
            Self::Ours(client) => client.get(id).await,
            Self::Native(native) => native.get(id).await,
        }
    }

    async fn set(&mut self, id: &str, data: Vec<u8>) -> anyhow::Result<()> {
        match self {
            Self::Ours(client) => {
                let is_written = client.set(id, data, LIFE).await?;
                ensure!(is_written, "a session was lost");
            }
            Self::Native(native) => {
                let version = native.set(id, &data, LIFE).await?;
                ensure!(version > 1, "a session was lost");
            }
        }
        Ok(())
    }
}

/// The clients of one side.
struct Clients {
    all: Vec<One>,
    held: Arc<Held>,
    /// The percentage of writes; the other requests are reads.
    writes: usize,
}

impl Clients {
    fn of_ours(sessions: &Sessions, held: &Arc<Held>, count: usize, writes: usize) -> Self {
        let caller = Caller::Task;
        let sessions = sessions.clone();
        Self {
            all: vec![One::Ours(Client { sessions, caller }); count],
            held: held.clone(),
            writes,
        }
    }

    async fn of_native(
        schema: &Schema,
        held: &Arc<Held>,
        count: usize,
        writes: usize,
    ) -> anyhow::Result<Self> {
        let mut connections = Vec::new();
        for _ in 0..count.min(CONNECTIONS) {
            connections.push(One::Native(schema.open().await?));
        }
        Ok(Self {
            all: connections.into_iter().cycle().take(count).collect(),
            held: held.clone(),
            writes,
        })
    }

    /// Runs all clients for a turn, each as a task.
    async fn run(&self, turn: Duration, side: &mut rounds::Side) -> anyhow::Result<()> {
        let started = Instant::now();
        let mut tasks = JoinSet::new();
        for (number, one) in self.all.iter().enumerate() {
            let (mut one, held) = (one.clone(), self.held.clone());
            let (count, sessions) = (self.all.len(), held.len());
            let mut requests = Requests::new(number, count, sessions, self.writes, turn);
            tasks.spawn(async move {
                for request in requests.by_ref() {
                    match request {
                        Request::Read(index) => {
                            held.compare(index, one.get(held.id(index)).await?)?;
                        }
                        Request::Write(index) => {
                            one.set(held.id(index), held.next(index)).await?;
                        }
                    }
                }
                anyhow::Ok(requests.times)
            });
        }
        let mut times = Vec::new();
        while let Some(done) = tasks.join_next().await {
            times.extend(done??);
        }
        side.add(started.elapsed(), times);
        Ok(())
    }

    /// Compares all sessions, or a part of many, with what was written.
    async fn compare_all(&self) -> anyhow::Result<()> {
        let mut one = self.all[0].clone();
        for index in (0..self.held.len()).step_by(self.held.len().div_ceil(COMPARED)) {
            let session = one.get(self.held.id(index)).await?;
            self.held.compare(index, session)?;
        }
        Ok(())
    }
}
