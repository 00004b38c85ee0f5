//! What is stored, one for each schedule, and an account of what was done with it.

use std::collections::BTreeMap;
use std::mem;

use shuttle::lazy_static;
use shuttle::sync::{Condvar, Mutex};

use crate::contract;
use crate::contract::types::{
    Collected, CreateRequest, Created, DestroyRequest, GetRequest, Outcome, Reply, Request,
    RotateRequest, Session, SetRequest, TouchRequest, UpdateRequest, Written,
};
use crate::sync::thread;

/// The time of the store's clock, in milliseconds, which does not move.
pub const NOW: u64 = 1_700_000_000_000;

/// When each session expires.
const EXPIRES: u64 = NOW + 1_000_000;

/// Something that was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Done {
    /// A `get` of this session.
    Get(String),
    /// A write of this session, with this payload.
    Set(String, Vec<u8>),
    /// Any other request for this session.
    Other(String),
    /// A call of `count-sessions`.
    Count,
    /// A step of a collection.
    Collect,
}

/// The database with its lock, and what happened to it.
#[derive(Default)]
pub struct Disk {
    rows: BTreeMap<String, Row>,
    created: u64,
    /// What was done, in order, and whether a caller did it itself.
    pub done: Vec<(Done, bool)>,
    /// Whether an owner holds the directory.
    pub locked: bool,
    /// Instances with the database open.
    pub open: u32,
    /// How often the database was closed.
    pub closed: u32,
    /// Whether an instance is being called.
    busy: bool,
    /// The calls until one traps.
    pub calls_until_trap: Option<u32>,
}

enum Row {
    Live(Session),
    Tombstone,
}

lazy_static! {
    static ref DISK: Mutex<Disk> = Mutex::new(Disk::default());
    static ref CHANGED: Condvar = Condvar::new();
}

/// Reads or changes the disk of this schedule.
pub fn with<T>(work: impl FnOnce(&mut Disk) -> T) -> T {
    let mut disk = DISK.lock().unwrap();
    let done = work(&mut disk);
    CHANGED.notify_all();
    done
}

/// Waits until the disk is so. If that never comes, the schedule fails as one in which
/// all threads wait.
pub fn wait_until(is_so: impl Fn(&Disk) -> bool) {
    let mut disk = DISK.lock().unwrap();
    while !is_so(&disk) {
        disk = CHANGED.wait(disk).unwrap();
    }
}

impl Disk {
    /// How often this was done.
    pub fn count(&self, done: &Done) -> usize {
        self.done.iter().filter(|(other, _)| other == done).count()
    }

    /// The place of what was done first in the order of all.
    pub fn place(&self, done: &Done) -> Option<usize> {
        self.done.iter().position(|(other, _)| other == done)
    }

    /// Starts a call of an instance; false if it traps.
    pub(crate) fn start(&mut self) -> bool {
        assert!(
            !mem::replace(&mut self.busy, true),
            "two threads call the component at once"
        );
        assert_eq!((self.open, self.locked), (1, true));
        match &mut self.calls_until_trap {
            Some(0) => {
                self.calls_until_trap = None;
                false
            }
            Some(left) => {
                *left -= 1;
                true
            }
            None => true,
        }
    }

    pub(crate) fn end(&mut self) {
        self.busy = false;
    }

    pub(crate) fn note(&mut self, done: Done) {
        let by_caller = thread::current().name() != Some("wasi-sessions");
        self.done.push((done, by_caller));
    }

    pub(crate) fn sessions(&self) -> impl Iterator<Item = &Session> {
        self.rows.values().filter_map(|row| match row {
            Row::Live(session) => Some(session),
            Row::Tombstone => None,
        })
    }

    pub(crate) fn collect(&mut self) -> Collected {
        self.note(Done::Collect);
        Collected {
            removed: 0,
            more: false,
        }
    }

