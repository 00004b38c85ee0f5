//! An open store: each function of the contract is one call, with one deadline for
//! connecting, waiting for locks and all that is run again.

use crate::connection::Connection;
use crate::failure::{Failure, Remedy};
use crate::kept::{self, Kept, Key};
use crate::location::Location;
use crate::network::{self, Elapsed};
use crate::operations::Operations;
use std::cell::RefCell;
use std::time::Duration;
use wasi_sessions_rules::collection;
use wasi_sessions_rules::engine::Engine;
use wasi_sessions_rules::error::Error;
use wasi_sessions_rules::id::{self, IdHash};
use wasi_sessions_rules::options::Options;
use wasi_sessions_rules::rules::{Rules, check_collection, check_page};
use wasi_sessions_rules::types::{
    Collected, CreateRequest, Created, Effect, Milliseconds, Outcome, Page, Replies, Reply,
    Request, RotateRequest, Session, Statistics, Timestamp,
};

/// How often work is run again that lost against other writers.
const MOST_TRIES: u32 = 100;

/// The pause between two attempts to connect.
const PAUSE: Duration = Duration::from_millis(50);

/// The most time that a collection adds to the request that carries it.
const COLLECTION: Duration = Duration::from_secs(1);

/// An open store; dropping it keeps the connection for the next one.
pub struct Store {
    key: Option<Key>,
    location: Location,
    options: Options,
    kept: Kept,
    /// Rows collected since the store was opened.
    collected: u64,
}

impl Drop for Store {
    fn drop(&mut self) {
        let nothing = Kept {
            connection: None,
            requests: 0,
            clock_offset: 0,
        };
        if let Some(key) = self.key.take() {
            kept::give_back(key, std::mem::replace(&mut self.kept, nothing));
        }
    }
}

/// What became of a call when its time was over.
enum Progress {
    /// Nothing was sent, and why not.
    Connecting(Error),
    /// An answer is outstanding.
    Sent,
}

