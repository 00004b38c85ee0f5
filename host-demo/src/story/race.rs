//! Concurrent requests read and write the same sessions, and no update is lost.

use anyhow::{Context, bail};
use serde_json::{Value, json};
use wasi_sessions::{Outcome, Sessions};

use super::in_parallel;
use super::telling::{Phase, bar};
use crate::output::count;

const THREADS: usize = 8;
const SESSIONS: usize = 4;
/// How many increments each thread makes.
const INCREMENTS: u64 = 50;

/// Shows how one lost update is prevented, and then many by concurrent threads.
pub fn run(sessions: &Sessions, phase: &mut Phase) -> anyhow::Result<()> {
    overtake(sessions, phase)?;

    let bar = bar(THREADS as u64 * INCREMENTS);
    let ids = (0..SESSIONS)
        .map(|_| Ok(sessions.create(counter(0)).wait()?.id))
        .collect::<anyhow::Result<Vec<String>>>()?;
    let caught = phase.time(|| {
        let caught = in_parallel(THREADS, |thread| {
            let mut caught = 0;
            for _ in 0..INCREMENTS {
                caught += increment(sessions, &ids[thread % SESSIONS])?;
                bar.inc(1);
            }
            Ok(caught)
        })?;
        let caught: u64 = caught.iter().sum();
        Ok((caught, THREADS as u64 * INCREMENTS + caught))
    })?;
    phase.note(format!(
        "{THREADS} threads count up in {SESSIONS} sessions, {INCREMENTS} times each"
    ));
    phase.note(format!(
        "{} caught, and done again",
        count(caught, "lost update")
    ));

    let (mut sum, mut versions) = (0, 0);
    for id in &ids {
        let session = sessions.get(id).wait()?.context("a counter is gone")?;
        sum += value(&session.data)?;
        versions += session.version - 1;
    }
    let increments = THREADS as u64 * INCREMENTS;
    phase.equal("no increment is lost", sum, increments);
    phase.equal(
        "each increment has a version of its own",
        versions,
        increments,
    );
    Ok(())
}

/// Two requests read the same version, and both write.
fn overtake(sessions: &Sessions, phase: &mut Phase) -> anyhow::Result<()> {
    let id = sessions.create(counter(0)).wait()?.id;
    let seen = sessions.get(&id).wait()?.context("a session is gone")?;
    let first = sessions
        .update(&id, counter(1), None, Some(seen.version))
        .wait()?;
    let second = sessions
        .update(&id, counter(2), None, Some(seen.version))
        .wait()?;
    phase.holds(
        "the first of two writers succeeds",
        matches!(first, Outcome::Written(_)),
    );
    phase.holds(
        "the second is refused, and gets the stored session",
        matches!(second, Outcome::Stale(stored) if stored.data == counter(1).as_bytes()),
    );
    Ok(())
}

/// Increments the counter by one; returns how many writes were refused as stale.
fn increment(sessions: &Sessions, id: &str) -> anyhow::Result<u64> {
    let mut caught = 0;
    let mut session = sessions.get(id).wait()?.context("a counter is gone")?;
    loop {
        let next = counter(value(&session.data)? + 1);
        match sessions
            .update(id, next, None, Some(session.version))
            .wait()?
        {
            Outcome::Written(_) => return Ok(caught),
            Outcome::Stale(stored) => session = stored,
            Outcome::Gone => bail!("a counter is gone"),
        }
        caught += 1;
    }
}

fn counter(value: u64) -> String {
    json!({ "counter": value }).to_string()
}

fn value(data: &[u8]) -> anyhow::Result<u64> {
    let data: Value = serde_json::from_slice(data)?;
    data["counter"]
        .as_u64()
        .context("a counter is not a number")
}
