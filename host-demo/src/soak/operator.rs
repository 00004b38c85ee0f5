//! The operator, who checks, counts, collects and copies while clients use the store.

use std::time::{Duration, Instant};

use anyhow::Context;
use wasi_sessions::Sessions;

use super::load::Load;
use crate::ending::ensure;
use crate::random::Random;

/// The longest pause between two operations of the operator.
const LONGEST_PAUSE: Duration = Duration::from_millis(400);

/// Runs random operations until the load ends; ends the load at the first difference.
pub fn run(load: &Load, mut random: Random) -> anyhow::Result<()> {
    let _end = load.ends_on_drop();
    loop {
        let pause = LONGEST_PAUSE.mul_f64(random.below(1000) as f64 / 1e3);
        if load.waits_until(Instant::now() + pause) {
            return Ok(());
        }
        operate(load, &mut random).context("operator")?;
        load.count();
    }
}

fn operate(load: &Load, random: &mut Random) -> anyhow::Result<()> {
    let (sessions, shared) = (&load.sessions, &load.store.shared);
    match random.below(16) {
        0 => is_sound(sessions),
        1 => {
            // It has at least the versions that were known before.
            let known: Vec<u64> = shared.known().collect();
            let copied = load.store.copy(sessions).context("a copy")?;
            is_sound(&copied.sessions).context("in a copy")?;
            let compared = shared.compare(&copied.sessions, &known);
            compared.context("in a copy")
        }
        2..4 => {
            let stats = sessions.stats().wait().context("stats")?;
            ensure(stats.size > 0, "the size in the statistics")
        }
        4..6 => {
            let known = shared.known().filter(|version| *version > 0).count() as u64;
            let count = sessions.count_sessions(None).wait();
            let is_counted = count.context("count-sessions")? >= known;
            ensure(is_counted, "the number of sessions")
        }
        6..8 => {
            let removed = sessions.collect_all().wait();
            removed.context("collect").map(drop)
        }
        _ => {
            let limit = 1 + random.below(500) as u32;
            let collected = sessions.collect(limit).wait().context("collect")?;
            let is_in_limit = collected.removed <= u64::from(limit);
            ensure(is_in_limit, "the rows removed by a step of collection")
        }
    }
}

/// Fails if the database is damaged.
pub fn is_sound(sessions: &Sessions) -> anyhow::Result<()> {
    let damage = sessions.check().wait().context("check")?;
    ensure(damage.is_empty(), "the database is damaged")
}
