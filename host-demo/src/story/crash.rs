//! A process that writes is killed, and every write that was answered is kept.

use std::collections::BTreeMap;
use std::env;
use std::ffi::{OsStr, OsString};
use std::fmt::Display;
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
use crate::secrets;

/// The number of threads of the killed process, so that a write is always in progress.
const WRITERS: usize = 4;

/// How often a thread writes a session before it starts another one.
const WRITES: u64 = 5;

/// How many writes must be answered, after the first one, before the process is killed.
const ENOUGH: u64 = 400;

/// The last line about each session, by its id.
pub type Written = BTreeMap<String, Last>;

/// The last line about a session.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Last {
    /// A write of this version was answered.
    Version(u64),
    /// The session was about to be ended.
    Ending,
    /// Its ending was answered.
    Ended,
}

/// Writes sessions and ends every second one, until killed, on several threads. Prints a
/// line for each answered write: the session's id and version. Prints the id and `ending`
/// before a session is ended, and the id and `ended` once that is answered.
pub fn write_until_killed(database: &Database) -> anyhow::Result<()> {
    let sessions = database.create()?;
    let failed = AtomicBool::new(false);
    in_parallel(WRITERS, |_| {
        let mut done = Ok(());
        for number in 0_u64.. {
            done = write_session(&sessions, number.is_multiple_of(2));
            if done.is_err() || failed.load(Ordering::Relaxed) {
                break;
            }
        }
        // If one thread fails, all end.
        failed.store(true, Ordering::Relaxed);
        done
    })?;
    Ok(())
}

fn write_session(sessions: &Sessions, ends: bool) -> anyhow::Result<()> {
    let id = sessions.create(held_at(1)).wait()?.id;
    say(&id, 1)?;
    for version in 2..=WRITES {
        let update = sessions.update(&id, held_at(version), None, Some(version - 1));
        match update.wait()? {
            Outcome::Written(_) => say(&id, version)?,
            Outcome::Stale(_) | Outcome::Gone => bail!("a session was lost"),
        }
    }
    if ends {
        say(&id, "ending")?;
        if !sessions.destroy(&id).wait()? {
            bail!("a session was lost");
        }
        say(&id, "ended")?;
    }
    Ok(())
}

/// The payload of a session of the process at a version.
fn held_at(version: u64) -> String {
    payload(version, "writer")
}

/// Prints a line about a session, which standard output flushes at its end.
fn say(id: &str, what: impl Display) -> io::Result<()> {
    writeln!(io::stdout(), "{id} {what}")
}

/// Runs this program as another process that writes, and kills it after [`ENOUGH`] answers;
/// returns the answered writes.
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
    // Not timed, because it includes the start of the process.
    next_answer()?;
    phase.time(|| {
        for _ in 0..ENOUGH {
            next_answer()?;
            bar.inc(1);
        }
        Ok(((), ENOUGH))
    })?;
    process.0.kill()?;
    // Writes that were answered before the kill took effect.
    while read_answer(&mut lines, &mut written)? {}
    phase.note(format!(
        "{} by {WRITERS} threads were answered after the first one, then it was killed",
        count(ENOUGH, "write")
    ));
    let ending = process.0.wait()?;
    // On Unix only a process that ended by itself has an exit code.
    phase.holds(
        "it was killed, it did not end by itself",
        cfg!(windows) || ending.code().is_none(),
    );
    Ok(written)
}

/// Reads the next answer; false if the process has ended.
fn read_answer(lines: &mut impl BufRead, written: &mut Written) -> anyhow::Result<bool> {
    let mut line = String::new();
    lines.read_line(&mut line)?;
    // An incomplete line was cut off by the kill, and does not count.
    let Some(line) = line.strip_suffix('\n') else {
        return Ok(false);
    };
    let (id, what) = line.split_once(' ').context("an answer cannot be read")?;
    let last = match what {
        "ending" => Last::Ending,
        "ended" => Last::Ended,
        version => Last::Version(version.parse()?),
    };
    written.insert(id.to_owned(), last);
    Ok(true)
}

/// The process that writes; killed on drop.
struct Process(Child);

impl Process {
    fn start(database: &Database) -> anyhow::Result<Self> {
        let program = env::current_exe().context("this program cannot be found")?;
        let mut process = Command::new(program);
        secrets::give_keys(&mut process, database)?;
        let process = process
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

/// An option and its value as one argument, because the value may look like an option.
fn option(name: &str, value: impl AsRef<OsStr>) -> OsString {
    let mut option = OsString::from(name);
    option.push("=");
    option.push(value);
    option
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail if the process has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Opens the database that the process left behind, and checks every answered write.
pub fn reopen(
    database: &Database,
    time: &Time,
    written: &Written,
    phase: &mut Phase,
) -> anyhow::Result<Sessions> {
    let started = Instant::now();
    let sessions = open_at(database, time)?;
    let took = started.elapsed();
    let (mut answered, mut there, mut whole) = (0, 0, 0);
    let (mut ended, mut gone) = (0, 0);
    for (id, last) in written {
        let session = sessions.get(id).wait()?;
        match last {
            Last::Version(version) => {
                answered += 1;
                // A write that was committed but not yet answered may have followed.
                if let Some(session) = session
                    && (*version..=version + 1).contains(&session.version)
                {
                    there += 1;
                    whole += u64::from(session.data == held_at(session.version).as_bytes());
                }
            }
            Last::Ending => {}
            Last::Ended => {
                ended += 1;
                gone += u64::from(session.is_none());
            }
        }
    }
    phase.note(format!(
        "opened again in {took:.1?}: {answered} sessions, written up to {WRITES} times each, and {ended} ended"
    ));
    phase.equal("every answered write is there", there, answered);
    phase.equal("and none of them in part", whole, answered);
    phase.equal("no ended session is back", gone, ended);
    Ok(sessions)
}
