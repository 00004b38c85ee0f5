//! Sessions that all clients write concurrently. Their versions only increase, no two writes
//! get the same version, and each version has the payload of its writer.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context;
use tokio::time::timeout;
use wasi_sessions::{Outcome, Reply, Request, Sessions};

use super::asked::{alone, merged, name, number, patch, payload};
use crate::caller::Caller;
use crate::ending::ensure;
use crate::random::Random;

/// How many sessions are shared.
const SHARED: usize = 12;

/// How many versions of a session are remembered.
const REMEMBERED: usize = 256;

/// How long they live: longer than any soak.
const LIFE: Duration = Duration::from_secs(3_000 * 24 * 60 * 60);

/// The padding of their payloads.
const PADDING: usize = 100;

/// What is known of the shared sessions.
pub struct SharedIds(Vec<Mutex<Versions>>);

/// What is known of one shared session.
#[derive(Default)]
struct Versions {
    /// The latest version in an answer; 0 before the first.
    latest: u64,
    /// The payload's number in each of the last versions.
    payloads: BTreeMap<u64, Option<u64>>,
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
        let request = choose(random, Self::id(place), unique, before);
        let of = || format!("{} of a shared session", name(&request));
        let reply = if random.below(16) == 0 {
            let answer = alone(request.clone(), sessions, Caller::Task);
            match timeout(Duration::ZERO, answer).await {
                Ok(reply) => reply,
                // It was dropped: the request is done completely or not at all.
                Err(_) => return Ok(()),
            }
        } else {
            alone(request.clone(), sessions, caller).await
        };
        let reply = reply.with_context(of)?;
        self.note(place, before, &request, &reply).with_context(of)
    }

    /// Compares an answer; `before` is the latest version that was known before the request.
    fn note(
        &self,
        place: usize,
        before: u64,
        request: &Request,
        reply: &Reply,
    ) -> anyhow::Result<()> {
        match (request, reply) {
            (Request::Get { .. } | Request::Merge { .. }, Reply::Session(None))
            | (Request::Touch { .. }, Reply::Expires(None)) => ensure(before == 0, "it is missing"),
            (Request::Touch { .. }, Reply::Expires(Some(_))) => Ok(()),
            (Request::Get { .. }, Reply::Session(Some(found))) => {
                self.seen(place, before, found.version, &found.data)
            }
            (Request::Merge { patch, .. }, Reply::Session(Some(found))) => {
                let is_merged = merged(&found.data, patch) == found.data;
                ensure(is_merged, "the payload of a merge")?;
                self.seen(place, before + 1, found.version, &found.data)
            }
            (Request::Set { data, .. }, Reply::Outcome(Outcome::Written(written))) => {
                self.seen(place, before + 1, written.version, data)
            }
            (Request::Update { data, expected, .. }, Reply::Outcome(outcome)) => match outcome {
                Outcome::Written(written) => {
                    let is_next = *expected == Some(written.version - 1);
                    ensure(is_next, "a write over another version than expected")?;
                    self.seen(place, before + 1, written.version, data)
                }
                Outcome::Stale(found) => {
                    let is_other = *expected != Some(found.version);
                    ensure(is_other, "a stale write of the right version")?;
                    self.seen(place, before, found.version, &found.data)
                }
                Outcome::Gone => ensure(false, "it is missing"),
            },
            _ => ensure(false, "a reply that no shared session can have"),
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
                Some(found) => self.seen(place, *least, found.version, &found.data),
                None => ensure(*least == 0, "it is missing"),
            }
            .context("of a shared session")?;
        }
        Ok(())
    }

    /// Compares a version, and its payload, with what is known.
    fn seen(&self, place: usize, least: u64, version: u64, data: &[u8]) -> anyhow::Result<()> {
        let payload = number(data, PADDING);
        ensure(payload.is_some(), "a payload that no client wrote")?;
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

fn choose(random: &mut Random, id: String, number: u64, before: u64) -> Request {
    let data = payload(number, PADDING, None);
    let ttl = Some(LIFE);
    match random.below(10) {
        0..4 => Request::Get { id },
        4 | 5 => Request::Set { id, data, ttl },
        6 | 7 => Request::Update {
            id,
            data,
            ttl,
            expected: Some(before),
        },
        8 => Request::Merge {
            id,
            patch: patch(number),
            ttl,
        },
        _ => Request::Touch { id, ttl },
    }
}
