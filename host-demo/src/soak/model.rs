//! The expected state of one client's sessions, from the answers that the client got, and
//! its comparison with the next answer.
//!
//! No other client knows these ids, and the clock is stopped during a request. So an answer
//! depends only on earlier answers and on the time of its request.

use std::collections::BTreeMap;

use anyhow::bail;
use wasi_sessions::{Created, Outcome, Reply, Session, Written};

use super::ask::{Ask, Payload};
use super::held::{Held, expiry};
use super::store::{RENEWAL_STEP, TOMBSTONE};
use crate::ending::{No, ensure};

/// The expected state of one client's sessions.
#[derive(Default)]
pub struct Model {
    /// The sessions by id, including expired ones.
    pub sessions: BTreeMap<String, Held>,
    /// The ids that were ended, and the expiry of their tombstones.
    pub ended: BTreeMap<String, u64>,
}

impl Model {
    /// Compares a reply with the model, and updates the model. `now` is the time of the
    /// request, here and below.
    pub fn note(&mut self, ask: &Ask, reply: &Reply, now: u64) -> anyhow::Result<()> {
        match (ask, reply) {
            (
                Ask::Create {
                    payload,
                    ttl,
                    subject,
                },
                Reply::Created(made),
            ) => {
                ensure(made.version == 1, "the version of a new session")?;
                let expires = expiry(now, payload.life(*ttl), now);
                ensure(made.expires == expires, "the expiry of a new session")?;
                let held = Held {
                    payload: payload.clone(),
                    subject: subject.clone(),
                    version: 1,
                    created: now,
                    updated: now,
                    expires,
                };
                self.add(made, held)
            }
            (Ask::Get { id }, Reply::Session(found)) => self.found(id, found.as_ref(), now),
            (Ask::Set { id, payload, ttl }, Reply::Outcome(outcome)) => match outcome {
                Outcome::Written(written) => self.written(id, payload, *ttl, written, now),
                Outcome::Gone => self.was_refused(id, now),
                Outcome::Stale(_) => ensure(false, "a write without a version that was stale"),
            },
            (
                Ask::Update {
                    id,
                    payload,
                    ttl,
                    expected,
                },
                Reply::Outcome(outcome),
            ) => match outcome {
                Outcome::Written(written) => {
                    let is_next = expected.is_none_or(|of| written.version == of + 1);
                    ensure(is_next, "a write over another version than expected")?;
                    let starts = written.version == 1;
                    ensure(
                        !starts || *expected == Some(0),
                        "an update that started a session",
                    )?;
                    self.written(id, payload, *ttl, written, now)
                }
                Outcome::Stale(found) => {
                    let is_other = expected.is_some_and(|of| of != found.version);
                    ensure(is_other, "a stale write of the right version")?;
                    self.found(id, Some(found), now)
                }
                Outcome::Gone if *expected == Some(0) => self.was_refused(id, now),
                Outcome::Gone => self.was_absent(id, now),
            },
            (Ask::Merge { id, number, ttl }, Reply::Session(found)) => match found {
                Some(found) => self.merged(id, *number, *ttl, found, now),
                None => self.was_absent(id, now),
            },
            (Ask::Touch { id, ttl }, Reply::Expires(found)) => match found {
                Some(expires) => self.touched(id, *ttl, *expires, now),
                None => self.was_absent(id, now),
            },
            (Ask::Rotate { id, subject }, Reply::Rotated(found)) => match found {
                Some(made) => self.rotated(id, subject.as_deref(), made, now),
                None => self.was_absent(id, now),
            },
            (Ask::Destroy { id }, Reply::Destroyed(done)) => match done {
                true => self.was_ended(id, now),
                false => self.was_absent(id, now),
            },
            _ => ensure(false, "a reply of another kind than its request"),
        }
    }

    /// Compares the result of a read.
    pub fn found(&mut self, id: &str, found: Option<&Session>, now: u64) -> anyhow::Result<()> {
        match found {
            Some(found) => self.present(id, now)?.check(found),
            None => self.was_absent(id, now),
        }
    }

    /// A session that exists according to an answer; fails if it should not.
    fn present(&mut self, id: &str, now: u64) -> anyhow::Result<&mut Held> {
        let held = self.sessions.get_mut(id);
        match held.filter(|held| held.expires > now) {
            Some(held) => Ok(held),
            None => bail!(No("a session that should not exist".to_owned())),
        }
    }

