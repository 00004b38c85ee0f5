//! A property test: for random sequences of requests and clock changes, the store gives the
//! same answers as a small model of the contract.

mod garbage;
mod json;
pub mod reference;
mod steps;

use crate::engine::{
    Collected, CreateRequest, DestroyRequest, Engine, Error, GetRequest, MergeRequest, Options,
    Reply, Request, RotateRequest, SetRequest, Store, TouchRequest, UpdateRequest,
};
use crate::fixture::{self, Counting, Database, NOW, OpenStore, SETUPS, Setup, handle};
use garbage::Garbage;
use proptest::prelude::*;
use reference::Reference;
use std::collections::BTreeSet;
use steps::{Clock, Step, options, steps};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(fixture::CASES))]

    #[test]
    fn a_store_of_the_first_setup_answers_as_the_model_does(
        options in options(),
        steps in steps(),
    ) {
        run(SETUPS[0], options, &steps);
    }

    #[test]
    fn a_store_of_the_second_setup_answers_as_the_model_does(
        options in options(),
        steps in steps(),
    ) {
        run(SETUPS[1], options, &steps);
    }
}

fn run(setup: Setup, options: Options, steps: &[Step]) {
    let mut run = Run::new(setup, options);
    for step in steps {
        run.take(step);
    }
    assert_eq!(run.stores[0].check(), Ok(vec![]));
}

/// The store, the model, and the state to which the next step may refer.
struct Run {
    database: Database,
    counting: Counting,
    /// Two stores, which take turns, if the database counts requests; otherwise one.
    stores: Vec<OpenStore>,
    reference: Reference,
    garbage: Garbage,
    /// The ids that the store has generated, newest last.
    made: Vec<String>,
    cursor: Option<String>,
}

impl Run {
    fn new(setup: Setup, options: Options) -> Run {
        let database = Database::with(setup, |all| {
            *all = Options {
                access: all.access,
                durability: all.durability,
                sync_timeout: all.sync_timeout,
                ..options
            }
        });
        let options = database.options.clone();
        let counting = fixture::counting(setup);
        let stores = match counting {
            Counting::Store | Counting::Process => vec![database.open()],
            Counting::Database => vec![database.open(), database.open()],
        };
        Run {
            database,
            stores,
            garbage: Garbage::new(options.gc_frequency, options.gc_step),
            reference: Reference::new(options, NOW),
            counting,
            made: vec![],
            cursor: None,
        }
    }

    fn take(&mut self, step: &Step) {
        let now = self.reference.now;
        match step {
            Step::Alone(request) => {
                let request = self.with_ids(request);
                self.carry(1, |store, run| {
                    let answer = send(store, now, &request);
                    run.compare(&request, answer) as u64
                });
            }
            Step::Batch(requests) => {
                let requests: Vec<Request> = requests.iter().map(|r| self.with_ids(r)).collect();
                self.carry(requests.len() as u64, |store, run| {
                    let replies = store.batch(now, &requests).unwrap();
                    assert_eq!(replies.len(), requests.len());
                    for (request, reply) in requests.iter().zip(replies) {
                        run.compare(request, reply);
                    }
                    requests.len() as u64
                });
            }
            Step::Terminate(id) => {
                let name = handle(&self.id(id));
                self.carry(1, |store, run| {
                    assert_eq!(
                        store.terminate(now, &name),
                        Ok(run.reference.terminate(&name))
                    );
                    1
                });
            }
            Step::TerminateSubject(subject, except) => {
                let except = except.as_deref().map(|id| self.id(id));
                let except = except.as_deref();
                self.carry(1, |store, run| {
                    let expected = run.reference.terminate_subject(subject, except);
                    assert_eq!(store.terminate_subject(now, subject, except), Ok(expected));
                    1
                });
            }
            Step::Clear => self.carry(1, |store, run| {
                assert_eq!(store.clear(now), Ok(run.reference.clear()));
                1
            }),
            Step::List {
                subject,
                resumed,
                limit,
            } => self.carry(1, |store, run| {
                let cursor = run.cursor.take().filter(|_| *resumed);
                let (subject, cursor) = (subject.as_deref(), cursor.as_deref());
                let page = store.list_sessions(now, subject, cursor, *limit);
                if !(1..=1000).contains(limit) {
                    assert_eq!(page.map_err(without_words), Err(invalid()));
                    return 0;
                }
                let page = page.unwrap();
                assert_eq!(page, run.reference.list(subject, cursor, *limit));
                run.cursor = page.next;
                1
            }),
            Step::BadCursor => self.carry(1, |store, _| {
                let page = store.list_sessions(now, None, Some("behind the last one"), 10);
                assert_eq!(page.map_err(without_words), Err(invalid()));
                0
            }),
            Step::Count(subject) => self.carry(1, |store, run| {
                let expected = run.reference.count(subject.as_deref());
                assert_eq!(store.count_sessions(now, subject.as_deref()), Ok(expected));
                1
            }),
            Step::Collect(limit) => self.collect(*limit),
            Step::Reopen => self.reopen(),
            Step::Clock(clock) => self.reference.now = self.moment(clock),
        }
        self.compare_statistics();
        self.stores.rotate_left(1);
    }

