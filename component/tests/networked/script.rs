//! The functions of the contract as a script: their calls, with the sessions that these need,
//! and the answers and the state that the model expects.

use crate::contract::model::reference::Reference;
use crate::contract::model::send;
use crate::engine::{
    CreateRequest, DestroyRequest, Engine, Entry, Error, GetRequest, MergeRequest, Page, Reply,
    Request, RotateRequest, SetRequest, Store, TouchRequest, UpdateRequest,
};
use crate::fixture::{Database, NOW, handle};
use std::collections::BTreeSet;

/// The most sessions of a subject.
pub const MOST: u64 = 2;

/// The functions, those with the most steps first.
pub const SCRIPT: [Function; 22] = [
    Function::CreateTable,
    Function::Open,
    Function::Batch,
    Function::RotateWithSubject,
    Function::CreateWithLimit,
    Function::Rotate,
    Function::TerminateSubject,
    Function::Clear,
    Function::Collect,
    Function::Merge,
    Function::Touch,
    Function::Update,
    Function::UpdateStale,
    Function::Set,
    Function::TouchWithTtl,
    Function::Create,
    Function::Destroy,
    Function::Terminate,
    Function::Get,
    Function::BatchOfReads,
    Function::List,
    Function::Stats,
];

#[derive(Clone, Copy, Debug)]
pub enum Function {
    CreateTable,
    Open,
    Batch,
    BatchOfReads,
    RotateWithSubject,
    CreateWithLimit,
    Rotate,
    TerminateSubject,
    Clear,
    Collect,
    Merge,
    Touch,
    TouchWithTtl,
    Update,
    UpdateStale,
    Set,
    Create,
    Destroy,
    Terminate,
    Get,
    List,
    Stats,
}

/// A call of a function, with its arguments.
#[derive(Clone, Debug)]
pub enum Call {
    /// Of a table that is there or not.
    Open(String),
    One(Request),
    Batch(Vec<Request>),
    /// The session with this id.
    Terminate(String),
    TerminateSubject(String),
    Clear,
    Collect,
    List,
    Stats,
}

#[derive(Debug, PartialEq)]
pub enum Answer {
    Opened,
    Replies(Vec<Result<Reply, Error>>),
    Number(u64),
    Page(Page),
    LiveAndExpired(u64, u64),
}

impl Function {
    /// Whether a lost answer leaves unknown whether it was done.
    pub fn writes(self) -> bool {
        !matches!(
            self,
            Function::CreateTable
                | Function::Open
                | Function::Get
                | Function::BatchOfReads
                | Function::List
                | Function::Stats
        )
    }
}

/// The sessions of a store, and the model of them.
pub struct Sessions {
    /// A store that no fault strikes.
    pub direct: Store,
    pub model: Reference,
    numbers: u32,
}

impl Sessions {
    pub fn new(database: &Database) -> Sessions {
        Sessions {
            direct: database.open(),
            model: Reference::new(database.options.clone(), NOW),
            numbers: 0,
        }
    }

    /// A number that was not used before.
    pub fn number(&mut self) -> u32 {
        self.numbers += 1;
        self.numbers
    }

    /// Ends all sessions.
    pub fn clear(&mut self) {
        self.model.now += 1;
        let ended = self.direct.clear(self.model.now);
        assert_eq!(ended, Ok(self.model.clear()));
    }

