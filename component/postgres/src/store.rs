//! The functions of the contract, each of which is one call.

pub use crate::calls::Store;
use std::time::Duration;
use wasi_sessions_rules::batch::{created, rotated};
use wasi_sessions_rules::engine::Engine;
use wasi_sessions_rules::error::Error;
use wasi_sessions_rules::id::IdHash;
use wasi_sessions_rules::options::Options;
use wasi_sessions_rules::rules::{check_collection, check_page};
use wasi_sessions_rules::types::{
    Collected, CreateRequest, Created, Effect, Milliseconds, Outcome, Page, Replies, Request,
    RotateRequest, Session, Statistics, Timestamp,
};

impl Engine for Store {
    const MISSING_OPTIONS: &'static [&'static str] = &["access", "key", "previousKey"];

    fn open(location: &str, options: Options, now: Timestamp) -> Result<Store, Error> {
        Store::connected(location, options, now)
    }

    fn name(&self) -> &str {
        &self.options.model_name
    }

    fn clock_offset(&self) -> i64 {
        self.kept.clock_offset
    }

    fn create(
        &mut self,
        now: Timestamp,
        data: &[u8],
        ttl: Option<Milliseconds>,
        subject: Option<&str>,
    ) -> Result<Created, Error> {
        if !self.is_limited(subject) {
            return self.write(now, async |operations| {
                operations.create(data, ttl, subject).await
            });
        }
        let request = Request::Create(CreateRequest {
            data: data.to_vec(),
            ttl,
            subject: subject.map(str::to_owned),
        });
        created(self.alone(now, request)?)
    }

    fn get(&mut self, now: Timestamp, id: &str) -> Result<Option<Session>, Error> {
        self.read(now, async |operations| operations.get(id).await)
    }

    fn set(
        &mut self,
        now: Timestamp,
        id: &str,
        data: &[u8],
        ttl: Option<Milliseconds>,
    ) -> Result<Outcome, Error> {
        self.write(now, async |operations| operations.set(id, data, ttl).await)
    }

    fn update(
        &mut self,
        now: Timestamp,
        id: &str,
        data: &[u8],
        ttl: Option<Milliseconds>,
        expected: Option<u64>,
    ) -> Result<Outcome, Error> {
        self.write(now, async |operations| {
            operations.update(id, data, ttl, expected).await
        })
    }

    fn merge(
        &mut self,
        now: Timestamp,
        id: &str,
        patch: &str,
        ttl: Option<Milliseconds>,
    ) -> Result<Option<Session>, Error> {
        self.write(now, async |operations| {
            operations.merge(id, patch, ttl).await
        })
    }

    fn touch(
        &mut self,
        now: Timestamp,
        id: &str,
        ttl: Option<Milliseconds>,
    ) -> Result<Option<Timestamp>, Error> {
        self.write(now, async |operations| operations.touch(id, ttl).await)
    }

    fn rotate(
        &mut self,
        now: Timestamp,
        id: &str,
        subject: Option<&str>,
    ) -> Result<Option<Created>, Error> {
        if !self.is_limited(subject) {
            return self.write(now, async |operations| operations.rotate(id, subject).await);
        }
        let request = Request::Rotate(RotateRequest {
            id: id.to_owned(),
            subject: subject.map(str::to_owned),
        });
        rotated(self.alone(now, request)?)
    }

    fn destroy(&mut self, now: Timestamp, id: &str) -> Result<bool, Error> {
        self.write(now, async |operations| operations.destroy(id).await)
    }

    fn batch(&mut self, now: Timestamp, requests: &[Request]) -> Result<Replies, Error> {
        let effect = requests.iter().map(Request::effect).max();
        let replies = match effect {
            None => vec![],
            Some(effect) => self.call(now, effect, async |operations| {
                operations.batch(requests).await
            })?,
        };
        self.count(now, requests.len() as u64);
        Ok(replies)
    }

    fn list_sessions(
        &mut self,
        now: Timestamp,
        subject: Option<&str>,
        cursor: Option<&str>,
        limit: u32,
    ) -> Result<Page, Error> {
        let cursor = check_page(cursor, limit)?;
        self.read(now, async |operations| {
            operations.list(subject, cursor.as_ref(), limit).await
        })
    }

    fn count_sessions(&mut self, now: Timestamp, subject: Option<&str>) -> Result<u64, Error> {
        self.read(now, async |operations| operations.count(subject).await)
    }

    fn inspect(&mut self, now: Timestamp, handle: &str) -> Result<Option<Session>, Error> {
        let hash = IdHash::from_handle(handle);
        self.read(now, async |operations| match &hash {
            Some(hash) => operations.find(hash).await,
            None => Ok(None),
        })
    }

    fn terminate(&mut self, now: Timestamp, handle: &str) -> Result<bool, Error> {
        let hash = IdHash::from_handle(handle);
        self.write(now, async |operations| match &hash {
            Some(hash) => operations.end(hash).await,
            None => Ok(false),
        })
    }

    fn terminate_subject(
        &mut self,
        now: Timestamp,
        subject: &str,
        except: Option<&str>,
    ) -> Result<u64, Error> {
        let except = except.and_then(IdHash::of);
        self.write(now, async |operations| {
            operations.end_subject(subject, except.as_ref()).await
        })
    }

    fn clear(&mut self, now: Timestamp) -> Result<u64, Error> {
        self.write(now, async |operations| operations.end_all().await)
    }

    fn collect(&mut self, now: Timestamp, limit: u64) -> Result<Collected, Error> {
        check_collection(limit)?;
        let time = Duration::from_millis(self.options.sync_timeout);
        self.collect_within(time, now, limit)
    }

    fn stats(&mut self, now: Timestamp) -> Result<Statistics, Error> {
        let (live, expired, size, version) = self.call(now, Effect::Reads, async |operations| {
            operations.stats().await
        })?;
        Ok(Statistics {
            name: self.options.model_name.clone(),
            engine: format!("PostgreSQL {version}"),
            live,
            expired,
            size,
            collected: self.collected,
        })
    }

    fn check(&mut self) -> Result<Vec<String>, Error> {
        self.call(0, Effect::Reads, async |operations| {
            operations.check().await
        })
    }

    fn backup(&mut self, _: &str) -> Result<(), Error> {
        Err(Error::Other(
            "PostgreSQL has its own tools for copies: use pg_dump or pg_basebackup".into(),
        ))
    }
}