    /// Makes one call with this many requests, which returns how many count, and checks the
    /// collection step that followed.
    fn carry(&mut self, requests: u64, call: impl FnOnce(&mut Store, &mut Run) -> u64) {
        let writes = self.reference.writes;
        let mut store = self.stores.remove(0);
        let before = store.stats(self.reference.now).unwrap().collected;
        let counted = call(&mut store, self);
        let removed = store.stats(self.reference.now).unwrap().collected - before;
        self.stores.insert(0, store);
        let wrote = self.reference.writes - writes;
        let (least, most) = match self.counting {
            Counting::Store | Counting::Process => (counted, counted),
            Counting::Database if wrote > 0 => (1, requests),
            Counting::Database => {
                assert_eq!(removed, 0, "a read collected");
                return;
            }
        };
        let expired = self.reference.expired();
        match counted {
            0 => assert_eq!(removed, 0, "a refused request collected"),
            _ => self
                .garbage
                .carried(requests, least, most, expired, removed),
        }
        self.collected(removed, expired);
    }

    fn collect(&mut self, limit: u64) {
        let expired = self.reference.expired();
        let now = self.reference.now;
        let Collected { removed, more } = self.stores[0].collect(now, limit).unwrap();
        assert_eq!(removed, limit.min(expired));
        assert!(more || removed == expired);
        self.collected(removed, expired);
        if !more {
            self.garbage.is_over();
        }
    }

    /// Applies a collection to the model. The store chooses which rows it removes first, so
    /// the rows that are left are read from the database.
    fn collected(&mut self, removed: u64, expired: u64) {
        if removed == 0 {
            return;
        }
        let left = match removed < expired {
            true => self.database.rows(&mut self.stores[0]),
            false => BTreeSet::new(),
        };
        assert_eq!(self.reference.collect(&left), removed);
    }

    /// Reopens the store. If the open store counts requests, the count starts at 0 again.
    fn reopen(&mut self) {
        drop(self.stores.remove(0));
        self.stores.insert(0, self.database.open());
        if self.counting == Counting::Store {
            self.garbage.is_over();
        }
    }

    /// Compares an answer with the model's; returns whether it was not an error.
    fn compare(&mut self, request: &Request, answer: Result<Reply, Error>) -> bool {
        let fresh = match &answer {
            Ok(Reply::Created(created) | Reply::Rotated(Some(created))) => created.id.clone(),
            _ => String::new(),
        };
        assert!(!self.made.contains(&fresh), "an id was made twice");
        let done = answer.is_ok();
        let expected = self.reference.answer(request, &fresh);
        assert_eq!(answer.map_err(without_words), expected, "{request:?}");
        if !fresh.is_empty() {
            assert_eq!(fresh.len(), 43);
            self.made.push(fresh);
        }
        done
    }

    fn compare_statistics(&mut self) {
        let now = self.reference.now;
        let statistics = self.stores[0].stats(now).unwrap();
        let expected = (self.reference.count(None), self.reference.expired());
        assert_eq!((statistics.live, statistics.expired), expected);
    }

    fn moment(&self, clock: &Clock) -> u64 {
        let now = self.reference.now;
        match clock {
            Clock::Forward(milliseconds) => now.saturating_add(*milliseconds),
            Clock::Back(milliseconds) => now.saturating_sub(*milliseconds),
            Clock::To(moment) => *moment,
            Clock::Expiry(id, offset) => match self.reference.expiry_of(&self.id(id)) {
                Some(expires) => expires.saturating_add_signed(*offset),
                None => now,
            },
        }
    }

    /// Resolves an id: `#0` means the id generated last, `#1` the one before it, and so on;
    /// any other id is used as it is.
    fn id(&self, id: &str) -> String {
        let Some(age) = id.strip_prefix('#') else {
            return id.into();
        };
        let made = self.made.iter().rev().nth(age.parse().unwrap());
        made.cloned().unwrap_or_else(|| id.into())
    }

    fn with_ids(&self, request: &Request) -> Request {
        let mut request = request.clone();
        match &mut request {
            Request::Create(_) => {}
            Request::Get(GetRequest { id })
            | Request::Set(SetRequest { id, .. })
            | Request::Update(UpdateRequest { id, .. })
            | Request::Merge(MergeRequest { id, .. })
            | Request::Touch(TouchRequest { id, .. })
            | Request::Rotate(RotateRequest { id, .. })
            | Request::Destroy(DestroyRequest { id }) => *id = self.id(id),
        }
        request
    }
}

/// Calls the function that a request names.
pub fn send(store: &mut Store, now: u64, request: &Request) -> Result<Reply, Error> {
    Ok(match request {
        Request::Create(CreateRequest { data, ttl, subject }) => {
            Reply::Created(store.create(now, data, *ttl, subject.as_deref())?)
        }
        Request::Get(GetRequest { id }) => Reply::Session(store.get(now, id)?),
        Request::Set(SetRequest { id, data, ttl }) => {
            Reply::Outcome(store.set(now, id, data, *ttl)?)
        }
        Request::Update(UpdateRequest {
            id,
            data,
            ttl,
            expected,
        }) => Reply::Outcome(store.update(now, id, data, *ttl, *expected)?),
        Request::Merge(MergeRequest { id, patch, ttl }) => {
            Reply::Session(store.merge(now, id, patch, *ttl)?)
        }
        Request::Touch(TouchRequest { id, ttl }) => Reply::Expires(store.touch(now, id, *ttl)?),
        Request::Rotate(RotateRequest { id, subject }) => {
            Reply::Rotated(store.rotate(now, id, subject.as_deref())?)
        }
        Request::Destroy(DestroyRequest { id }) => Reply::Destroyed(store.destroy(now, id)?),
    })
}

fn without_words(error: Error) -> Error {
    match error {
        Error::InvalidArgument(_) => invalid(),
        error => error,
    }
}

fn invalid() -> Error {
    Error::InvalidArgument(String::new())
}