    /// The call of a function, with the sessions that it needs.
    pub fn call_of(&mut self, function: Function) -> Call {
        let data = b"{\"a\":1}".to_vec();
        let subject = Some("alice".to_owned());
        let create = |subject: Option<String>| {
            Request::Create(CreateRequest {
                data: data.clone(),
                ttl: None,
                subject,
            })
        };
        match function {
            Function::CreateTable => {
                return Call::Open(format!("Table{}", self.number()));
            }
            Function::Open => return Call::Open(self.model.options.table_name.clone()),
            Function::Clear => return Call::Clear,
            Function::List => return Call::List,
            Function::Stats => return Call::Stats,
            Function::Collect => {
                for _ in 0..3 {
                    self.put("{}", Some(0));
                }
                return Call::Collect;
            }
            Function::Create => return Call::One(create(None)),
            Function::CreateWithLimit | Function::TerminateSubject => {
                for _ in 0..MOST {
                    self.model.now += 1;
                    self.without_proxy(create(subject.clone()));
                }
                return match function {
                    Function::CreateWithLimit => Call::One(create(subject)),
                    _ => Call::TerminateSubject("alice".into()),
                };
            }
            Function::RotateWithSubject => {
                for _ in 0..MOST {
                    self.model.now += 1;
                    self.without_proxy(create(subject.clone()));
                }
            }
            _ => {}
        }
        let id = self.put("{\"b\":2}", None);
        let update = |expected| {
            Request::Update(UpdateRequest {
                id: id.clone(),
                data: data.clone(),
                ttl: None,
                expected: Some(expected),
            })
        };
        let set = |id: &str| {
            Request::Set(SetRequest {
                id: id.into(),
                data: data.clone(),
                ttl: Some(1000),
            })
        };
        let get = |id: &str| Request::Get(GetRequest { id: id.into() });
        let merge = Request::Merge(MergeRequest {
            id: id.clone(),
            patch: "{\"c\":null,\"d\":[]}".into(),
            ttl: None,
        });
        let touch = |ttl| {
            Request::Touch(TouchRequest {
                id: id.clone(),
                ttl,
            })
        };
        let rotate = |subject| {
            Request::Rotate(RotateRequest {
                id: id.clone(),
                subject,
            })
        };
        let destroy = Request::Destroy(DestroyRequest { id: id.clone() });
        Call::One(match function {
            Function::Batch => {
                let other = self.put("{}", None);
                return Call::Batch(vec![
                    create(subject),
                    set(&other),
                    get(&id),
                    merge,
                    touch(None),
                    update(9),
                    rotate(Some("bob".into())),
                    destroy,
                ]);
            }
            Function::BatchOfReads => return Call::Batch(vec![get(&id), get("none")]),
            Function::Terminate => return Call::Terminate(id),
            Function::Get => get(&id),
            Function::Set => set(&id),
            Function::Update => update(1),
            Function::UpdateStale => update(7),
            Function::Merge => merge,
            Function::Touch => touch(None),
            Function::TouchWithTtl => touch(Some(5000)),
            Function::Rotate => rotate(None),
            Function::RotateWithSubject => rotate(subject),
            Function::Destroy => destroy,
            other => panic!("{other:?} is above"),
        })
    }

    /// Writes a session under a new id, without the proxy.
    pub fn put(&mut self, data: &str, ttl: Option<u64>) -> String {
        let id = format!("id {}", self.number());
        self.without_proxy(Request::Set(SetRequest {
            id: id.clone(),
            data: data.into(),
            ttl,
        }));
        id
    }

    /// Makes a request that no fault can strike.
    fn without_proxy(&mut self, request: Request) {
        let call = Call::One(request);
        let answer = make(&mut self.direct, self.model.now, &call).unwrap();
        assert_eq!(answer, expected(&mut self.model, &call, &fresh(&answer)));
    }

    /// What there is now: all sessions and, if the call collects, how many rows wait for that.
    fn state(&mut self, call: &Call) -> (Vec<Entry>, Option<u64>) {
        let now = self.model.now;
        let page = self.direct.list_sessions(now, None, None, 1000).unwrap();
        let expired =
            matches!(call, Call::Collect).then(|| self.direct.stats(now).unwrap().expired);
        (page.entries, expired)
    }

    /// Checks that there is what there must be.
    pub fn check_state(&mut self, call: &Call, words: &str) {
        assert_eq!(self.state(call), self.expected_state(call), "{words}");
    }

