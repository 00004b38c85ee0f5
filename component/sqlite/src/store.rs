//! An open store: each function of the contract is one transaction here, and
//! requests carry the collection of garbage with them.

use crate::error::Error;
use crate::id::Key;
use crate::options::{Access, Options};
use crate::rules::Rules;
use crate::storage::{Rows, Storage};
use crate::types::{
    Collected, Created, GetRequest, Milliseconds, Outcome, Page, Replies, Reply, Request, Session,
    Statistics, Timestamp,
};

/// The most entries a page of a listing may have.
pub const LARGEST_PAGE: u32 = 1000;

/// A store that is open; dropping it closes the database. `now` is the moment
/// of the request, everywhere.
pub struct Store {
    options: Options,
    storage: Storage,
    /// Requests since the last collection; kept in the database instead when
    /// that is shared.
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
        self.write(now, 1, |rules| rules.create(data, ttl, subject))
    }

    /// The session, if it is there.
    pub fn get(&mut self, now: Timestamp, id: &str) -> Result<Option<Session>, Error> {
        self.read(now, |rules| rules.get(id))
    }

    /// Writes the session whether or not it is there.
    pub fn set(
        &mut self,
        now: Timestamp,
        id: &str,
        data: &[u8],
        ttl: Option<Milliseconds>,
    ) -> Result<Outcome, Error> {
        self.write(now, 1, |rules| rules.set(id, data, ttl))
    }

    /// Writes the session if it is there and has the expected version.
    pub fn update(
        &mut self,
        now: Timestamp,
        id: &str,
        data: &[u8],
        ttl: Option<Milliseconds>,
        expected: Option<u64>,
    ) -> Result<Outcome, Error> {
        self.write(now, 1, |rules| rules.update(id, data, ttl, expected))
    }

    /// Applies a JSON merge patch to the payload.
    pub fn merge(
        &mut self,
        now: Timestamp,
        id: &str,
        patch: &str,
        ttl: Option<Milliseconds>,
    ) -> Result<Option<Session>, Error> {
        self.write(now, 1, |rules| rules.merge(id, patch, ttl))
    }

    /// Renews the session.
    pub fn touch(
        &mut self,
        now: Timestamp,
        id: &str,
        ttl: Option<Milliseconds>,
    ) -> Result<Option<Timestamp>, Error> {
        self.write(now, 1, |rules| rules.touch(id, ttl))
    }

    /// Moves the session to a new id and may bind a subject to it.
    pub fn rotate(
        &mut self,
        now: Timestamp,
        id: &str,
        subject: Option<&str>,
    ) -> Result<Option<Created>, Error> {
        self.write(now, 1, |rules| rules.rotate(id, subject))
    }

    /// Ends the session.
    pub fn destroy(&mut self, now: Timestamp, id: &str) -> Result<bool, Error> {
        self.end(now, 1, |rules| rules.destroy(id))
    }

    /// Does all requests in one transaction. One that is refused has its error
    /// as its reply; any other failure undoes all of them.
    pub fn batch(&mut self, now: Timestamp, requests: &[Request]) -> Result<Replies, Error> {
        if let [Request::Get(GetRequest { id })] = requests {
            let session = self.get(now, id)?;
            return Ok(vec![Ok(Reply::Session(session))]);
        }
        let apply = |rules: Rules| {
            let replies = requests.iter().map(|request| match rules.apply(request) {
                Err(refused @ (Error::InvalidArgument(_) | Error::TooLarge(_))) => Ok(Err(refused)),
                done => done.map(Ok),
            });
            replies.collect::<Result<Replies, Error>>()
        };
        let count = requests.len() as u64;
        let only_reads = requests
            .iter()
            .all(|request| matches!(request, Request::Get(_)));
        if only_reads {
            let options = &self.options;
            let replies = self
                .storage
                .snapshot(|rows| apply(Rules { rows, options, now }))?;
            self.count_read(now, count);
            return Ok(replies);
        }
        let only_ends = requests
            .iter()
            .all(|request| matches!(request, Request::Get(_) | Request::Destroy(_)));
        match only_ends {
            true => self.end(now, count, apply),
            false => self.write(now, count, apply),
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
        let cursor = match cursor.map(Key::from_handle) {
            Some(None) => {
                return Err(Error::invalid(
                    "cursor: must be the `next` of an earlier page",
                ));
            }
            Some(Some(key)) => Some(key),
            None => None,
        };
        self.read(now, |rules| {
            rules.rows.list(subject, cursor.as_ref(), limit, now)
        })
    }

    /// How many sessions are live, all or one subject's.
    pub fn count_sessions(&mut self, now: Timestamp, subject: Option<&str>) -> Result<u64, Error> {
        self.read(now, |rules| rules.rows.count(subject, now))
    }

    /// The session that a listing calls `handle`, if it is there.
    pub fn inspect(&mut self, now: Timestamp, handle: &str) -> Result<Option<Session>, Error> {
        self.read(now, |rules| rules.inspect(handle))
    }

    /// Ends the session that a listing calls `handle`.
    pub fn terminate(&mut self, now: Timestamp, handle: &str) -> Result<bool, Error> {
        self.end(now, 1, |rules| rules.terminate(handle))
    }

    /// Ends all sessions of a subject but the one with the id `except`.
    pub fn terminate_subject(
        &mut self,
        now: Timestamp,
        subject: &str,
        except: Option<&str>,
    ) -> Result<u64, Error> {
        self.end(now, 1, |rules| rules.terminate_subject(subject, except))
    }

    /// Ends every session.
    pub fn clear(&mut self, now: Timestamp) -> Result<u64, Error> {
        self.end(now, 1, |rules| rules.clear())
    }

    /// Removes at most `limit` rows that no longer count.
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

    /// What is damaged, after reading the whole database.
    pub fn check(&mut self) -> Result<Vec<String>, Error> {
        self.storage.check()
    }

    /// Writes a consistent copy to `location`.
    pub fn backup(&mut self, location: &str) -> Result<(), Error> {
        self.storage.backup(location)
    }

    fn read<T>(
        &mut self,
        now: Timestamp,
        work: impl Fn(Rules) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let options = &self.options;
        let done = self
            .storage
            .read(|rows| work(Rules { rows, options, now }))?;
        self.count_read(now, 1);
        Ok(done)
    }

    /// Work that may write.
    fn write<T>(
        &mut self,
        now: Timestamp,
        requests: u64,
        work: impl Fn(Rules) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.write_or_end(now, requests, false, work)
    }

    /// Does work that only ends sessions, which may use the reserve on a full disk.
    fn end<T>(
        &mut self,
        now: Timestamp,
        requests: u64,
        work: impl Fn(Rules) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.write_or_end(now, requests, true, work)
    }

    fn write_or_end<T>(
        &mut self,
        now: Timestamp,
        requests: u64,
        only_ends: bool,
        work: impl Fn(Rules) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let options = &self.options;
        let work = |rows: Rows| work(Rules { rows, options, now });
        match options.access {
            Access::Exclusive => {
                let done = match only_ends {
                    true => self.storage.freeing_transaction(work)?,
                    false => self.storage.transaction(work)?,
                };
                self.requests += requests;
                self.collect_if_due(now, self.requests, requests);
                Ok(done)
            }
            // Without collection no request needs to be counted.
            Access::Shared if options.gc_frequency == 0 => self.storage.transaction(work),
            Access::Shared => {
                let (done, counted) = self.storage.counted_transaction(requests, work)?;
                self.collect_if_due(now, counted, requests);
                Ok(done)
            }
        }
    }

    /// A read of a shared database stays a read: it neither counts nor collects.
    fn count_read(&mut self, now: Timestamp, requests: u64) {
        if self.options.access == Access::Exclusive {
            self.requests += requests;
            self.collect_if_due(now, self.requests, requests);
        }
    }

    /// One step of a collection, once enough requests were `counted` and until
    /// nothing is left, carried by so many requests together. Its failure is
    /// not theirs: the next ones try again.
    fn collect_if_due(&mut self, now: Timestamp, counted: u64, requests: u64) {
        if self.options.gc_frequency == 0 || counted < self.options.gc_frequency {
            return;
        }
        // Each adds one row at most, so two for each are enough for garbage to
        // get less while a collection is on, and soon done.
        let step = self.options.gc_step;
        let most = requests.saturating_mul(step);
        let limit = step.max(requests.saturating_mul(2)).min(most);
        if let Ok(collected) = self.storage.collect_at_once(limit, now) {
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
