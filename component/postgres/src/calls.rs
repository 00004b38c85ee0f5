//! An open store and its calls, each with one deadline that includes connecting, waiting
//! for locks and retries.

use crate::connection::Connection;
use crate::failure::{Failure, Remedy};
use crate::location::Location;
use crate::network::{self, Elapsed};
use crate::operations::Operations;
use std::cell::{Cell, RefCell};
use std::pin::pin;
use std::time::{Duration, Instant};
use wasi_sessions_rules::collection;
use wasi_sessions_rules::connecting::{
    MIGRATING, MOST_TRIES, Migration, PAUSE, check_time, pause_after, unanswered,
};
use wasi_sessions_rules::error::Error;
use wasi_sessions_rules::kept::{Kept, Key, Unused};
use wasi_sessions_rules::options::Options;
use wasi_sessions_rules::rules::Rules;
use wasi_sessions_rules::types::{Collected, Effect, Reply, Request, Timestamp};

thread_local! {
    static UNUSED: Unused<Connection> = const { Unused::new() };
}

/// An open store; dropping it keeps the connection for the next store.
pub struct Store {
    /// The key under which the connection is kept when the store is dropped.
    key: Option<Key>,
    location: Location,
    pub(crate) options: Options,
    pub(crate) kept: Kept<Connection>,
    /// Rows collected since the store was opened.
    pub(crate) collected: u64,
}

impl Drop for Store {
    fn drop(&mut self) {
        let kept = self.kept.leave();
        if let Some(key) = self.key.take() {
            // While the thread ends there is no place for it.
            let _ = UNUSED.try_with(|unused| unused.give_back(key, kept));
        }
    }
}

/// How far a call has come, for its error if the deadline passes.
enum Progress {
    /// Nothing was sent; the error says why.
    Connecting(Error),
    /// Work was sent and not answered.
    Sent,
}