    /// Compares an answer that there is no session with this id.
    fn was_absent(&self, id: &str, now: u64) -> anyhow::Result<()> {
        let held = self.sessions.get(id);
        let is_absent = held.is_none_or(|held| held.expires <= now);
        ensure(is_absent, "a session is missing")
    }

    /// Compares an answer that an id has a tombstone.
    fn was_refused(&self, id: &str, now: u64) -> anyhow::Result<()> {
        let is_refused = self.refuses(id, now);
        ensure(is_refused, "a refused write to an id that was not ended")?;
        self.was_absent(id, now)
    }

    /// Compares an answer that a session was ended, and updates the model.
    pub fn was_ended(&mut self, id: &str, now: u64) -> anyhow::Result<()> {
        self.present(id, now)?;
        self.end(id, now);
        Ok(())
    }

    fn refuses(&self, id: &str, now: u64) -> bool {
        self.ended.get(id).is_some_and(|until| *until > now)
    }

    /// Records that a session was ended.
    pub fn end(&mut self, id: &str, now: u64) {
        self.sessions.remove(id);
        self.ended.insert(id.to_owned(), now + TOMBSTONE);
    }

    fn add(&mut self, made: &Created, held: Held) -> anyhow::Result<()> {
        let is_new = !self.ended.contains_key(&made.id);
        let before = self.sessions.insert(made.id.clone(), held);
        ensure(is_new && before.is_none(), "a new id that was used before")
    }

    fn written(
        &mut self,
        id: &str,
        payload: &Payload,
        ttl: Option<u64>,
        written: &Written,
        now: u64,
    ) -> anyhow::Result<()> {
        ensure(written.updated == now, "the time of a write")?;
        let (created, subject) = if written.version == 1 {
            self.was_absent(id, now)?;
            let is_free = !self.refuses(id, now);
            ensure(is_free, "a write under an id that was ended")?;
            (now, None)
        } else {
            let before = self.present(id, now)?;
            let is_next = written.version == before.version + 1;
            ensure(is_next, "the version of a write")?;
            (before.created, before.subject.take())
        };
        let expires = expiry(now, payload.life(ttl), created);
        ensure(written.expires == expires, "the expiry of a write")?;
        let held = Held {
            payload: payload.clone(),
            subject,
            version: written.version,
            created,
            updated: now,
            expires,
        };
        self.ended.remove(id);
        self.sessions.insert(id.to_owned(), held);
        Ok(())
    }

    fn merged(
        &mut self,
        id: &str,
        number: u64,
        ttl: Option<u64>,
        found: &Session,
        now: u64,
    ) -> anyhow::Result<()> {
        let held = self.present(id, now)?;
        held.payload.number = number;
        held.version += 1;
        held.updated = now;
        held.expires = expiry(now, held.payload.life(ttl), held.created);
        held.check(found)
    }

    fn touched(
        &mut self,
        id: &str,
        ttl: Option<u64>,
        expires: u64,
        now: u64,
    ) -> anyhow::Result<()> {
        let held = self.present(id, now)?;
        let renewed = expiry(now, held.payload.life(ttl), held.created);
        let gains_little = (held.expires..held.expires + RENEWAL_STEP).contains(&renewed);
        if !gains_little {
            held.expires = renewed;
        }
        ensure(expires == held.expires, "the expiry of a touch")
    }

    fn rotated(
        &mut self,
        id: &str,
        subject: Option<&str>,
        made: &Created,
        now: u64,
    ) -> anyhow::Result<()> {
        let mut held = self.present(id, now)?.clone();
        if let Some(subject) = subject {
            held.subject = Some(subject.to_owned());
            held.version += 1;
            held.updated = now;
        }
        ensure(made.version == held.version, "the version of a rotation")?;
        ensure(made.expires == held.expires, "the expiry of a rotation")?;
        self.end(id, now);
        self.add(made, held)
    }

    /// Removes the sessions and tombstones that have expired.
    pub fn forget(&mut self, now: u64) {
        self.sessions.retain(|_, held| held.expires > now);
        self.ended.retain(|_, until| *until > now);
    }
}
