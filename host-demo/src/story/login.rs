//! A user logs in, which moves each session to a new id, and logs out everywhere.

use anyhow::Context;
use wasi_sessions::{Outcome, Sessions};

use super::payload::payload;
use super::telling::Phase;

const ALICE: &str = "alice";
const DEVICES: u64 = 3;

/// Logs Alice in on her devices; returns the ids of her sessions.
pub fn log_in(sessions: &Sessions, phase: &mut Phase) -> anyhow::Result<Vec<String>> {
    let visitors = (0..DEVICES)
        .map(|device| Ok(sessions.create(payload(device, "")).wait()?.id))
        .collect::<anyhow::Result<Vec<String>>>()?;
    let ids = phase.time(|| {
        let mut ids = Vec::new();
        for visitor in &visitors {
            let rotated = sessions.rotate(visitor, Some(ALICE)).wait()?;
            ids.push(rotated.context("a visitor's session is gone")?.id);
        }
        Ok((ids, DEVICES))
    })?;

    let (mut kept, mut bound, mut ended, mut refused) = (0, 0, 0, 0);
    for (device, (old, new)) in (0..).zip(visitors.iter().zip(&ids)) {
        let session = sessions.get(new).wait()?.context("a session is gone")?;
        kept += u64::from(session.data == payload(device, "").as_bytes());
        bound += u64::from(session.subject.as_deref() == Some(ALICE));
        ended += u64::from(sessions.get(old).wait()?.is_none());
        refused += u64::from(sessions.set(old, "{}", None).wait()? == Outcome::Gone);
    }
    phase.equal("each new id has what the visitor had", kept, DEVICES);
    phase.equal("each is Alice's", bound, DEVICES);
    phase.equal("each old id is no longer there", ended, DEVICES);
    phase.equal("each old id is refused to a late write", refused, DEVICES);
    Ok(ids)
}

/// Logs Alice out on all devices at once.
pub fn log_out(sessions: &Sessions, ids: &[String], phase: &mut Phase) -> anyhow::Result<()> {
    let before = sessions.count_sessions(None).wait()?;
    let ended = phase.time(|| Ok((sessions.terminate_subject(ALICE, None).wait()?, 1)))?;
    phase.equal("all her sessions end", ended, DEVICES);
    let left = sessions.count_sessions(Some(ALICE)).wait()?;
    phase.equal("none is left", left, 0);
    let left = sessions.count_sessions(None).wait()?;
    phase.equal("no other user's session ends", left + DEVICES, before);

    let (mut absent, mut refused) = (0, 0);
    for id in ids {
        absent += u64::from(sessions.get(id).wait()?.is_none());
        let set = sessions.set(id, "{}", None).wait()?;
        let update = sessions.update(id, "{}", None, None).wait()?;
        refused += u64::from((set, update) == (Outcome::Gone, Outcome::Gone));
    }
    phase.equal("none is found", absent, DEVICES);
    phase.equal("a request in flight brings none back", refused, DEVICES);
    Ok(())
}