impl Store {
    /// Does one call: connects if there is no connection, and runs the work again where
    /// that is safe. Work that may write is not, once it is unknown what became of it.
    fn call<T>(
        &mut self,
        now: Timestamp,
        effect: Effect,
        work: impl AsyncFn(Operations<'_>) -> Result<T, Failure>,
    ) -> Result<T, Error> {
        let limit = Duration::from_millis(self.options.sync_timeout);
        self.call_within(limit, now, effect, work)
    }

    fn call_within<T>(
        &mut self,
        limit: Duration,
        now: Timestamp,
        effect: Effect,
        work: impl AsyncFn(Operations<'_>) -> Result<T, Failure>,
    ) -> Result<T, Error> {
        let rules = Rules {
            options: &self.options,
            now,
        };
        let (location, kept) = (&self.location, &mut self.kept);
        let progress = RefCell::new(Progress::Connecting(Error::Busy));
        // Taken out: if the time is over, the connection is dropped with an answer
        // outstanding, which the next request would get.
        let mut connection = kept.connection.take();
        let done = network::block_on(limit, async {
            let (mut tries, mut is_second) = (0, false);
            loop {
                let alive = connection
                    .take()
                    .and_then(|mut open: Connection| open.is_alive().then_some(open));
                let mut open = match alive {
                    Some(open) => open,
                    None => connect(location, rules.options, None, &progress).await?,
                };
                kept.clock_offset = open.clock_offset;
                progress.replace(Progress::Sent);
                let done = open
                    .run(async |client, statements| {
                        work(Operations {
                            client,
                            statements,
                            rules,
                        })
                        .await
                    })
                    .await;
                let failure = match done {
                    Ok(done) => {
                        kept.connection = Some(open);
                        return Ok(done);
                    }
                    Err(failure) => failure,
                };
                progress.replace(Progress::Connecting(Error::Busy));
                match failure.remedy() {
                    Remedy::Failed => {
                        kept.connection = Some(open);
                        return Err(failure.into_error());
                    }
                    Remedy::Again if tries == MOST_TRIES => {
                        kept.connection = Some(open);
                        return Err(failure.into_error());
                    }
                    Remedy::Again => {
                        connection = Some(open);
                        tries += 1;
                        give_way(tries).await;
                    }
                    Remedy::Elsewhere => {
                        drop(open);
                        network::sleep(PAUSE).await;
                    }
                    Remedy::Lost if effect == Effect::Reads && !is_second => is_second = true,
                    Remedy::Lost if effect == Effect::Reads => return Err(failure.into_error()),
                    Remedy::Lost => return Err(unknown(failure.into_error())),
                }
            }
        });
        match done {
            Ok(done) => done,
            Err(Elapsed) => Err(match progress.into_inner() {
                Progress::Connecting(error) => error,
                Progress::Sent if effect == Effect::Reads => Error::Busy,
                Progress::Sent => unknown(Error::Other(
                    "the server has not answered within `syncTimeout`".into(),
                )),
            }),
        }
    }

    fn read<T>(
        &mut self,
        now: Timestamp,
        work: impl AsyncFn(Operations<'_>) -> Result<T, Failure>,
    ) -> Result<T, Error> {
        let done = self.call(now, Effect::Reads, work)?;
        self.count(now, 1);
        Ok(done)
    }

    fn write<T>(
        &mut self,
        now: Timestamp,
        work: impl AsyncFn(Operations<'_>) -> Result<T, Failure>,
    ) -> Result<T, Error> {
        let done = self.call(now, Effect::Writes, work)?;
        self.count(now, 1);
        Ok(done)
    }

    /// Counts requests towards `gcFrequency`, and runs a collection step if one is due. A
    /// failed step does not fail them; the next request retries.
    fn count(&mut self, now: Timestamp, requests: u64) {
        self.kept.requests = self.kept.requests.saturating_add(requests);
        let Some(limit) = collection::step(&self.options, self.kept.requests, requests) else {
            return;
        };
        let time = Duration::from_millis(self.options.sync_timeout).min(COLLECTION);
        let collected = self.call_within(time, now, Effect::Ends, async |operations| {
            operations.collect(limit).await
        });
        if let Ok(collected) = collected {
            self.note(&collected);
        }
    }

    fn note(&mut self, collected: &Collected) {
        self.collected += collected.removed;
        if !collected.more {
            self.kept.requests = 0;
        }
    }

    /// Whether binding a session to this subject ends others: then it takes a transaction.
    fn is_limited(&self, subject: Option<&str>) -> bool {
        subject.is_some() && self.options.max_per_subject.is_some()
    }

    /// The reply to a request that takes a transaction of its own.
    fn alone(&mut self, now: Timestamp, request: Request) -> Result<Reply, Error> {
        self.write(now, async |operations| {
            let mut replies = operations.batch(std::slice::from_ref(&request)).await?;
            let reply = replies.pop().unwrap_or(Err(Error::Busy));
            reply.map_err(Failure::Final)
        })
    }
}

impl Engine for Store {
    const MISSING_OPTIONS: &'static [&'static str] = &["access"];

    fn open(location: &str, options: Options, now: Timestamp) -> Result<Store, Error> {
        if options.sync_timeout == 0 {
            return Err(Error::invalid(
                "options: `syncTimeout` must be at least 1: a server takes time to answer",
            ));
        }
        let parsed = Location::parse(location)?;
        let key = Key {
            location: location.to_owned(),
            options: options.clone(),
        };
        let mut kept = kept::take(&key);
        if !kept.connection.as_mut().is_some_and(Connection::is_alive) {
            let limit = Duration::from_millis(options.sync_timeout);
            let progress = RefCell::new(Progress::Connecting(Error::Busy));
            let connecting = connect(&parsed, &options, Some(now), &progress);
            let open = match network::block_on(limit, connecting) {
                Ok(connected) => connected?,
                Err(Elapsed) => match progress.into_inner() {
                    Progress::Connecting(error) => return Err(error),
                    Progress::Sent => return Err(Error::Busy),
                },
            };
            kept.clock_offset = open.clock_offset;
            kept.connection = Some(open);
        }
        Ok(Store {
            key: Some(key),
            location: parsed,
            options,
            kept,
            collected: 0,
        })
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
        match self.alone(now, request)? {
            Reply::Created(created) => Ok(created),
            other => Err(mismatch(&other)),
        }
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
        match self.alone(now, request)? {
            Reply::Rotated(rotated) => Ok(rotated),
            other => Err(mismatch(&other)),
        }
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
        let collected = self.call(now, Effect::Ends, async |operations| {
            operations.collect(limit).await
        })?;
        self.note(&collected);
        Ok(collected)
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

/// Connects as soon as a server lets it, and notes in `progress` why that takes long.
async fn connect(
    location: &Location,
    options: &Options,
    now: Option<Timestamp>,
    progress: &RefCell<Progress>,
) -> Result<Connection, Error> {
    loop {
        let failure = match Connection::open(location, options, now).await {
            Ok(open) => return Ok(open),
            Err(failure) => failure,
        };
        let remedy = failure.remedy();
        let error = failure.into_error();
        if matches!(remedy, Remedy::Failed) && error != Error::Busy {
            return Err(error);
        }
        progress.replace(Progress::Connecting(error));
        network::sleep(PAUSE).await;
    }
}

/// Waits a little, at random, once work has lost against other writers several times.
async fn give_way(tries: u32) {
    if tries > 2 {
        let random = id::random::<1>().map_or(1, |[random]| u64::from(random));
        network::sleep(Duration::from_micros(random << tries.min(7))).await;
    }
}

/// The error of work that was sent, after which the connection was lost.
fn unknown(error: Error) -> Error {
    let words = match error {
        Error::Other(words) => words,
        other => format!("{other:?}"),
    };
    Error::Other(format!("{words}; whether the request was done is unknown"))
}

fn mismatch(reply: &Reply) -> Error {
    let kind = std::mem::discriminant(reply);
    Error::Other(format!("a request has a reply of another kind: {kind:?}"))
}
