//! An open store: each function of the contract is one transaction here, and
//! requests carry the steps of a collection.

use crate::operations::Operations;
use crate::storage::{Room, Rows, Storage};
use wasi_sessions_rules::error::Error;
use wasi_sessions_rules::id::IdHash;
use wasi_sessions_rules::options::{Access, Options};
use wasi_sessions_rules::rules::Rules;
use wasi_sessions_rules::types::{
    Collected, Created, Effect, GetRequest, Milliseconds, Outcome, Page, Replies, Reply, Request,
    Session, Statistics, Timestamp,
};

/// The most entries a page of a listing may have.
pub const LARGEST_PAGE: u32 = 1000;

/// An open store; dropping it closes the database. In every function, `now` is the
/// time of the request.
pub struct Store {
    options: Options,
    storage: Storage,
    /// Requests since the last complete collection; a shared database counts them
    /// itself.
    requests: u64,
    /// Rows collected since the store was opened.
    collected: u64,
}

impl Store {
    /// Opens the database at `location`.
    pub fn open(location: &str, options: Options, now: Timestamp) -> Result<Store, Error> {
        Ok(Store {
            storage: Storage::open(location, &options, now)?,
            options,
            requests: 0,
            collected: 0,
        })
    }

    /// The name of this store in errors and statistics.
    pub fn name(&self) -> &str {
        &self.options.model_name
    }

    /// Starts a session under a new id.
    pub fn create(
        &mut self,
        now: Timestamp,
        data: &[u8],
        ttl: Option<Milliseconds>,
        subject: Option<&str>,
    ) -> Result<Created, Error> {
        self.write(now, 1, Room::Growing, |operations| {
            operations.create(data, ttl, subject)
        })
    }

    /// The session, if it exists.
    pub fn get(&mut self, now: Timestamp, id: &str) -> Result<Option<Session>, Error> {
        self.read(now, |operations| operations.get(id))
    }

    /// Writes the session whether or not it exists.
    pub fn set(
        &mut self,
        now: Timestamp,
        id: &str,
        data: &[u8],
        ttl: Option<Milliseconds>,
    ) -> Result<Outcome, Error> {
        self.write(now, 1, Room::Growing, |operations| {
            operations.set(id, data, ttl)
        })
    }

    /// Writes the session if it exists and has the expected version.
    pub fn update(
        &mut self,
        now: Timestamp,
        id: &str,
        data: &[u8],
        ttl: Option<Milliseconds>,
        expected: Option<u64>,
    ) -> Result<Outcome, Error> {
        self.write(now, 1, Room::Growing, |operations| {
            operations.update(id, data, ttl, expected)
        })
    }

    /// Applies a JSON merge patch to the payload.
    pub fn merge(
        &mut self,
        now: Timestamp,
        id: &str,
        patch: &str,
        ttl: Option<Milliseconds>,
    ) -> Result<Option<Session>, Error> {
        self.write(now, 1, Room::Growing, |operations| {
            operations.merge(id, patch, ttl)
        })
    }

    /// Renews the session.
    pub fn touch(
        &mut self,
        now: Timestamp,
        id: &str,
        ttl: Option<Milliseconds>,
    ) -> Result<Option<Timestamp>, Error> {
        self.write(now, 1, Room::Growing, |operations| {
            operations.touch(id, ttl)
        })
    }

    /// Moves the session to a new id and, if a subject is given, binds it.
    pub fn rotate(
        &mut self,
        now: Timestamp,
        id: &str,
        subject: Option<&str>,
    ) -> Result<Option<Created>, Error> {
        self.write(now, 1, Room::Growing, |operations| {
            operations.rotate(id, subject)
        })
    }

    /// Ends the session.
    pub fn destroy(&mut self, now: Timestamp, id: &str) -> Result<bool, Error> {
        self.write(now, 1, Room::Freeing, |operations| operations.destroy(id))
    }

    /// Does all requests in one transaction. A refused one has its error as its
    /// reply; any other failure undoes all of them.
    pub fn batch(&mut self, now: Timestamp, requests: &[Request]) -> Result<Replies, Error> {
        if let [Request::Get(GetRequest { id })] = requests {
            let session = self.get(now, id)?;
            return Ok(vec![Ok(Reply::Session(session))]);
        }
        let apply = |operations: Operations| {
            let replies = requests
                .iter()
                .map(|request| match operations.apply(request) {
                    Err(error) if error.is_refusal() => Ok(Err(error)),
                    done => done.map(Ok),
                });
            replies.collect::<Result<Replies, Error>>()
        };
        let count = requests.len() as u64;
        match requests.iter().map(Request::effect).max() {
            None | Some(Effect::Reads) => {
                let rules = self.rules(now);
                let replies = self
                    .storage
                    .snapshot(|rows| apply(Operations { rows, rules }))?;
                self.count_read(now, count);
                Ok(replies)
            }
            Some(Effect::Ends) => self.write(now, count, Room::Freeing, apply),
            Some(Effect::Writes) => self.write(now, count, Room::Growing, apply),
        }
    }

