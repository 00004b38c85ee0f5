//! The expected state of one client's sessions, from the answers that the client got, and
//! its comparison with the next answer.
//!
//! No other client knows these ids. So an answer depends only on earlier answers and on the
//! time of its request, of which the clock gives the bounds.

use std::collections::BTreeMap;

use anyhow::bail;
use wasi_sessions::{Created, Outcome, Reply, Session, Written};

use super::ask::{Ask, Payload};
use super::clock::{FARTHEST_BACK, Moment, Presence, Span};
use super::held::{Held, expiry};
use super::store::{RENEWAL_STEP, TOMBSTONE};
use crate::ending::{No, ensure};

/// How long the model keeps expired sessions and tombstones, in milliseconds: longer than
/// the clock goes back.
const REMEMBERED: u64 = 10 * FARTHEST_BACK;

/// The expected state of one client's sessions.
#[derive(Default)]
pub struct Model {
    /// The sessions by id, including expired ones.
    pub sessions: BTreeMap<String, Held>,
    /// The ids that were ended, and the expiry of their tombstones.
    pub ended: BTreeMap<String, Span>,
}

impl Model {
    /// Compares a reply with the model, and updates the model.
    pub fn note(&mut self, ask: &Ask, reply: &Reply, moment: Moment) -> anyhow::Result<()> {
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
                let expires = expiry(moment, payload.life(*ttl), moment.shown);
                ensure(expires.has(made.expires), "the expiry of a new session")?;
                let held = Held {
                    payload: payload.clone(),
                    subject: subject.clone(),
                    version: 1,
                    created: moment.shown,
                    updated: moment.shown,
                    expires: made.expires,
                    is_doubtful: false,
                };
                self.add(made, held)
            }
            (Ask::Get { id }, Reply::Session(found)) => self.found(id, found.as_ref(), moment),
            (Ask::Set { id, payload, ttl }, Reply::Outcome(outcome)) => match outcome {
                Outcome::Written(written) => self.written(id, payload, *ttl, written, moment),
                Outcome::Gone => self.was_refused(id, moment),
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
                    self.written(id, payload, *ttl, written, moment)
                }
                Outcome::Stale(found) => {
                    let is_other = expected.is_some_and(|of| of != found.version);
                    ensure(is_other, "a stale write of the right version")?;
                    self.found(id, Some(found), moment)
                }
                Outcome::Gone if *expected == Some(0) => self.was_refused(id, moment),
                Outcome::Gone => self.was_absent(id, moment),
            },
            (Ask::Merge { id, number, ttl }, Reply::Session(found)) => match found {
                Some(found) => self.merged(id, *number, *ttl, found, moment),
                None => self.was_absent(id, moment),
            },
            (Ask::Touch { id, ttl }, Reply::Expires(found)) => match found {
                Some(expires) => self.touched(id, *ttl, *expires, moment),
                None => self.was_absent(id, moment),
            },
            (Ask::Rotate { id, subject }, Reply::Rotated(found)) => match found {
                Some(made) => self.rotated(id, subject.as_deref(), made, moment),
                None => self.was_absent(id, moment),
            },
            (Ask::Destroy { id }, Reply::Destroyed(done)) => match done {
                true => self.was_ended(id, moment),
                false => self.was_absent(id, moment),
            },
            _ => ensure(false, "a reply of another kind than its request"),
        }
    }

    /// Compares the result of a read.
    pub fn found(
        &mut self,
        id: &str,
        found: Option<&Session>,
        moment: Moment,
    ) -> anyhow::Result<()> {
        match found {
            Some(found) => self.present(id, moment)?.check(found),
            None => self.was_absent(id, moment),
        }
    }

    /// A session that exists according to an answer; fails if it cannot exist.
    fn present(&mut self, id: &str, moment: Moment) -> anyhow::Result<&mut Held> {
        let held = self.sessions.get_mut(id);
        match held.filter(|held| held.presence(moment) != Presence::No) {
            Some(held) => Ok(held),
            None => bail!(No("a session that should not exist".to_owned())),
        }
    }

    /// Compares an answer that there is no session with this id.
    fn was_absent(&self, id: &str, moment: Moment) -> anyhow::Result<()> {
        ensure(
            self.presence(id, moment) != Presence::Yes,
            "a session is missing",
        )
    }

    /// Compares an answer that an id has a tombstone.
    fn was_refused(&self, id: &str, moment: Moment) -> anyhow::Result<()> {
        let is_refused = self.refusal(id, moment) != Presence::No;
        ensure(is_refused, "a write under an id that was not ended")?;
        self.was_absent(id, moment)
    }

    /// Compares an answer that a session was ended, and updates the model.
    pub fn was_ended(&mut self, id: &str, moment: Moment) -> anyhow::Result<()> {
        self.present(id, moment)?;
        self.end(id, moment);
        Ok(())
    }

    /// Whether the store must, may or cannot have a session.
    pub fn presence(&self, id: &str, moment: Moment) -> Presence {
        let held = self.sessions.get(id);
        held.map_or(Presence::No, |held| held.presence(moment))
    }

    fn refusal(&self, id: &str, moment: Moment) -> Presence {
        let until = self.ended.get(id);
        until.map_or(Presence::No, |until| moment.is_before(*until))
    }

    /// Records that a session was ended.
    pub fn end(&mut self, id: &str, moment: Moment) {
        self.sessions.remove(id);
        self.ended.insert(id.to_owned(), moment.shown + TOMBSTONE);
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
        moment: Moment,
    ) -> anyhow::Result<()> {
        let now = Span::exactly(written.updated);
        ensure(moment.shown.has(written.updated), "the time of a write")?;
        let (created, subject) = if written.version == 1 {
            self.was_absent(id, moment)?;
            let is_free = self.refusal(id, moment) != Presence::Yes;
            ensure(is_free, "a write under an id that was ended")?;
            (now, None)
        } else {
            let before = self.present(id, moment)?;
            let is_next = written.version == before.version + 1;
            ensure(is_next, "the version of a write")?;
            (before.created.min(now), before.subject.take())
        };
        let at_once = Moment {
            shown: now,
            highest: now.most,
        };
        let expires = expiry(at_once, payload.life(ttl), created);
        ensure(expires.has(written.expires), "the expiry of a write")?;
        let held = Held {
            payload: payload.clone(),
            subject,
            version: written.version,
            created,
            updated: now,
            expires: written.expires,
            is_doubtful: false,
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
        moment: Moment,
    ) -> anyhow::Result<()> {
        let held = self.present(id, moment)?;
        held.payload.number = number;
        held.version += 1;
        let expires = expiry(moment, held.payload.life(ttl), held.created);
        ensure(expires.has(found.expires), "the expiry of a merge")?;
        held.expires = found.expires;
        held.created = held.created.min(moment.shown);
        held.updated = moment.shown;
        held.check(found)
    }

    fn touched(
        &mut self,
        id: &str,
        ttl: Option<u64>,
        expires: u64,
        moment: Moment,
    ) -> anyhow::Result<()> {
        let held = self.present(id, moment)?;
        let renewed = expiry(moment, held.payload.life(ttl), held.created);
        let before = held.expires;
        if expires == before {
            let gained = renewed.least < before + RENEWAL_STEP && renewed.most >= before;
            return ensure(gained, "a touch that did not renew");
        }
        let is_step = expires < before || expires >= before + RENEWAL_STEP;
        ensure(renewed.has(expires) && is_step, "the expiry of a touch")?;
        held.expires = expires;
        held.created = held.created.min(moment.shown);
        Ok(())
    }

    fn rotated(
        &mut self,
        id: &str,
        subject: Option<&str>,
        made: &Created,
        moment: Moment,
    ) -> anyhow::Result<()> {
        let mut held = self.present(id, moment)?.clone();
        if let Some(subject) = subject {
            held.subject = Some(subject.to_owned());
            held.version += 1;
            held.updated = moment.shown;
        }
        ensure(made.version == held.version, "the version of a rotation")?;
        ensure(made.expires == held.expires, "the expiry of a rotation")?;
        held.created = held.created.or_earlier(moment.shown);
        self.end(id, moment);
        self.add(made, held)
    }

    /// Records that a session may have been ended.
    pub fn doubt(&mut self, id: &str) {
        if let Some(held) = self.sessions.get_mut(id) {
            held.is_doubtful = true;
        }
    }

    /// Removes the sessions and tombstones that expired long ago; see [`REMEMBERED`].
    pub fn forget(&mut self, moment: Moment) {
        let now = moment.shown.least;
        self.sessions
            .retain(|_, held| held.expires + REMEMBERED > now);
        self.ended.retain(|_, until| until.most + REMEMBERED > now);
    }
}
