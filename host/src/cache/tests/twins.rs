//! A property test: a store with a cache and one without give the same answers to the same
//! requests at the same times.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;
use tempfile::TempDir;

use super::steps::{Move, Step, cache, options, period, steps};
use super::{Clock, START, builder, home};
use crate::{Entry, Error, Options, Outcome, Reply, Request, Sessions};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_cache_changes_no_answer(
        options in options(),
        cache in cache(),
        period in period(),
        steps in steps(),
    ) {
        let mut twins = Twins::new(&options, cache, period);
        for (step, reads) in &steps {
            twins.take(step);
            for id in reads {
                twins.alone(&Request::Get { id: id.clone() });
            }
        }
        twins.compare_all();
    }
}

/// The two stores, and the ids and expiries that the next step may refer to.
struct Twins {
    /// The store with the cache comes first.
    stores: [Sessions; 2],
    _homes: [TempDir; 2],
    clock: Clock,
    /// The number of the step, which seeds the randomness of both stores.
    seed: Arc<AtomicU64>,
    now: u64,
    collects: bool,
    /// The ids that were created, newest last.
    made: Vec<String>,
    /// The expiries of sessions according to the answers so far.
    expiries: HashMap<String, u64>,
}

impl Twins {
    fn new(options: &Options, cache: usize, period: u64) -> Self {
        let clock = Clock::new();
        let seed = Arc::new(AtomicU64::new(0));
        let homes = [home(), home()];
        let open = |index: usize, cache| {
            let builder = builder(&homes[index])
                .options(options.clone())
                .read_cache(cache)
                .random(randomness(&seed, period));
            clock.given_to(builder).open().wait().unwrap()
        };
        Self {
            stores: [open(0, cache), open(1, 0)],
            _homes: homes,
            clock,
            seed,
            now: START,
            collects: options.gc_frequency > 0,
            made: vec![],
            expiries: HashMap::new(),
        }
    }

    fn take(&mut self, step: &Step) {
        self.seed.fetch_add(1, Ordering::SeqCst);
        match step {
            Step::Alone(request) => self.alone(request),
            Step::Batch(requests) => {
                let requests: Vec<Request> = requests.iter().map(|r| self.with_ids(r)).collect();
                let replies = self.both(|store| store.batch(requests.clone()).wait());
                // The batch fails as a whole if an id is generated twice.
                for (request, reply) in requests.iter().zip(replies.unwrap_or_default()) {
                    self.learn(request, &reply);
                }
            }
            Step::Terminate(place) => {
                if let Some(entry) = self.list().get(*place) {
                    let ended = self.both(|store| store.terminate(&entry.handle).wait());
                    assert_eq!(ended, Ok(true));
                }
            }
            Step::TerminateSubject(subject, except) => {
                let except = except.as_deref().map(|id| self.id(id));
                let except = except.as_deref();
                let ended = self.both(|store| store.terminate_subject(subject, except).wait());
                assert!(ended.is_ok());
            }
            Step::Clear => assert!(self.both(|store| store.clear().wait()).is_ok()),
            Step::Collect(limit) if self.collects => {
                let _ = self
                    .stores
                    .each_ref()
                    .map(|store| store.collect(*limit).wait());
            }
            Step::Collect(limit) => {
                self.both(|store| store.collect(*limit).wait()).unwrap();
            }
            Step::Clock(moved) => self.set_clock(self.moment(moved)),
        }
    }

    /// Sends a request with its own function to both stores.
    fn alone(&mut self, request: &Request) {
        let request = self.with_ids(request);
        let reply = self.both(|store| send(store, &request));
        self.learn(&request, &reply);
    }

    /// The answer of both stores, which must be equal.
    fn both<T: PartialEq>(&self, ask: impl Fn(&Sessions) -> T) -> T {
        let [cached, plain] = self.stores.each_ref().map(ask);
        assert!(cached == plain, "the cache changed an answer");
        plain
    }

    fn list(&self) -> Vec<Entry> {
        let page = self.both(|store| store.list_sessions(None, None, 1000).wait());
        page.unwrap().entries
    }

    fn compare_all(&mut self) {
        self.list();
        for id in self.made.clone() {
            self.alone(&Request::Get { id });
        }
        assert_eq!(self.both(|store| store.check().wait()), Ok(vec![]));
    }