    /// Finds out whether a call was done whose outcome is unknown: all of it or nothing.
    pub fn resolve(&mut self, call: &Call, words: &str) {
        let found = self.state(call);
        if found == self.expected_state(call) {
            return;
        }
        // Sessions that were begun have ids that were lost.
        let lost = ["lost 0", "lost 1"].map(str::to_owned);
        expected(&mut self.model, call, &lost);
        let after = self.expected_state(call);
        let known: BTreeSet<_> = after.0.iter().map(|entry| entry.handle.clone()).collect();
        let names = lost.each_ref().map(|id| handle(id));
        let unnamed = |(entries, expired): &(Vec<Entry>, _)| {
            let mut entries = entries.clone();
            for entry in &mut entries {
                if !known.contains(&entry.handle) || names.contains(&entry.handle) {
                    entry.handle = String::new();
                }
            }
            entries.sort_by_key(|entry| format!("{entry:?}"));
            (entries, *expired)
        };
        assert_eq!(unnamed(&found), unnamed(&after), "{words}");
        for entry in found.0 {
            if !known.contains(&entry.handle) {
                assert_eq!(
                    self.direct.terminate(self.model.now, &entry.handle),
                    Ok(true)
                );
            }
        }
        for name in names {
            self.model.terminate(&name);
        }
        self.check_state(call, words);
    }

    /// What there must be now; see [`Sessions::state`].
    fn expected_state(&self, call: &Call) -> (Vec<Entry>, Option<u64>) {
        let entries = self.model.list(None, None, 1000).entries;
        let expired = matches!(call, Call::Collect).then(|| self.model.expired());
        (entries, expired)
    }
}

/// Makes a call of an open store.
pub fn make(store: &mut Store, now: u64, call: &Call) -> Result<Answer, Error> {
    Ok(match call {
        Call::Open(_) => Answer::Opened,
        Call::One(request) => Answer::Replies(vec![Ok(send(store, now, request)?)]),
        Call::Batch(requests) => Answer::Replies(store.batch(now, requests)?),
        Call::Terminate(id) => Answer::Number(store.terminate(now, &handle(id))?.into()),
        Call::TerminateSubject(subject) => {
            Answer::Number(store.terminate_subject(now, subject, None)?)
        }
        Call::Clear => Answer::Number(store.clear(now)?),
        Call::Collect => Answer::Number(store.collect(now, 1000)?.removed),
        Call::List => Answer::Page(store.list_sessions(now, None, None, 1000)?),
        Call::Stats => {
            let statistics = store.stats(now)?;
            Answer::LiveAndExpired(statistics.live, statistics.expired)
        }
    })
}

/// The answer that a call must have; new sessions get the `fresh` ids.
pub fn expected(model: &mut Reference, call: &Call, fresh: &[String]) -> Answer {
    let mut fresh = fresh.iter();
    let mut answer = |request: &Request| {
        let fresh = match request {
            Request::Create(_) | Request::Rotate(_) => fresh.next().map_or("", String::as_str),
            _ => "",
        };
        model.answer(request, fresh)
    };
    match call {
        Call::Open(_) => Answer::Opened,
        Call::One(request) => Answer::Replies(vec![answer(request)]),
        Call::Batch(requests) => Answer::Replies(requests.iter().map(answer).collect()),
        Call::Terminate(id) => Answer::Number(model.terminate(&handle(id)).into()),
        Call::TerminateSubject(subject) => Answer::Number(model.terminate_subject(subject, None)),
        Call::Clear => Answer::Number(model.clear()),
        Call::Collect => Answer::Number(model.collect(&BTreeSet::new())),
        Call::List => Answer::Page(model.list(None, None, 1000)),
        Call::Stats => Answer::LiveAndExpired(model.count(None), model.expired()),
    }
}

/// The ids of the sessions that were begun.
pub fn fresh(answer: &Answer) -> Vec<String> {
    let Answer::Replies(replies) = answer else {
        return vec![];
    };
    let ids = replies.iter().filter_map(|reply| match reply {
        Ok(Reply::Created(created) | Reply::Rotated(Some(created))) => Some(created.id.clone()),
        _ => None,
    });
    ids.collect()
}
