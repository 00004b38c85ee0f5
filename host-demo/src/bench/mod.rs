//! The bench: measures each workload on the store and on SQLite or PostgreSQL itself, in turn
//! and in one process.

mod clients;
mod collection;
mod held;
mod ours;
mod plan;
mod population;
mod process;
mod report;
mod requests;
mod rounds;
mod server;
mod single;

use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::location::{Location, temporary};
use crate::output::Output;
use held::LIFE;
use plan::Name;
use population::Population;
use report::Report;

pub use plan::Plan;
pub use process::read_sessions;

/// The state that all parts of the bench share.
struct Bench<'a> {
    plan: &'a Plan,
    report: Report<'a>,
    home: TempDir,
    /// The runtime for clients that are tasks.
    runtime: Runtime,
}

impl Bench<'_> {
    /// The path of a directory for one part, which is not created yet.
    fn directory(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }
}

/// Runs the plan in the database with the URL, or else on the disk of the directory or of the
/// temporary directory, and prints the results.
pub fn run(plan: &Plan, location: &Location, output: &mut Output) -> anyhow::Result<()> {
    match location.store {
        Some(_) => server::run(plan, location, output),
        None => in_directory(plan, location.directory.as_deref(), output),
    }
}

fn in_directory(plan: &Plan, directory: Option<&Path>, output: &mut Output) -> anyhow::Result<()> {
    let mut bench = Bench {
        plan,
        report: Report::start(output)?,
        home: temporary(directory)?,
        runtime: Runtime::new()?,
    };
    of_a_usual_store(&mut bench)?;
    if plan.has(Name::Create) {
        single::creations(&mut bench)?;
    }
    if plan.has(Name::Collect) {
        collection::run(&mut bench)?;
    }
    if plan.large() > 0 {
        of_a_large_store(&mut bench)?;
    }
    let engine = format!("SQLite {}", native_stores::sqlite_version());
    Ok(bench.report.end(plan, plan.native().name(), &engine)?)
}

fn of_a_usual_store(bench: &mut Bench) -> anyhow::Result<()> {
    let names = [
        Name::Read,
        Name::Update,
        Name::Touch,
        Name::Mix,
        Name::Start,
        Name::Memory,
    ];
    if !names.iter().any(|name| bench.plan.has(*name)) {
        return Ok(());
    }
    bench.report.doing("filling a store", 1);
    let directory = bench.directory("usual");
    let population = Population::fill(directory, bench.plan.native(), bench.plan.sessions, |_| {
        LIFE
    })?;
    single::reads_and_updates(bench, &population)?;
    single::touches(bench, &population)?;
    clients::run(bench, &population)?;
    if bench.plan.has(Name::Start) {
        process::start(bench, &population, true)?;
    }
    if bench.plan.has(Name::Memory) {
        process::memory(bench, &population)?;
    }
    population.remove()
}

fn of_a_large_store(bench: &mut Bench) -> anyhow::Result<()> {
    let names = [Name::Read, Name::Update, Name::Start, Name::Memory];
    if !names.iter().any(|name| bench.plan.has(*name)) {
        return Ok(());
    }
    bench.report.doing("filling a large store", 1);
    let directory = bench.directory("large");
    let population =
        Population::fill(directory, bench.plan.native(), bench.plan.large(), |_| LIFE)?;
    single::reads_and_updates(bench, &population)?;
    if bench.plan.has(Name::Start) {
        process::start(bench, &population, false)?;
    }
    if bench.plan.has(Name::Memory) {
        process::memory(bench, &population)?;
    }
    population.remove()
}
