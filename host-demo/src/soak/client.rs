//! A client: sends one request after the other, for its own sessions and for those that all
//! clients share, and compares each answer with what it expects.

use std::time::Duration;

use anyhow::Context;
use wasi_sessions::{Entry, Reply, Request, Sessions};

use super::asked::{ABSOLUTE, Asked, alone, name, patch, payload};
use super::load::Load;
use super::model::Model;
use super::subjects::{self, handle};
use crate::caller::Caller;
use crate::ending::ensure;
use crate::random::Random;

/// From this number of sessions on a client destroys sessions instead of creating them.
const MOST_SESSIONS: usize = 100;

/// The subjects of one client.
const SUBJECTS: usize = 3;

/// The most requests in a batch.
const LARGEST_BATCH: usize = 12;

/// A client, and the model of its sessions.
pub struct Client {
    /// Its number, which errors contain.
    pub number: usize,
    /// The expected state of its sessions.
    pub model: Model,
    caller: Caller,
    random: Random,
    made: u64,
}

impl Client {
    /// A client that has sent no request yet.
    pub fn new(number: usize, caller: Caller, seed: u64) -> Self {
        Self {
            number,
            model: Model::default(),
            caller,
            random: Random::new(seed),
            made: 0,
        }
    }

    /// Whether the client is a thread or a task.
    pub fn caller(&self) -> Caller {
        self.caller
    }

    /// Sends requests until the load ends, one at least; ends the load at the first difference.
    pub async fn run(mut self, load: &Load) -> (Option<Self>, anyhow::Result<()>) {
        let _end = load.ends_on_drop();
        loop {
            let done = self.ask(load).await;
            load.count();
            if done.is_err() || load.is_over() {
                let number = self.number;
                return (Some(self), done.with_context(|| format!("client {number}")));
            }
        }
    }

    /// Makes one random request, batch or call of `admin` while the clock is stopped, and
    /// compares the answer.
    pub async fn ask(&mut self, load: &Load) -> anyhow::Result<()> {
        let clock = load.store.clock.stop().await;
        let (sessions, now) = (&load.sessions, clock.now);
        if self.random.below(64) == 0 {
            self.model.forget(now);
        }
        match self.random.below(100) {
            0..12 => {
                // No other client writes this number.
                let unique = (self.number as u64) << 40 | self.next_number();
                let shared = &load.store.shared;
                let random = &mut self.random;
                shared.ask(sessions, self.caller, random, unique).await
            }
            12..20 => self.batch(sessions, now).await,
            20..25 => self.administer(sessions, now).await,
            _ => self.alone(sessions, now).await,
        }
    }

    /// Reads each session and each ended id of the model, and compares the answers.
    pub async fn compare(&self, sessions: &Sessions, now: u64) -> anyhow::Result<()> {
        for id in self.model.sessions.keys().chain(self.model.ended.keys()) {
            let found = sessions.get(id).await.context("get")?;
            self.model.found(id, found, now)?;
        }
        Ok(())
    }

    async fn alone(&mut self, sessions: &Sessions, now: u64) -> anyhow::Result<()> {
        let asked = self.choose(true, now);
        let name = name(&asked.request);
        let reply = alone(asked.request.clone(), sessions, self.caller).await;
        let reply = reply.context(name)?;
        self.model.note(&asked, &reply, now).context(name)?;
        self.limited(sessions, &reply, now).await.context(name)
    }

    async fn batch(&mut self, sessions: &Sessions, now: u64) -> anyhow::Result<()> {
        let length = 2 + self.random.below(LARGEST_BATCH - 1);
        // Only the last request binds a subject: the effects of two bindings on
        // `maxPerSubject` could hardly be distinguished.
        let asked: Vec<Asked> = (1..=length)
            .map(|number| self.choose(number == length, now))
            .collect();
        let requests = asked.iter().map(|asked| asked.request.clone()).collect();
        let replies = self.caller.answer(sessions.batch(requests)).await;
        let replies = replies.context("batch")?;
        let is_length = replies.len() == length;
        ensure(is_length, "the number of replies to a batch")?;
        let mut last = None;
        for (asked, reply) in asked.iter().zip(replies) {
            let name = || format!("{} in a batch", name(&asked.request));
            let reply = last.insert(reply.with_context(name)?);
            self.model.note(asked, reply, now).with_context(name)?;
        }
        match last {
            Some(reply) => self.limited(sessions, &reply, now).await.context("batch"),
            None => Ok(()),
        }
    }

    /// If a session of a subject has a new id, lists the sessions that the subject has now,
    /// and compares them with `maxPerSubject`.
    async fn limited(
        &mut self,
        sessions: &Sessions,
        reply: &Reply,
        now: u64,
    ) -> anyhow::Result<()> {
        let (Reply::Created(made) | Reply::Rotated(Some(made))) = reply else {
            return Ok(());
        };
        let Some(subject) = self.model.sessions[&made.id].subject.clone() else {
            return Ok(());
        };
        let found = self.list(sessions, &subject).await?;
        let limited = self.model.limited(&subject, &made.id, found, now);
        limited.context("the limit of a subject")
    }

