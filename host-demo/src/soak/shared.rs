//! Sessions that all clients write concurrently. Their versions only increase, no two writes
//! get the same version, and each version has the payload of its writer.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context;
use tokio::time::timeout;
use wasi_sessions::{Outcome, Reply, Session, Sessions};

use super::ask::{Ask, Payload};
use crate::caller::Caller;
use crate::ending::ensure;
use crate::random::Random;

/// How many sessions are shared.
const SHARED: usize = 12;

/// How many versions of a session are remembered.
const REMEMBERED: usize = 256;

/// How long they live, in milliseconds: longer than any soak.
const LIFE: u64 = 3_000 * 24 * 60 * 60 * 1000;

/// What is known of the shared sessions.
pub struct SharedIds(Vec<Mutex<Versions>>);

/// What is known of one shared session.
#[derive(Default)]
struct Versions {
    /// The latest version in an answer; 0 before the first.
    latest: u64,
    /// The payload's number in each of the last versions.
    payloads: BTreeMap<u64, u64>,
}

impl SharedIds {
    /// Shared sessions that are not written yet.
    pub fn new() -> Self {
        Self((0..SHARED).map(|_| Mutex::default()).collect())
    }

    /// The id of a shared session.
    pub fn id(number: usize) -> String {
        format!("shared {number}")
    }

    /// Makes a random request for one of them, and compares the answer. `unique` is a number
    /// that no client has written.
    pub async fn ask(
        &self,
        sessions: &Sessions,
        caller: Caller,
        random: &mut Random,
        unique: u64,
    ) -> anyhow::Result<()> {
        let place = random.below(SHARED);
        let before = self.versions(place).latest;
        let ask = choose(random, Self::id(place), unique, before);
        let name = || format!("{} of a shared session", ask.name());
        let reply = if random.below(16) == 0 {
            let answer = ask.alone(sessions, Caller::Task);
            match timeout(Duration::ZERO, answer).await {
                Ok(reply) => reply,
                // It was dropped: the request is done completely or not at all.
                Err(_) => return Ok(()),
            }
        } else {
            ask.alone(sessions, caller).await
        };
        let reply = reply.with_context(name)?;
        self.note(place, before, &ask, &reply).with_context(name)
    }

    /// Compares an answer; `before` is the latest version that was known before the request.
    fn note(&self, place: usize, before: u64, ask: &Ask, reply: &Reply) -> anyhow::Result<()> {
        match (ask, reply) {
            (Ask::Get { .. } | Ask::Merge { .. }, Reply::Session(None)) => {
                ensure(before == 0, "it is missing")
            }
            (Ask::Get { .. }, Reply::Session(Some(session))) => self.read(place, before, session),
            (Ask::Merge { number: merged, .. }, Reply::Session(Some(session))) => {
                let is_merged = number(&session.data) == Some(*merged);
                ensure(is_merged, "the payload of a merge")?;
                self.read(place, before + 1, session)
            }
            (Ask::Set { payload, .. }, Reply::Outcome(Outcome::Written(written))) => {
                self.seen(place, before + 1, written.version, payload.number)
            }
            (
                Ask::Update {
                    payload, expected, ..
                },
                Reply::Outcome(outcome),
            ) => match outcome {
                Outcome::Written(written) => {
                    let is_next = *expected == Some(written.version - 1);
                    ensure(is_next, "a write over another version than expected")?;
                    self.seen(place, before + 1, written.version, payload.number)
                }
                Outcome::Stale(session) => {
                    let is_other = *expected != Some(session.version);
                    ensure(is_other, "a stale write of the right version")?;
                    self.read(place, before, session)
                }
                Outcome::Gone => ensure(false, "it is missing"),
            },
            (Ask::Touch { .. }, Reply::Expires(expires)) => {
                ensure(expires.is_some() || before == 0, "it is missing")
            }
            _ => ensure(false, "a reply of another kind than its request"),
        }
    }

    /// The latest known version of each of them; 0 if it is not written yet.
    pub fn known(&self) -> impl Iterator<Item = u64> {
        (0..SHARED).map(|place| self.versions(place).latest)
    }

    /// Reads all of them in a store, and compares: each has at least the version in `known`.
    pub fn compare(&self, sessions: &Sessions, known: &[u64]) -> anyhow::Result<()> {
        for (place, least) in known.iter().enumerate() {
            match sessions.get(&Self::id(place)).wait().context("get")? {
                Some(session) => self.read(place, *least, &session),
                None => ensure(*least == 0, "it is missing"),
            }
            .context("of a shared session")?;
        }
        Ok(())
    }

    fn read(&self, place: usize, least: u64, session: &Session) -> anyhow::Result<()> {
        let payload = number(&session.data);
        ensure(payload.is_some(), "a payload that no client wrote")?;
        self.seen(place, least, session.version, payload.unwrap_or_default())
    }

    fn seen(&self, place: usize, least: u64, version: u64, payload: u64) -> anyhow::Result<()> {
        ensure(version >= least, "an older version than was answered")?;
        let mut versions = self.versions(place);
        versions.latest = versions.latest.max(version);
        let known = *versions.payloads.entry(version).or_insert(payload);
        if versions.payloads.len() > REMEMBERED {
            versions.payloads.pop_first();
        }
        ensure(known == payload, "two payloads of one version")
    }

    fn versions(&self, place: usize) -> MutexGuard<'_, Versions> {
        self.0[place].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn choose(random: &mut Random, id: String, number: u64, before: u64) -> Ask {
    let payload = Payload {
        number,
        padding: 100,
        max_age: None,
    };
    let ttl = Some(LIFE);
    match random.below(10) {
        0..4 => Ask::Get { id },
        4 | 5 => Ask::Set { id, payload, ttl },
        6 | 7 => Ask::Update {
            id,
            payload,
            ttl,
            expected: Some(before),
        },
        8 => Ask::Merge { id, number, ttl },
        _ => Ask::Touch { id, ttl },
    }
}

/// The number in a payload; `None` if no client writes such a payload.
fn number(data: &[u8]) -> Option<u64> {
    let payload: serde_json::Value = serde_json::from_slice(data).ok()?;
    let number = payload.get("number")?.as_u64()?;
    let expected = Payload {
        number,
        padding: 100,
        max_age: None,
    };
    (expected.text().as_bytes() == data).then_some(number)
}
