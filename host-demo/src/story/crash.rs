//! A process that writes is killed, and everything it was answered is there.

use std::collections::BTreeMap;
use std::env;
use std::ffi::{OsStr, OsString};
use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Context, bail};
use wasi_sessions::{Outcome, Sessions};

use super::payload::payload;
use super::telling::{Phase, bar};
use super::{Time, in_parallel, open_at};
use crate::database::Database;
use crate::output::count;

/// Threads of the process that is killed; one of them is always writing.
const WRITERS: usize = 4;

/// How often a session is written before its writer starts another one.
const WRITES: u64 = 5;

/// Answered writes, after the first, to wait for before the process is killed.
const ENOUGH: u64 = 400;

/// The writes that were answered: the last version of each session, by its id.
pub type Written = BTreeMap<String, u64>;

/// Writes sessions until killed, on several threads. Prints a line for each
/// write once it is answered: the session's id and version.
pub fn write_until_killed(database: &Database) -> anyhow::Result<()> {
    let sessions = database.create()?;
    let failed = AtomicBool::new(false);
    in_parallel(WRITERS, |_| {
        let mut done = Ok(());
        while done.is_ok() && !failed.load(Ordering::Relaxed) {
            done = write_session(&sessions);
        }
        // One thread that fails ends them all.
        failed.store(true, Ordering::Relaxed);
        done
    })?;
    Ok(())
}

fn write_session(sessions: &Sessions) -> anyhow::Result<()> {
    let id = sessions.create(held_at(1)).wait()?.id;
    answered(&id, 1)?;
    for version in 2..=WRITES {
        let update = sessions.update(&id, held_at(version), None, Some(version - 1));
        match update.wait()? {
            Outcome::Written(_) => answered(&id, version)?,
            Outcome::Stale(_) | Outcome::Gone => bail!("a session was lost"),
        }
    }
    Ok(())
}

/// What a session of the process holds at a version.
fn held_at(version: u64) -> String {
    payload(version, "writer")
}

/// One call for the whole line, which is handed over at its end.
fn answered(id: &str, version: u64) -> io::Result<()> {
    writeln!(io::stdout(), "{id} {version}")
}

/// Runs this program as another process that writes, and kills it after some
/// hundred answers; what it was answered.
pub fn kill_in_mid_write(database: &Database, phase: &mut Phase) -> anyhow::Result<Written> {
    let bar = bar(ENOUGH);
    let mut process = Process::start(database)?;
    let mut lines = process.lines()?;
    let mut written = Written::new();
    let mut next_answer = || -> anyhow::Result<()> {
        if !read_answer(&mut lines, &mut written)? {
            bail!("the process that writes ended by itself");
        }
        Ok(())
    };
    // The time until then is what it takes to start.
    next_answer()?;
    phase.time(|| {
        for _ in 0..ENOUGH {
            next_answer()?;
            bar.inc(1);
        }
        Ok(((), ENOUGH))
    })?;
    process.0.kill()?;
    // What it still said before it died.
    while read_answer(&mut lines, &mut written)? {}
    phase.note(format!(
        "{} by {WRITERS} threads were answered after the first one, then it was killed",
        count(ENOUGH, "write")
    ));
    let ending = process.0.wait()?;
    // Where there are signals, a process that ended by itself has a code.
    phase.holds(
        "it was killed, it did not end by itself",
        cfg!(windows) || ending.code().is_none(),
    );
    Ok(written)
}

/// Takes the next answer; false when the process is dead.
fn read_answer(lines: &mut impl BufRead, written: &mut Written) -> anyhow::Result<bool> {
    let mut line = String::new();
    lines.read_line(&mut line)?;
    // A line without its end was cut off by the kill, and is no answer.
    let Some(line) = line.strip_suffix('\n') else {
        return Ok(false);
    };
    let (id, version) = line.split_once(' ').context("an answer cannot be read")?;
    written.insert(id.to_owned(), version.parse()?);
    Ok(true)
}

/// The process that writes; killed at the latest when this is dropped.
struct Process(Child);

impl Process {
    fn start(database: &Database) -> anyhow::Result<Self> {
        let program = env::current_exe().context("this program cannot be found")?;
        let process = Command::new(program)
            .arg(option("--directory", &database.directory))
            .arg(option("--file", &database.file))
            .arg(option("--table", &database.table))
            .arg("write-until-killed")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("this program cannot be started again")?;
        Ok(Self(process))
    }

    fn lines(&mut self) -> anyhow::Result<impl BufRead + use<>> {
        let lines = self.0.stdout.take().context("its output was taken")?;
        Ok(BufReader::new(lines))
    }
}

/// An option with its value, which may look like another option.
fn option(name: &str, value: impl AsRef<OsStr>) -> OsString {
    let mut option = OsString::from(name);
    option.push("=");
    option.push(value);
    option
}

impl Drop for Process {
    fn drop(&mut self) {
        // One that is dead already needs neither.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Opens the database that the process left behind, and looks for every answer.
pub fn reopen(
    database: &Database,
    time: &Time,
    written: &Written,
    phase: &mut Phase,
) -> anyhow::Result<Sessions> {
    let started = Instant::now();
    let sessions = open_at(database, time)?;
    let took = started.elapsed();
    let (mut there, mut whole) = (0, 0);
    for (id, version) in written {
        // A write that was done and not yet answered is there as well.
        if let Some(session) = sessions.get(id).wait()?
            && (*version..=version + 1).contains(&session.version)
        {
            there += 1;
            whole += u64::from(session.data == held_at(session.version).as_bytes());
        }
    }
    let answered = written.len() as u64;
    phase.note(format!(
        "opened again in {took:.1?}: {answered} sessions, written up to {WRITES} times each"
    ));
    phase.equal("every answered write is there", there, answered);
    phase.equal("and none of them in part", whole, answered);
    Ok(sessions)
}