impl Store {
    /// Opens a store with a connection that another store left, or with a new one.
    pub(crate) fn connected(
        location: &str,
        options: Options,
        now: Timestamp,
    ) -> Result<Store, Error> {
        check_time(&options)?;
        let parsed = Location::parse(location, options.tls_roots.as_deref())?;
        let key = Key {
            location: location.to_owned(),
            options: options.clone(),
        };
        let mut kept = UNUSED.with(|unused| unused.take(&key));
        if !kept.connection.as_mut().is_some_and(Connection::is_alive) {
            let limit = Duration::from_millis(options.sync_timeout);
            let progress = RefCell::new(Progress::Connecting(Error::Busy));
            let has_begun = Cell::new(false);
            let migration = Migration {
                now,
                has_begun: &has_begun,
            };
            let end = Instant::now() + limit;
            let connecting = connect(&parsed, &options, Some(migration), end, &progress);
            let mut connecting = pin!(connecting);
            let mut done = network::block_on(limit, connecting.as_mut());
            if done.is_err() && has_begun.get() {
                done = network::block_on(MIGRATING, connecting);
            }
            let open = match done {
                Ok(connected) => connected?,
                Err(Elapsed) => return Err(connect_error(&progress)),
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

    /// Runs one call: connects if there is no connection, and retries the work where that is
    /// safe. Work that may write is not retried once its outcome is unknown.
    pub(crate) fn call<T>(
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
        // The connection is taken out of the store, so that it is dropped if the deadline
        // passes: the next request on it would get the outstanding answer.
        let mut connection = kept.connection.take();
        let end = Instant::now() + limit;
        let done = network::block_on(limit, async {
            let (mut tries, mut is_second) = (0, false);
            loop {
                let alive = connection
                    .take()
                    .and_then(|mut open: Connection| open.is_alive().then_some(open));
                let mut open = match alive {
                    Some(open) => open,
                    None => connect(location, rules.options, None, end, &progress).await?,
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
                    Remedy::Ended => return Err(failure.into_error()),
                    Remedy::Again if tries == MOST_TRIES => {
                        kept.connection = Some(open);
                        return Err(failure.into_error());
                    }
                    Remedy::Again => {
                        connection = Some(open);
                        tries += 1;
                        if let Some(time) = pause_after(tries) {
                            network::sleep(time).await;
                        }
                    }
                    Remedy::Elsewhere => {
                        drop(open);
                        network::sleep(PAUSE).await;
                    }
                    Remedy::Lost if effect == Effect::Reads && !is_second => is_second = true,
                    Remedy::Lost if effect == Effect::Reads => return Err(Error::Busy),
                    Remedy::Lost => return Err(failure.into_error().with_unknown_outcome()),
                }
            }
        });
        match done {
            Ok(done) => done,
            Err(Elapsed) => Err(match progress.into_inner() {
                Progress::Connecting(error) => error,
                Progress::Sent if effect == Effect::Reads => Error::Busy,
                Progress::Sent => unanswered(),
            }),
        }
    }

    /// Runs a request that only reads.
    pub(crate) fn read<T>(
        &mut self,
        now: Timestamp,
        work: impl AsyncFn(Operations<'_>) -> Result<T, Failure>,
    ) -> Result<T, Error> {
        let done = self.call(now, Effect::Reads, work)?;
        self.count(now, 1);
        Ok(done)
    }

    /// Runs a request that may write.
    pub(crate) fn write<T>(
        &mut self,
        now: Timestamp,
        work: impl AsyncFn(Operations<'_>) -> Result<T, Failure>,
    ) -> Result<T, Error> {
        let done = self.call(now, Effect::Writes, work)?;
        self.count(now, 1);
        Ok(done)
    }

    /// Counts requests towards `gcFrequency`, and runs a collection step if one is due. A
    /// failed step does not fail the requests; the next request retries.
    pub(crate) fn count(&mut self, now: Timestamp, requests: u64) {
        let Some(limit) = self.kept.count(&self.options, requests) else {
            return;
        };
        let time = collection::time(&self.options);
        let _ = self.collect_within(time, now, limit);
    }

    /// Collects in chunks, for so long at most.
    pub(crate) fn collect_within(
        &mut self,
        time: Duration,
        now: Timestamp,
        limit: u64,
    ) -> Result<Collected, Error> {
        let end = Instant::now() + time;
        let collected = collection::in_chunks(limit, |most| {
            let left = end.saturating_duration_since(Instant::now());
            self.call_within(left, now, Effect::Ends, async |operations| {
                operations.collect(most).await
            })
        })?;
        self.collected += collected.removed;
        if !collected.more {
            self.kept.requests = 0;
        }
        Ok(collected)
    }

    /// Whether binding a session to this subject may end others, which needs a transaction.
    pub(crate) fn is_limited(&self, subject: Option<&str>) -> bool {
        subject.is_some() && self.options.max_per_subject.is_some()
    }

    /// Runs a request in a transaction of its own; returns its reply.
    pub(crate) fn alone(&mut self, now: Timestamp, request: Request) -> Result<Reply, Error> {
        self.write(now, async |operations| {
            let mut replies = operations.batch(std::slice::from_ref(&request)).await?;
            let reply = replies.pop().unwrap_or(Err(Error::Busy));
            reply.map_err(Failure::Final)
        })
    }
}

/// The last error of connecting that is not `busy`, if there was one.
fn connect_error(progress: &RefCell<Progress>) -> Error {
    match progress.replace(Progress::Sent) {
        Progress::Connecting(error) => error,
        Progress::Sent => Error::Busy,
    }
}

/// Connects; retries until a server accepts, or until an error that no retry would help.
/// Records the last error in `progress`. Does not retry after `end`.
async fn connect(
    location: &Location,
    options: &Options,
    migration: Option<Migration<'_>>,
    end: Instant,
    progress: &RefCell<Progress>,
) -> Result<Connection, Error> {
    loop {
        let failure = match Connection::open(location, options, migration, end).await {
            Ok(open) => return Ok(open),
            Err(failure) => failure,
        };
        let remedy = failure.remedy();
        let error = failure.into_error();
        if matches!(remedy, Remedy::Failed | Remedy::Ended) && error != Error::Busy {
            return Err(error);
        }
        // Any other error says more.
        if error != Error::Busy {
            progress.replace(Progress::Connecting(error));
        }
        // A migration that fails has taken more than the time of a call.
        if migration.is_some() && Instant::now() >= end {
            return Err(connect_error(progress));
        }
        network::sleep(PAUSE).await;
    }
}
