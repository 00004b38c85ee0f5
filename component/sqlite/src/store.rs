//! An open store: runs each function of the contract as one transaction, followed by a
//! collection step if one is due.

use crate::operations::Operations;
use crate::storage::{Room, Rows, Storage};
use wasi_sessions_rules::collection::{self, Collection};
use wasi_sessions_rules::engine::Engine;
use wasi_sessions_rules::error::Error;
use wasi_sessions_rules::options::{Access, Options};
use wasi_sessions_rules::rules::{Rules, check_collection, check_page};
use wasi_sessions_rules::types::{
    Collected, Created, Effect, GetRequest, Milliseconds, Outcome, Page, Replies, Reply, Request,
    Session, Statistics, Timestamp,
};

/// An open store; dropping it closes the database.
pub struct Store {
    options: Options,
    storage: Storage,
    /// The counters of collection. With shared access, requests are counted in the
    /// database instead.
    collection: Collection,
}

impl Engine for Store {
    const MISSING_OPTIONS: &'static [&'static str] = &["tlsRoots"];

    fn open(location: &str, options: Options, now: Timestamp) -> Result<Store, Error> {
        Ok(Store {
            storage: Storage::open(location, &options, now)?,
            options,
            collection: Collection::default(),
        })
    }

    fn name(&self) -> &str {
        &self.options.model_name
    }

    /// 0: SQLite has no clock of its own.
    fn clock_offset(&self) -> i64 {
        0
    }

    fn create(
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

    fn get(&mut self, now: Timestamp, id: &str) -> Result<Option<Session>, Error> {
        self.read(now, |operations| operations.get(id))
    }

    fn set(
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

    fn update(
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

    fn merge(
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

    fn touch(
        &mut self,
        now: Timestamp,
        id: &str,
        ttl: Option<Milliseconds>,
    ) -> Result<Option<Timestamp>, Error> {
        self.write(now, 1, Room::Growing, |operations| {
            operations.touch(id, ttl)
        })
    }

    fn rotate(
        &mut self,
        now: Timestamp,
        id: &str,
        subject: Option<&str>,
    ) -> Result<Option<Created>, Error> {
        self.write(now, 1, Room::Growing, |operations| {
            operations.rotate(id, subject)
        })
    }

    fn destroy(&mut self, now: Timestamp, id: &str) -> Result<bool, Error> {
        self.write(now, 1, Room::Freeing, |operations| operations.destroy(id))
    }

    fn batch(&mut self, now: Timestamp, requests: &[Request]) -> Result<Replies, Error> {
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

    fn list_sessions(
        &mut self,
        now: Timestamp,
        subject: Option<&str>,
        cursor: Option<&str>,
        limit: u32,
    ) -> Result<Page, Error> {
        let cursor = check_page(cursor, limit)?;
        self.read(now, |operations| {
            operations.rows.list(subject, cursor.as_ref(), limit, now)
        })
    }

    fn count_sessions(&mut self, now: Timestamp, subject: Option<&str>) -> Result<u64, Error> {
        self.read(now, |operations| operations.rows.count(subject, now))
    }

    fn inspect(&mut self, now: Timestamp, handle: &str) -> Result<Option<Session>, Error> {
        self.read(now, |operations| operations.inspect(handle))
    }

    fn terminate(&mut self, now: Timestamp, handle: &str) -> Result<bool, Error> {
        self.write(now, 1, Room::Freeing, |operations| {
            operations.terminate(handle)
        })
    }

    fn terminate_subject(
        &mut self,
        now: Timestamp,
        subject: &str,
        except: Option<&str>,
    ) -> Result<u64, Error> {
        self.write(now, 1, Room::Freeing, |operations| {
            operations.terminate_subject(subject, except)
        })
    }

    fn clear(&mut self, now: Timestamp) -> Result<u64, Error> {
        self.write(now, 1, Room::Freeing, |operations| operations.clear())
    }

    fn collect(&mut self, now: Timestamp, limit: u64) -> Result<Collected, Error> {
        check_collection(limit)?;
        let collected = self.storage.collect(limit, now)?;
        self.collection.note(&collected);
        Ok(collected)
    }

    fn stats(&mut self, now: Timestamp) -> Result<Statistics, Error> {
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
            collected: self.collection.collected,
        })
    }

    fn check(&mut self) -> Result<Vec<String>, Error> {
        self.storage.check()
    }

    fn backup(&mut self, location: &str) -> Result<(), Error> {
        self.storage.backup(location)
    }
}

impl Store {
    fn rules(&self, now: Timestamp) -> Rules<'_> {
        Rules {
            options: &self.options,
            now,
        }
    }

    /// Runs one request that only reads, with a single statement.
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

    /// Runs work for `requests` requests that may write, in one transaction. `room` says
    /// which disk space it may use.
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
                self.collection.requests += requests;
                self.collect_if_due(now, self.collection.requests, requests);
                Ok(done)
            }
            // Without collection, requests need not be counted.
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
            self.collection.requests += requests;
            self.collect_if_due(now, self.collection.requests, requests);
        }
    }

    /// Runs a collection step after `requests` requests if one is due. A failed step
    /// does not fail the requests; the next request retries.
    fn collect_if_due(&mut self, now: Timestamp, counted: u64, requests: u64) {
        let Some(limit) = collection::step(&self.options, counted, requests) else {
            return;
        };
        if let Ok(collected) = self.storage.collect_without_waiting(limit, now) {
            self.collection.note(&collected);
        }
    }
}
