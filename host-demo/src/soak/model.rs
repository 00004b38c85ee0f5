//! The expected state of one client's sessions.
//!
//! No other client knows these ids, and the clock is stopped during a request. So each
//! request has one right answer, apart from the id that the store makes.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::bail;
use wasi_sessions::{Created, Outcome, Reply, Request, Session, Written};

use super::asked::{Asked, RENEWAL_STEP, TOMBSTONE, expiry, merged};
use crate::ending::{No, ensure};

/// The expected state of one client's sessions, with times in milliseconds since 1970. `now`
/// is the time of a request.
#[derive(Default)]
pub struct Model {
    /// The sessions by id, including expired ones.
    pub sessions: BTreeMap<String, Session>,
    /// The ids that were ended, and the expiry of their tombstones.
    pub ended: BTreeMap<String, u64>,
}

impl Model {
    /// Updates the model by a request, and compares the reply.
    pub fn note(&mut self, asked: &Asked, reply: &Reply, now: u64) -> anyhow::Result<()> {
        let made = match reply {
            Reply::Created(made) | Reply::Rotated(Some(made)) => made.id.as_str(),
            _ => "",
        };
        let is_used = self.sessions.contains_key(made) || self.ended.contains_key(made);
        ensure(!is_used, "a new id that was used before")?;
        compare(reply, &self.expected(asked, made, now))
    }

    /// Compares a session that was read, or its absence.
    pub fn found(&self, id: &str, found: Option<Session>, now: u64) -> anyhow::Result<()> {
        let expected = self.live(id, now).cloned();
        compare(&Reply::Session(found), &Reply::Session(expected))
    }

    /// The right reply to a request that makes this id.
    fn expected(&mut self, asked: &Asked, made: &str, now: u64) -> Reply {
        match &asked.request {
            Request::Create(_) => {
                let new = asked.new.clone().expect("`create` starts a session");
                Reply::Created(self.add(made, new))
            }
            Request::Get { id } => Reply::Session(self.live(id, now).cloned()),
            Request::Set { id, data, ttl } => Reply::Outcome(self.write(id, data, *ttl, now)),
            Request::Update {
                id,
                data,
                ttl,
                expected,
            } => Reply::Outcome(match self.live(id, now) {
                Some(session) if expected.is_some_and(|of| of != session.version) => {
                    Outcome::Stale(session.clone())
                }
                None if *expected != Some(0) => Outcome::Gone,
                _ => self.write(id, data, *ttl, now),
            }),
            Request::Merge { id, patch, ttl } => {
                let data = self.live(id, now).map(|of| merged(&of.data, patch));
                Reply::Session(data.and_then(|data| {
                    self.write(id, &data, *ttl, now);
                    self.live(id, now).cloned()
                }))
            }
            Request::Touch { id, ttl } => Reply::Expires(self.touch(id, *ttl, now)),
            Request::Rotate { id, subject } => {
                Reply::Rotated(self.rotate(id, subject.as_ref(), made, now))
            }
            Request::Destroy { id } => Reply::Destroyed(self.end(id, now)),
        }
    }

    /// The live session with this id.
    pub fn live(&self, id: &str, now: u64) -> Option<&Session> {
        self.sessions.get(id).filter(|of| of.expires > now)
    }

    /// Ends a session; returns whether there was one.
    pub fn end(&mut self, id: &str, now: u64) -> bool {
        let is_live = self.live(id, now).is_some();
        if is_live {
            self.sessions.remove(id);
            self.ended.insert(id.to_owned(), now + TOMBSTONE);
        }
        is_live
    }

    fn add(&mut self, id: &str, session: Session) -> Created {
        let created = Created {
            id: id.to_owned(),
            version: session.version,
            expires: session.expires,
        };
        self.sessions.insert(id.to_owned(), session);
        created
    }

    /// Writes a live session, or starts one unless its id was ended.
    fn write(&mut self, id: &str, data: &[u8], ttl: Option<Duration>, now: u64) -> Outcome {
        let before = self.live(id, now).cloned();
        let is_refused = self.ended.get(id).is_some_and(|until| *until > now);
        if before.is_none() && is_refused {
            return Outcome::Gone;
        }
        let created = before.as_ref().map_or(now, |before| before.created);
        let version = 1 + before.as_ref().map_or(0, |before| before.version);
        let expires = expiry(now, data, ttl, created);
        let session = Session {
            data: data.to_vec(),
            subject: before.and_then(|before| before.subject),
            version,
            created,
            updated: now,
            expires,
        };
        self.sessions.insert(id.to_owned(), session);
        Outcome::Written(Written {
            version,
            updated: now,
            expires,
        })
    }

    fn touch(&mut self, id: &str, ttl: Option<Duration>, now: u64) -> Option<u64> {
        let session = self.sessions.get_mut(id).filter(|of| of.expires > now)?;
        let renewed = expiry(now, &session.data, ttl, session.created);
        let gains_little = session.expires..session.expires + RENEWAL_STEP;
        if !gains_little.contains(&renewed) {
            session.expires = renewed;
        }
        Some(session.expires)
    }

    fn rotate(
        &mut self,
        id: &str,
        subject: Option<&String>,
        made: &str,
        now: u64,
    ) -> Option<Created> {
        let mut session = self.live(id, now)?.clone();
        if subject.is_some() {
            session.subject = subject.cloned();
            session.version += 1;
            session.updated = now;
        }
        self.end(id, now);
        Some(self.add(made, session))
    }

    /// Removes the sessions and tombstones that have expired.
    pub fn forget(&mut self, now: u64) {
        self.sessions.retain(|_, of| of.expires > now);
        self.ended.retain(|_, until| *until > now);
    }
}

/// Compares a reply with the right one.
fn compare(reply: &Reply, expected: &Reply) -> anyhow::Result<()> {
    if reply == expected {
        return Ok(());
    }
    let (reply, expected) = (redacted(reply), redacted(expected));
    match reply == expected {
        true => bail!(No("another payload or subject than expected".to_owned())),
        false => bail!(No(format!("{reply:?} instead of {expected:?}"))),
    }
}

/// A reply without ids, payloads and subjects, which must not be in a log.
fn redacted(reply: &Reply) -> Reply {
    let mut reply = reply.clone();
    match &mut reply {
        Reply::Session(Some(session)) | Reply::Outcome(Outcome::Stale(session)) => {
            session.data.clear();
            session.subject = None;
        }
        Reply::Created(made) | Reply::Rotated(Some(made)) => made.id.clear(),
        _ => {}
    }
    reply
}