    /// Calls a random function of the contract that lists, counts or ends this client's
    /// sessions, and compares the answer.
    async fn administer(&mut self, sessions: &Sessions, now: u64) -> anyhow::Result<()> {
        let caller = self.caller;
        let subject = self.subject();
        match self.random.below(6) {
            0 | 1 => {
                let entries = self.list(sessions, &subject).await?;
                let expected = self.model.entries(Some(&subject), now);
                subjects::compare(entries, expected).context("list-sessions")
            }
            2 => {
                let count = caller.answer(sessions.count_sessions(Some(&subject))).await;
                let expected = self.model.of(Some(&subject), now).count() as u64;
                let is_right = count.context("count-sessions")? == expected;
                ensure(is_right, "the number of a subject's sessions")
            }
            3 => {
                let id = self.some_id();
                let found = caller.answer(sessions.inspect(&handle(&id))).await;
                let compared = self.model.found(&id, found.context("inspect")?, now);
                compared.context("inspect")
            }
            4 => {
                let id = self.some_id();
                let ended = caller.answer(sessions.terminate(&handle(&id))).await;
                let is_right = ended.context("terminate")? == self.model.end(&id, now);
                ensure(is_right, "whether a session was terminated")
            }
            _ => {
                let except = (self.random.below(2) == 0).then(|| self.some_id());
                let except = except.as_deref();
                let ended = sessions.terminate_subject(&subject, except);
                let ended = caller.answer(ended).await.context("terminate-subject")?;
                let is_right = ended == self.model.end_subject(&subject, except, now);
                ensure(is_right, "the number of sessions that were terminated")
            }
        }
    }

    /// All sessions of a subject.
    async fn list(&mut self, sessions: &Sessions, subject: &str) -> anyhow::Result<Vec<Entry>> {
        let limit = 1 + self.random.below(20) as u32;
        listing(sessions, self.caller, Some(subject), limit).await
    }

    /// A random request. It binds a session to a subject only if `binds` is set.
    fn choose(&mut self, binds: bool, now: u64) -> Asked {
        let has_many = self.model.sessions.len() >= MOST_SESSIONS;
        let id = self.some_id();
        let request = match self.random.below(100) {
            0..18 if !has_many => {
                let (data, ttl) = (self.payload(), self.ttl());
                return Asked::create(data, ttl, self.maybe_subject(binds), now);
            }
            18..45 => Request::Get { id },
            45..58 => Request::Set {
                id,
                data: self.payload(),
                ttl: self.ttl(),
            },
            58..70 => {
                let known = self.model.sessions.get(&id).map(|of| of.version);
                Request::Update {
                    id,
                    data: self.payload(),
                    ttl: self.ttl(),
                    expected: match self.random.below(8) {
                        0 => Some(0),
                        1 => Some(self.random.below(5) as u64),
                        2..5 => None,
                        _ => known,
                    },
                }
            }
            70..78 => Request::Merge {
                id,
                patch: patch(self.next_number()),
                ttl: self.ttl(),
            },
            78..88 => Request::Touch {
                id,
                ttl: self.ttl(),
            },
            88..93 => Request::Rotate {
                id,
                subject: self.maybe_subject(binds),
            },
            _ => Request::Destroy { id },
        };
        request.into()
    }

    /// A random id: of a session, of an ended session, or one that was never used.
    fn some_id(&mut self) -> String {
        let (sessions, ended) = (&self.model.sessions, &self.model.ended);
        let used = match self.random.below(20) {
            0 | 1 if !ended.is_empty() => ended.keys().nth(self.random.below(ended.len())),
            2 => None,
            _ if sessions.is_empty() => None,
            _ => sessions.keys().nth(self.random.below(sessions.len())),
        };
        used.cloned().unwrap_or_else(|| {
            self.made += 1;
            format!("client {} {}", self.number, self.made)
        })
    }

    fn subject(&mut self) -> String {
        format!("user {} {}", self.number, self.random.below(SUBJECTS))
    }

    fn maybe_subject(&mut self, binds: bool) -> Option<String> {
        (binds && self.random.below(2) == 0).then(|| self.subject())
    }

    fn payload(&mut self) -> Vec<u8> {
        let padding = match self.random.below(500) {
            0 => self.random.below(100_000),
            1..20 => self.random.below(10_000),
            _ => self.random.below(600),
        };
        let max_age = (self.random.below(4) == 0).then(|| 1 + self.random.below(200_000) as u64);
        payload(self.next_number(), padding, max_age)
    }

    fn ttl(&mut self) -> Option<Duration> {
        let milliseconds = match self.random.below(20) {
            0..3 => return None,
            3 => 1 + self.random.below(50) as u64,
            4 => 2 * ABSOLUTE,
            _ => 1 + self.random.below(300_000) as u64,
        };
        Some(Duration::from_millis(milliseconds))
    }

    /// A number that this client has not used.
    fn next_number(&mut self) -> u64 {
        self.made += 1;
        self.made
    }
}

/// The sessions of a subject, or all, from pages of `limit` sessions.
pub async fn listing(
    sessions: &Sessions,
    caller: Caller,
    subject: Option<&str>,
    limit: u32,
) -> anyhow::Result<Vec<Entry>> {
    let (mut entries, mut cursor) = (Vec::new(), None::<String>);
    loop {
        let page = sessions.list_sessions(subject, cursor.as_deref(), limit);
        let page = caller.answer(page).await.context("list-sessions")?;
        ensure(page.entries.len() <= limit as usize, "the size of a page")?;
        entries.extend(page.entries);
        cursor = page.next;
        if cursor.is_none() {
            return Ok(entries);
        }
    }
}