    fn learn(&mut self, request: &Request, reply: &Result<Reply, Error>) {
        let expires = match reply {
            Ok(Reply::Created(created) | Reply::Rotated(Some(created))) => {
                self.made.push(created.id.clone());
                self.expiries.insert(created.id.clone(), created.expires);
                return;
            }
            Ok(Reply::Outcome(Outcome::Written(written))) => written.expires,
            Ok(Reply::Session(Some(session))) => session.expires,
            Ok(Reply::Expires(Some(expires))) => *expires,
            _ => return,
        };
        if let Some(id) = id_of(&mut request.clone()) {
            self.expiries.insert(id.clone(), expires);
        }
    }

    fn moment(&self, moved: &Move) -> u64 {
        match moved {
            Move::Forward(milliseconds) => self.now.saturating_add(*milliseconds),
            Move::Back(milliseconds) => self.now.saturating_sub(*milliseconds),
            Move::Start => START,
            Move::Ahead => START + 3_000_000_000_000,
            Move::Expiry(id, offset) => match self.expiries.get(&self.id(id)) {
                Some(expires) => expires.saturating_add_signed(*offset),
                None => self.now,
            },
        }
    }

    /// Sets the clock. Reads from memory carry no collection step, so the stores collect at
    /// different times, which shows when the clock goes back and uncollected sessions
    /// reappear. Before the clock goes back, both stores therefore collect everything.
    fn set_clock(&mut self, now: u64) {
        if self.collects && now < self.now {
            for store in &self.stores {
                while store.collect(1000).wait().unwrap().more {}
            }
        }
        self.now = now;
        self.clock.set(now);
    }

    /// Resolves `#0` to the id created last, `#1` to the one before it, and so on. Any other
    /// id is returned unchanged.
    fn id(&self, id: &str) -> String {
        let Some(age) = id.strip_prefix('#') else {
            return id.into();
        };
        let made = self.made.iter().rev().nth(age.parse().unwrap());
        made.cloned().unwrap_or_else(|| id.into())
    }

    fn with_ids(&self, request: &Request) -> Request {
        let mut request = request.clone();
        if let Some(id) = id_of(&mut request) {
            *id = self.id(id);
        }
        request
    }
}

fn id_of(request: &mut Request) -> Option<&mut String> {
    match request {
        Request::Create(_) => None,
        Request::Get { id }
        | Request::Set { id, .. }
        | Request::Update { id, .. }
        | Request::Merge { id, .. }
        | Request::Touch { id, .. }
        | Request::Rotate { id, .. }
        | Request::Destroy { id } => Some(id),
    }
}

fn send(store: &Sessions, request: &Request) -> Result<Reply, Error> {
    Ok(match request.clone() {
        Request::Create(session) => Reply::Created(store.create(session).wait()?),
        Request::Get { id } => Reply::Session(store.get(&id).wait()?),
        Request::Set { id, data, ttl } => Reply::Outcome(store.set(&id, data, ttl).wait()?),
        Request::Update {
            id,
            data,
            ttl,
            expected,
        } => Reply::Outcome(store.update(&id, data, ttl, expected).wait()?),
        Request::Merge { id, patch, ttl } => Reply::Session(store.merge(&id, &patch, ttl).wait()?),
        Request::Touch { id, ttl } => Reply::Expires(store.touch(&id, ttl).wait()?),
        Request::Rotate { id, subject } => {
            Reply::Rotated(store.rotate(&id, subject.as_deref()).wait()?)
        }
        Request::Destroy { id } => Reply::Destroyed(store.destroy(&id).wait()?),
    })
}

/// Randomness that depends on the step's number and on the number of draws in the step.
fn randomness(seed: &Arc<AtomicU64>, period: u64) -> impl Fn(&mut [u8]) + Send + Sync + 'static {
    let seed = seed.clone();
    let last = AtomicU64::new(0);
    let draws = AtomicU64::new(0);
    move |bytes| {
        let step = seed.load(Ordering::SeqCst);
        if last.swap(step, Ordering::SeqCst) != step {
            draws.store(0, Ordering::SeqCst);
        }
        let draw = draws.fetch_add(1, Ordering::SeqCst);
        let drawn = [step % period, draw].map(u64::to_le_bytes).concat();
        for (byte, drawn) in bytes.iter_mut().zip(drawn.into_iter().cycle()) {
            *byte = drawn;
        }
    }
}
