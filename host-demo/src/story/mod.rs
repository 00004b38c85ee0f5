//! The story: a demonstration of everything that happens to sessions, on a real database.

mod crash;
mod fill;
mod garbage;
mod login;
mod payload;
mod race;
mod telling;

use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, SystemTime};

use anyhow::{Context, bail};
use wasi_sessions::{Error, Options, Sessions};

use crate::arguments::Scale;
use crate::database::Database;
use crate::location::Location;
use crate::output::{Output, count};
use telling::{Phase, Teller};

pub use crash::write_until_killed;

/// Runs the story, in a temporary directory unless another one is given. Fails if it is
/// interrupted by an error or a promise does not hold.
pub fn tell(location: &Location, scale: &Scale, output: &mut Output) -> anyhow::Result<()> {
    let temporary = tempfile::Builder::new()
        .prefix("wasi-sessions-")
        .tempdir()
        .context("cannot create a temporary directory")?;
    let directory = location.directory.as_deref().unwrap_or(temporary.path());
    let database = location.database_in(directory)?;
    refuse_existing(&database)?;

    let time = Time::start();
    let mut teller = Teller::new(output);
    teller.say(format_args!(
        "{} of {}, in `{}`",
        count(scale.sessions().into(), "session"),
        count(scale.users().into(), "user"),
        database.path().display()
    ))?;
    let sessions = teller.phase("open", "A new database is opened", |phase| {
        open(&database, &time, phase)
    })?;
    let ids = teller.phase("create", "Users come, and get sessions", |phase| {
        fill::create(&sessions, scale, phase)
    })?;
    teller.phase("read", "Every session is read back", |phase| {
        fill::read(&sessions, &ids, scale, phase)
    })?;
    teller.phase("update", "Requests of one session run at once", |phase| {
        race::run(&sessions, phase)
    })?;
    let alice = teller.phase("log-in", "Alice logs in on three devices", |phase| {
        login::log_in(&sessions, phase)
    })?;
    teller.phase("log-out", "Alice logs out everywhere", |phase| {
        login::log_out(&sessions, &alice, phase)
    })?;
    teller.phase(
        "expire",
        "An hour passes, too long for every second session",
        |phase| garbage::expire(&sessions, &ids, &time, phase),
    )?;
    let before = garbage::Space::measure(&sessions, &database)?;
    teller.phase(
        "collect",
        "What expired is collected while others keep reading",
        |phase| garbage::collect(&sessions, &ids, scale, phase),
    )?;
    teller.phase("shrink", "The disk has its space back", |phase| {
        garbage::shrink(&sessions, &database, &before, phase)
    })?;
    // The directory has one owner at a time: next the process to kill.
    drop(sessions);
    let sessions = teller.phase("kill", "A process is killed in mid-write", |phase| {
        let written = crash::kill_in_mid_write(&database, phase)?;
        crash::reopen(&database, &time, &written, phase)
    })?;
    teller.phase("check", "The whole database is checked", |phase| {
        check(&sessions, phase)
    })?;
    drop(sessions);
    if location.directory.is_some() {
        teller.say("\nThe database is kept, for the commands of this program.")?;
    }
    teller.end(directory, scale)
}

/// Refuses a directory that has a database already.
fn refuse_existing(database: &Database) -> anyhow::Result<()> {
    if !database.exists()? {
        return Ok(());
    }
    // If another process has it open, report that instead.
    drop(database.open()?);
    let path = database.path();
    bail!(
        "`{}` already exists: the story needs a directory without a database",
        path.display()
    );
}

fn open(database: &Database, time: &Time, phase: &mut Phase) -> anyhow::Result<Sessions> {
    let sessions = phase.time(|| Ok((open_at(database, time)?, 1)))?;
    let stats = sessions.stats().wait()?;
    phase.note(format!("{} in a WebAssembly component", stats.engine));
    phase.equal("it is empty", stats.live + stats.expired, 0);
    let second = database.builder(database.options()).open().wait();
    phase.holds(
        "a second owner is refused at once",
        matches!(second, Err(Error::InUse { .. })),
    );
    Ok(sessions)
}

fn open_at(database: &Database, time: &Time) -> anyhow::Result<Sessions> {
    let options = Options {
        // The story collects explicitly.
        gc_frequency: 0,
        ..database.options()
    };
    let time = time.clone();
    let builder = database.builder(options).clock(move || time.now());
    database.opened(builder.open())
}

fn check(sessions: &Sessions, phase: &mut Phase) -> anyhow::Result<()> {
    let damage = phase.time(|| Ok((sessions.check().wait()?, 1)))?;
    for line in &damage {
        phase.note(line);
    }
    phase.holds("it is sound", damage.is_empty());
    Ok(())
}

/// The clock of the story. It moves only with `advance`, so that nothing expires early on a
/// slow machine.
#[derive(Clone)]
struct Time {
    start: SystemTime,
    passed: Arc<AtomicU64>,
}

impl Time {
    fn start() -> Self {
        Self {
            start: SystemTime::now(),
            passed: Arc::default(),
        }
    }

    fn now(&self) -> SystemTime {
        self.start + Duration::from_millis(self.passed.load(Ordering::Relaxed))
    }

    fn advance(&self, milliseconds: u64) {
        self.passed.fetch_add(milliseconds, Ordering::Relaxed);
    }
}

/// Runs `work` on several threads in parallel, each with its number.
fn in_parallel<T: Send>(
    threads: usize,
    work: impl Fn(usize) -> anyhow::Result<T> + Sync,
) -> anyhow::Result<Vec<T>> {
    let work = &work;
    thread::scope(|scope| {
        let threads: Vec<_> = (0..threads)
            .map(|number| scope.spawn(move || work(number)))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)))
            .collect()
    })
}
