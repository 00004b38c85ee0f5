//! Runs a script on the real component, and records the store's contents after each answer.

use std::collections::BTreeMap;

use crate::disk::Operation;
use crate::image::Image;
use crate::model::{Contents, handle};
use crate::process::{Called, DATABASE, Error, Outcome, Process, Reply, Request};
use crate::script::Step;
use crate::world::World;

/// The time at which runs begin, in nanoseconds since the Unix epoch.
pub const START: u64 = 1_700_000_000_000_000_000;

/// The maximum number of sessions of a subject in a run.
pub const MOST: usize = 2;

/// The seconds between a killed instance and the next one: long enough for the lock of the
/// killed one to count as dead.
const AFTERWARDS: u64 = 16;

/// The options `key` and `previousKey`, as JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keys {
    key: &'static str,
    previous: &'static str,
}

impl Keys {
    /// No key.
    pub const NONE: Self = Self::alone("null");
    /// A key.
    pub const FIRST: Self = Self::alone(r#""AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=""#);
    /// Another key.
    pub const SECOND: Self = Self::alone(r#""HwECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=""#);

    const fn alone(key: &'static str) -> Self {
        Self {
            key,
            previous: "null",
        }
    }

    /// This key, for a database that is sealed with another one, or with none.
    pub fn after(self, before: Self) -> Self {
        Self {
            key: self.key,
            previous: match before {
                Self::NONE => NOT_SEALED,
                before => before.key,
            },
        }
    }

    /// What sealed the database before, and what seals it from then on, if that changes.
    pub fn change(self) -> Option<(Self, Self)> {
        let before = match self.previous {
            "null" => return None,
            NOT_SEALED => Self::NONE,
            key => Self::alone(key),
        };
        Some((before, Self::alone(self.key)))
    }
}

/// `previousKey` of a database that is not sealed.
const NOT_SEALED: &str = r#""none""#;

/// How a store is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Whether the store has exclusive access to its database.
    pub is_exclusive: bool,
    /// Whether the durability is `full`.
    pub is_full: bool,
    /// What seals the database.
    pub keys: Keys,
}

impl Settings {
    /// All four settings.
    pub const ALL: [Self; 4] = [
        Self::new(true, true),
        Self::new(true, false),
        Self::new(false, true),
        Self::new(false, false),
    ];

    /// Settings with this access and this durability, without a key.
    pub const fn new(is_exclusive: bool, is_full: bool) -> Self {
        Self {
            is_exclusive,
            is_full,
            keys: Keys::NONE,
        }
    }

    /// These settings with other keys.
    pub fn with(self, keys: Keys) -> Self {
        Self { keys, ..self }
    }

    /// Whether each answered write survives a power failure; always with shared access.
    pub fn keeps_all(self) -> bool {
        self.is_full || !self.is_exclusive
    }

    /// The options of the store.
    pub fn options(self) -> String {
        let access = if self.is_exclusive {
            "exclusive"
        } else {
            "shared"
        };
        let durability = if self.is_full { "full" } else { "relaxed" };
        let Keys { key, previous } = self.keys;
        format!(
            r#"{{"access":"{access}","durability":"{durability}","maxPerSubject":{MOST},"gcFrequency":0,"key":{key},"previousKey":{previous}}}"#
        )
    }
}

/// A run in progress.
pub struct Run {
    /// The instance.
    pub process: Process,
    /// The store's contents, according to its answers.
    pub contents: Contents,
    /// The store's contents before the first answer and after each one.
    pub history: Vec<Contents>,
    /// The names of the copies that were made, and the length of [`Run::history`] when each
    /// was made.
    pub copies: BTreeMap<String, usize>,
    /// How many answers came until a collection was complete for the first time.
    pub collected: Option<usize>,
    options: String,
    ids: Vec<String>,
}

impl Run {
    /// Begins a run on a disk whose store has these contents.
    pub fn begin(process: Process, settings: Settings, contents: Contents) -> Self {
        Self {
            process,
            history: vec![contents.clone()],
            contents,
            copies: BTreeMap::new(),
            collected: None,
            options: settings.options(),
            ids: Vec::new(),
        }
    }

    /// Opens the store.
    pub fn open(&mut self) -> Called<()> {
        self.process.open(DATABASE, &self.options)
    }

    /// Runs a step. An error of the contract does not change [`Run::contents`].
    pub fn step(&mut self, step: &Step) -> Called<()> {
        let world = self.process.world();
        world.now = world.now.next_multiple_of(10_000_000);
        let now = self.process.now();
        let done = match step {
            Step::Alone(request) => {
                let request = self.resolve(request);
                self.process
                    .request(&request)?
                    .map(|reply| self.note(&request, &reply, now))
            }
            Step::Batch(requests) => {
                let requests: Vec<_> = requests.iter().map(|one| self.resolve(one)).collect();
                self.process.batch(&requests)?.map(|replies| {
                    for (request, reply) in requests.iter().zip(replies) {
                        self.note(request, &reply.expect("it is not refused"), now);
                    }
                })
            }
            Step::Terminate(id) => {
                let id = self.id(id);
                let call = self.process.admin(|admin, store, opened| {
                    admin.call_terminate(store, opened, &handle(&id))
                });
                call?.map(|ended| {
                    if ended {
                        self.contents.end(&id, now);
                    }
                })
            }
            Step::TerminateSubject(subject, except) => {
                let except = except.as_ref().map(|id| self.id(id));
                let except = except.as_deref();
                let call = self.process.admin(|admin, store, opened| {
                    admin.call_terminate_subject(store, opened, subject, except)
                });
                call?.map(|_| self.contents.end_all(Some(subject), except, now))
            }
            Step::Clear => self
                .process
                .admin(|admin, store, opened| admin.call_clear(store, opened))?
                .map(|_| self.contents.end_all(None, None, now)),
            Step::Collect(limit) => self.collect(*limit)?,
            Step::CollectOnce(limit) => self.collect_once(*limit)?.map(drop),
            Step::Backup(name) => {
                let call = self
                    .process
                    .admin(|admin, store, opened| admin.call_backup(store, opened, name));
                call?.map(|()| {
                    self.copies.insert((*name).to_owned(), self.history.len());
                })
            }
            Step::Reopen => {
                self.process.close()?;
                self.open()?
            }
            Step::Restart => return self.restart(),
            Step::Wait(milliseconds) => {
                self.process.world().now += milliseconds * 1_000_000;
                return Ok(Ok(()));
            }
        };
        if done.is_ok() {
            self.answered();
        }
        Ok(done)
    }