    pub(crate) fn end_all(&mut self, which: impl Fn(&Session) -> bool) -> u64 {
        let mut ended = 0;
        for row in self.rows.values_mut() {
            if matches!(row, Row::Live(session) if which(session)) {
                *row = Row::Tombstone;
                ended += 1;
            }
        }
        ended
    }

    pub(crate) fn get(&mut self, id: &str) -> Option<Session> {
        self.note(Done::Get(id.to_owned()));
        match self.rows.get(id) {
            Some(Row::Live(session)) => Some(session.clone()),
            _ => None,
        }
    }

    /// Does one request of a batch. `most` is the option `maxPerSubject`, 0 for none.
    pub(crate) fn reply(&mut self, request: &Request, most: u64) -> Result<Reply, contract::Error> {
        Ok(match request {
            Request::Create(CreateRequest { data, subject, .. }) => {
                let id = format!("made {}", self.created);
                self.note(Done::Other(id.clone()));
                Reply::Created(self.create(id, data.clone(), subject.clone(), most))
            }
            Request::Get(GetRequest { id }) => Reply::Session(self.get(id)),
            Request::Set(SetRequest { id, data, .. }) => {
                self.note(Done::Set(id.clone(), data.clone()));
                Reply::Outcome(self.write(id, data))
            }
            Request::Update(UpdateRequest { id, data, .. }) => {
                self.note(Done::Set(id.clone(), data.clone()));
                Reply::Outcome(match self.live(id) {
                    Some(_) => self.write(id, data),
                    None => Outcome::Gone,
                })
            }
            Request::Merge(_) => unreachable!("no schedule merges"),
            Request::Touch(TouchRequest { id, .. }) => {
                self.note(Done::Other(id.clone()));
                Reply::Expires(self.live(id).map(|session| session.expires))
            }
            Request::Rotate(RotateRequest { id, subject }) => {
                self.note(Done::Other(id.clone()));
                let before = self.live(id).cloned();
                Reply::Rotated(before.map(|session| {
                    self.rows.insert(id.clone(), Row::Tombstone);
                    let id = format!("made {}", self.created);
                    let subject = subject.clone().or(session.subject);
                    self.create(id, session.data, subject, most)
                }))
            }
            Request::Destroy(DestroyRequest { id }) => {
                self.note(Done::Other(id.clone()));
                let was_there = self.live(id).is_some();
                if was_there {
                    self.rows.insert(id.clone(), Row::Tombstone);
                }
                Reply::Destroyed(was_there)
            }
        })
    }

    fn live(&self, id: &str) -> Option<&Session> {
        match self.rows.get(id) {
            Some(Row::Live(session)) => Some(session),
            _ => None,
        }
    }

    fn create(&mut self, id: String, data: Vec<u8>, subject: Option<String>, most: u64) -> Created {
        self.created += 1;
        let is_theirs = |other: &&Session| other.subject == subject;
        let theirs = self.sessions().filter(is_theirs).count() as u64;
        if subject.is_some() && most > 0 && theirs >= most {
            // One that may stay is enough for these schedules.
            self.end_all(|other| other.subject == subject);
        }
        let session = session(data, subject, 1);
        self.rows.insert(id.clone(), Row::Live(session));
        Created {
            id,
            version: 1,
            expires: EXPIRES,
        }
    }

    fn write(&mut self, id: &str, data: &[u8]) -> Outcome {
        let (subject, version) = match self.rows.get(id) {
            None => (None, 1),
            Some(Row::Live(before)) => (before.subject.clone(), before.version + 1),
            Some(Row::Tombstone) => return Outcome::Gone,
        };
        let session = session(data.to_vec(), subject, version);
        self.rows.insert(id.to_owned(), Row::Live(session));
        Outcome::Written(Written {
            version,
            updated: NOW,
            expires: EXPIRES,
        })
    }
}

fn session(data: Vec<u8>, subject: Option<String>, version: u64) -> Session {
    Session {
        data,
        subject,
        version,
        created: NOW,
        updated: NOW,
        expires: EXPIRES,
    }
}
