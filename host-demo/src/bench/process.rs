//! Measures processes of this program that read from a store: their time to the first answer,
//! and their memory.

use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;
use std::{env, fs};

use anyhow::{Context, anyhow, ensure};
use indicatif::ProgressBar;
use native_stores::{Layout, Sqlite, Store};
use tokio::runtime::Builder;

use super::Bench;
use super::held::Held;
use super::ours::Client;
use super::population::Population;
use super::report::{Sides, Unit, Workload};
use super::rounds::rounds;
use crate::caller::Caller;
use crate::database::Database;
use crate::memory::resident;
use crate::output::milliseconds;
use crate::secrets;

/// The work of a started process: reads the sessions whose ids are on standard input, one on
/// each line. Prints a line after the first session, and at the end the resident memory in
/// bytes, or 0 if that is unknown.
pub fn read_sessions(database: &Database, native: Option<Layout>) -> anyhow::Result<()> {
    let runtime = Builder::new_current_thread().build()?;
    if let Some(layout) = native {
        let mut native = Sqlite::open(&database.path(), layout, true)?;
        runtime.block_on(read_all(&mut native))
    } else {
        let sessions = database.open()?;
        let caller = Caller::Thread;
        runtime.block_on(read_all(&mut Client { sessions, caller }))
    }
}

async fn read_all(store: &mut impl Store) -> anyhow::Result<()> {
    for (number, id) in io::stdin().lines().enumerate() {
        let id = id?;
        let there = store.get(&id).await?.is_some();
        ensure!(there, "a session is missing");
        if number == 0 {
            writeln!(io::stdout(), "answered")?;
        }
    }
    Ok(writeln!(
        io::stdout(),
        "{}",
        resident().unwrap_or_default()
    )?)
}

/// Measures the time from the start of a process to its first answer, with cached compiled
/// code and, if `compiling`, also without.
pub fn start(bench: &mut Bench, population: &Population, compiling: bool) -> anyhow::Result<()> {
    let kept = bench.directory("compiled");
    // Fills the cache.
    first_answer(population, false, &kept)?;
    let all = [("start", true), ("start, compiling", false)];
    for (name, keeps) in all.into_iter().take(if compiling { 2 } else { 1 }) {
        let empty = bench.directory("empty");
        let bar = bench.report.doing(name, bench.plan.rounds.into());
        let ours = || {
            if keeps {
                return first_answer(population, false, &kept);
            }
            let took = first_answer(population, false, &empty)?;
            fs::remove_dir_all(&empty)?;
            Ok(took)
        };
        let native = || first_answer(population, true, &kept);
        let sides = rounds(bench.plan.rounds, bar, ours, native)?;
        bench
            .report
            .row(workload(name, population, Unit::Milliseconds), sides)?;
    }
    Ok(())
}

/// Measures the memory of a process that has read every session.
pub fn memory(bench: &mut Bench, population: &Population) -> anyhow::Result<()> {
    let bar = bench.report.doing("memory", 2);
    let sides = Sides {
        ours: resident_after_all(population, false, bar)?,
        native: resident_after_all(population, true, bar)?,
        details: None,
    };
    // Known on Linux only.
    if sides.ours > 0.0 {
        bench
            .report
            .row(workload("memory", population, Unit::Bytes), sides)?;
    }
    Ok(())
}

fn workload(name: &'static str, population: &Population, unit: Unit) -> Workload {
    Workload {
        workload: name,
        sessions: population.ours.len(),
        clients: 1,
        caller: Caller::Thread,
        durability: None,
        unit,
    }
}

fn first_answer(population: &Population, native: bool, cache: &Path) -> anyhow::Result<f64> {
    let mut command = command(population, native)?;
    command.env("XDG_CACHE_HOME", cache);
    let started = Instant::now();
    let mut process = Process::start(command)?;
    process.ask(&population.ours, 1)?;
    let mut lines = process.lines()?;
    let answer = lines.next().context("a process ended by itself")??;
    let took = started.elapsed();
    ensure!(answer == "answered", "a process answered something else");
    // The process closes its store first.
    lines.next().context("a process ended by itself")??;
    process.end()?;
    Ok(milliseconds(took))
}

fn resident_after_all(
    population: &Population,
    native: bool,
    bar: &ProgressBar,
) -> anyhow::Result<f64> {
    let mut process = Process::start(command(population, native)?)?;
    process.ask(&population.ours, population.ours.len())?;
    let bytes = process
        .lines()?
        .nth(1)
        .context("a process ended by itself")??;
    process.end()?;
    bar.inc(1);
    Ok(bytes.parse::<u64>()? as f64)
}

fn command(population: &Population, native: bool) -> anyhow::Result<Command> {
    let program = env::current_exe().context("this program cannot be found")?;
    let database = match native {
        true => population.native(),
        false => population.ours(),
    };
    let mut command = Command::new(program);
    secrets::give_keys(&mut command, &database)?;
    command
        .arg("read-sessions")
        .arg("--directory")
        .arg(database.directory)
        .arg("--file")
        .arg(database.file)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    if native {
        command.args(["--native", population.layout.name()]);
    }
    Ok(command)
}

/// A process that reads sessions; killed on drop.
struct Process(Child);

impl Process {
    fn start(mut command: Command) -> anyhow::Result<Self> {
        let process = command.spawn();
        Ok(Self(
            process.context("this program cannot be started again")?,
        ))
    }

    /// Writes the first `count` ids to the process, and closes its standard input.
    fn ask(&mut self, held: &Held, count: usize) -> anyhow::Result<()> {
        let input = self.0.stdin.take().context("its input was taken")?;
        let mut input = BufWriter::new(input);
        let mut lines = (0..count).map(|index| writeln!(input, "{}", held.id(index)));
        lines
            .try_for_each(|written| written)
            .and_then(|()| input.flush())
            // Without the I/O error as its cause: a broken pipe would count as one of this
            // program's own output.
            .map_err(|error| anyhow!("a process does not read: {error}"))
    }

    fn lines(&mut self) -> anyhow::Result<impl Iterator<Item = io::Result<String>> + use<>> {
        let output = self.0.stdout.take().context("its output was taken")?;
        Ok(BufReader::new(output).lines())
    }

    fn end(&mut self) -> anyhow::Result<()> {
        let ended_well = self.0.wait()?.success();
        ensure!(ended_well, "a process failed");
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail if the process has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