    /// Records that a request was answered.
    fn answered(&mut self) {
        self.history.push(self.contents.clone());
        let world = self.process.world();
        world.disk.log.push(Operation::Answered { now: world.now });
    }

    /// Kills the instance, and starts another on its disk after [`AFTERWARDS`].
    pub fn restart(&mut self) -> Called<()> {
        let world = self.process.world();
        let now = world.now + AFTERWARDS * 1_000_000_000;
        let seed = world.random.next();
        let faults = world.faults.clone();
        let memory = world.memory;
        let nothing = crate::disk::Disk::new(Image::default());
        let disk = std::mem::replace(&mut world.disk, nothing);
        let mut world = World::new(disk, now, seed);
        world.faults = faults;
        world.memory = memory;
        self.process = Process::start(world)?;
        self.open()
    }

    fn collect(&mut self, limit: u32) -> Called<()> {
        loop {
            match self.collect_once(limit)? {
                Ok(true) => self.answered(),
                done => return Ok(done.map(drop)),
            }
        }
    }

    /// A step of a collection; whether there is more.
    fn collect_once(&mut self, limit: u32) -> Called<bool> {
        let call = self
            .process
            .admin(|admin, store, opened| admin.call_collect(store, opened, limit));
        Ok(call?.map(|collected| {
            if !collected.more {
                self.collected.get_or_insert(self.history.len());
            }
            collected.more
        }))
    }

    fn note(&mut self, request: &Request, reply: &Reply, now: u64) {
        self.contents.note(request, reply, now);
        let (made, subject) = match (request, reply) {
            (Request::Create(of), Reply::Created(made)) => (made, &of.subject),
            (Request::Rotate(of), Reply::Rotated(Some(made))) => (made, &of.subject),
            _ => return,
        };
        self.ids.push(made.id.clone());
        if let Some(subject) = subject {
            self.contents.end_oldest(subject, MOST, &made.id, now);
        }
    }

    /// Resolves an id of a script.
    fn id(&self, id: &str) -> String {
        let number = id.strip_prefix('#').and_then(|id| id.parse::<usize>().ok());
        match number.and_then(|number| self.ids.get(number)) {
            Some(id) => id.clone(),
            None => id.to_owned(),
        }
    }

    /// The request with resolved ids.
    pub fn resolve(&self, request: &Request) -> Request {
        let mut request = request.clone();
        let id = match &mut request {
            Request::Create(_) => return request,
            Request::Get(of) => &mut of.id,
            Request::Set(of) => &mut of.id,
            Request::Update(of) => &mut of.id,
            Request::Merge(of) => &mut of.id,
            Request::Touch(of) => &mut of.id,
            Request::Rotate(of) => &mut of.id,
            Request::Destroy(of) => &mut of.id,
        };
        *id = self.id(id);
        request
    }
}

/// The sessions of these ids that a store returns, and its number of sessions. Tombstones are
/// not observed; see [`is_refused`].
pub fn observe(process: &mut Process, ids: &[&String]) -> Called<(Contents, u64)> {
    let mut contents = Contents::default();
    for id in ids {
        let get = crate::process::GetRequest { id: (*id).clone() };
        match process.request(&Request::Get(get))? {
            Ok(Reply::Session(Some(session))) => {
                contents.sessions.insert((*id).clone(), session);
            }
            Ok(_) => {}
            Err(error) => return Ok(Err(error)),
        }
    }
    let count =
        process.admin(|admin, store, opened| admin.call_count_sessions(store, opened, None))?;
    Ok(count.map(|count| (contents, count)))
}

/// The damage that `check` finds.
pub fn check(process: &mut Process) -> Called<Vec<String>> {
    process.admin(|admin, store, opened| admin.call_check(store, opened))
}

/// Whether a late write to an ended id is refused.
pub fn is_refused(process: &mut Process, id: &str) -> Called<bool> {
    let Step::Alone(late) = crate::script::set(id, "too late") else {
        unreachable!("a write is one request");
    };
    let reply = process.request(&late)?;
    Ok(reply.map(|reply| reply == Reply::Outcome(Outcome::Gone)))
}

/// Whether the error is the refusal of an invalid request, which counts as an answer.
pub fn is_refusal(error: &Error) -> bool {
    matches!(error, Error::InvalidArgument(_))
}
