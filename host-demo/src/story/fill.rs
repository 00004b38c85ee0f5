//! Sessions of many users are created, many in each transaction, and read back.

use std::collections::HashSet;
use std::time::Duration;

use anyhow::bail;
use wasi_sessions::{NewSession, Reply, Request, Sessions};

use super::payload::payload;
use super::telling::{Phase, bar};
use crate::arguments::Scale;
use crate::output::count;

/// How many sessions are created in one transaction, and so share its fsync.
const BATCH: usize = 100;

/// The life of every second session; the others live for a day, set in their payload.
const SHORT: Duration = Duration::from_secs(30 * 60);

/// Whether the session with this number has the short life.
pub fn is_short(number: usize) -> bool {
    number % 2 == 1
}

/// The payload of the session with this number.
pub fn expected(number: usize, scale: &Scale) -> String {
    payload(number as u64, &user(number, scale))
}

fn user(number: usize, scale: &Scale) -> String {
    format!("user-{}", number % scale.users() as usize + 1)
}

/// Creates the sessions; returns their ids, in the order of their numbers.
pub fn create(
    sessions: &Sessions,
    scale: &Scale,
    phase: &mut Phase,
) -> anyhow::Result<Vec<String>> {
    let total = scale.sessions() as usize;
    let bar = bar(total as u64);
    let ids = phase.time(|| {
        let mut ids = Vec::with_capacity(total);
        while ids.len() < total {
            let batch = (ids.len()..total).take(BATCH).map(|number| {
                let life = is_short(number).then_some(SHORT);
                let data = expected(number, scale).into_bytes();
                Request::Create(NewSession::new(data).ttl(life).subject(user(number, scale)))
            });
            for reply in sessions.batch(batch.collect()).wait()? {
                match reply? {
                    Reply::Created(created) => ids.push(created.id),
                    _ => bail!("a creation was answered with something else"),
                }
            }
            bar.set_position(ids.len() as u64);
        }
        Ok((ids, total as u64))
    })?;
    phase.note(format!(
        "{BATCH} sessions to a transaction, each transaction on the disk"
    ));

    let distinct = ids.iter().collect::<HashSet<_>>().len();
    phase.equal("each has an id of its own", distinct as u64, total as u64);
    let counted = sessions.count_sessions(None).wait()?;
    phase.equal("all are counted", counted, total as u64);
    let first = user(0, scale);
    let counted = sessions.count_sessions(Some(&first)).wait()?;
    let of_first = total.div_ceil(scale.users() as usize);
    phase.equal("the first user's are counted", counted, of_first as u64);
    Ok(ids)
}

/// Reads every session, and compares it with what was written.
pub fn read(
    sessions: &Sessions,
    ids: &[String],
    scale: &Scale,
    phase: &mut Phase,
) -> anyhow::Result<()> {
    let total = ids.len() as u64;
    let bar = bar(total);
    let (same, owned) = phase.time(|| {
        let (mut same, mut owned) = (0, 0);
        for (number, id) in ids.iter().enumerate() {
            if let Some(session) = sessions.get(id).wait()? {
                same += u64::from(session.data == expected(number, scale).as_bytes());
                owned += u64::from(session.subject == Some(user(number, scale)));
            }
            bar.inc(1);
        }
        Ok(((same, owned), total))
    })?;
    phase.note(format!(
        "{} of payload each",
        count(expected(0, scale).len() as u64, "byte")
    ));
    phase.equal("each holds what was written, byte for byte", same, total);
    phase.equal("each belongs to its user", owned, total);
    Ok(())
}