    /// A page of the live sessions, all or one subject's.
    pub fn list_sessions(
        &mut self,
        now: Timestamp,
        subject: Option<&str>,
        cursor: Option<&str>,
        limit: u32,
    ) -> Result<Page, Error> {
        if !(1..=LARGEST_PAGE).contains(&limit) {
            return Err(Error::invalid("limit: must be 1 to 1000"));
        }
        let cursor = match cursor.map(IdHash::from_handle) {
            Some(None) => {
                return Err(Error::invalid(
                    "cursor: must be the `next` of an earlier page",
                ));
            }
            Some(Some(hash)) => Some(hash),
            None => None,
        };
        self.read(now, |operations| {
            operations.rows.list(subject, cursor.as_ref(), limit, now)
        })
    }

    /// How many sessions are live, all or one subject's.
    pub fn count_sessions(&mut self, now: Timestamp, subject: Option<&str>) -> Result<u64, Error> {
        self.read(now, |operations| operations.rows.count(subject, now))
    }

    /// The session with this handle, if it exists.
    pub fn inspect(&mut self, now: Timestamp, handle: &str) -> Result<Option<Session>, Error> {
        self.read(now, |operations| operations.inspect(handle))
    }

    /// Ends the session with this handle.
    pub fn terminate(&mut self, now: Timestamp, handle: &str) -> Result<bool, Error> {
        self.write(now, 1, Room::Freeing, |operations| {
            operations.terminate(handle)
        })
    }

    /// Ends all sessions of a subject but the one with the id `except`.
    pub fn terminate_subject(
        &mut self,
        now: Timestamp,
        subject: &str,
        except: Option<&str>,
    ) -> Result<u64, Error> {
        self.write(now, 1, Room::Freeing, |operations| {
            operations.terminate_subject(subject, except)
        })
    }

    /// Ends every session.
    pub fn clear(&mut self, now: Timestamp) -> Result<u64, Error> {
        self.write(now, 1, Room::Freeing, |operations| operations.clear())
    }

    /// Removes at most `limit` expired rows.
    pub fn collect(&mut self, now: Timestamp, limit: u64) -> Result<Collected, Error> {
        if limit == 0 {
            return Err(Error::invalid("limit: must be at least 1"));
        }
        let collected = self.storage.collect(limit, now)?;
        self.note(&collected);
        Ok(collected)
    }

    /// The state of the store.
    pub fn stats(&mut self, now: Timestamp) -> Result<Statistics, Error> {
        let (live, expired, size) = self.storage.snapshot(|rows| {
            Ok((
                rows.count(None, now)?,
                rows.count_expired(now)?,
                self.storage.size()?,
            ))
        })?;
        Ok(Statistics {
            name: self.options.model_name.clone(),
            engine: format!("SQLite {}", rusqlite::version()),
            live,
            expired,
            size,
            collected: self.collected,
        })
    }

    /// Reads the whole database; returns what is damaged.
    pub fn check(&mut self) -> Result<Vec<String>, Error> {
        self.storage.check()
    }

    /// Writes a consistent copy to `location`.
    pub fn backup(&mut self, location: &str) -> Result<(), Error> {
        self.storage.backup(location)
    }

    fn rules(&self, now: Timestamp) -> Rules<'_> {
        Rules {
            options: &self.options,
            now,
        }
    }

    /// Does one request that only reads, with a single statement.
    fn read<T>(
        &mut self,
        now: Timestamp,
        work: impl Fn(Operations) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let rules = self.rules(now);
        let done = self.storage.read(|rows| work(Operations { rows, rules }))?;
        self.count_read(now, 1);
        Ok(done)
    }

    /// Does `requests` requests that may write, in one transaction. `room` is the disk
    /// space that they may use; work that only ends sessions frees space.
    fn write<T>(
        &mut self,
        now: Timestamp,
        requests: u64,
        room: Room,
        work: impl Fn(Operations) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let rules = self.rules(now);
        let work = |rows: Rows| work(Operations { rows, rules });
        match self.options.access {
            Access::Exclusive => {
                let done = self.storage.transaction(room, work)?;
                self.requests += requests;
                self.collect_if_due(now, self.requests, requests);
                Ok(done)
            }
            // Without collection no request needs to be counted.
            Access::Shared if self.options.gc_frequency == 0 => {
                self.storage.transaction(room, work)
            }
            Access::Shared => {
                let (done, counted) = self.storage.counted_transaction(requests, work)?;
                self.collect_if_due(now, counted, requests);
                Ok(done)
            }
        }
    }

    /// Counts requests that only read, with exclusive access. With shared access a read
    /// writes nothing, so it is not counted and carries no collection.
    fn count_read(&mut self, now: Timestamp, requests: u64) {
        if self.options.access == Access::Exclusive {
            self.requests += requests;
            self.collect_if_due(now, self.requests, requests);
        }
    }

    /// Runs one collection step if at least `gcFrequency` requests have been counted
    /// since the last complete collection. `requests` is how many requests pay for the
    /// step. A failed step does not fail them; the next request retries.
    fn collect_if_due(&mut self, now: Timestamp, counted: u64, requests: u64) {
        if self.options.gc_frequency == 0 || counted < self.options.gc_frequency {
            return;
        }
        // Each request adds one row at most, so two removals for each let a
        // collection catch up with the requests.
        let step = self.options.gc_step;
        let most = requests.saturating_mul(step);
        let limit = step.max(requests.saturating_mul(2)).min(most);
        if let Ok(collected) = self.storage.collect_without_waiting(limit, now) {
            self.note(&collected);
        }
    }

    fn note(&mut self, collected: &Collected) {
        self.collected += collected.removed;
        if !collected.more {
            self.requests = 0;
        }
    }
}
