//! An open store and its calls, each with one deadline that includes connecting, waiting
//! for locks and retries.

use crate::connection::Connection;
use crate::failure::{Failure, Remedy};
use crate::location::Location;
use crate::network::{self, Elapsed};
use crate::operations::Operations;
use std::marker::PhantomData;
use std::time::{Duration, Instant};
use wasi_sessions_rules::collection;
use wasi_sessions_rules::connecting::{MOST_TRIES, PAUSE, check_time, pause_after, unanswered};
use wasi_sessions_rules::error::Error;
use wasi_sessions_rules::kept::{Kept, Key, Unused};
use wasi_sessions_rules::options::Options;
use wasi_sessions_rules::rules::Rules;
use wasi_sessions_rules::types::{Collected, Timestamp};

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
    /// Not `Send`: a connection belongs to the runtime of the thread that opened it.
    of_thread: PhantomData<*const ()>,
}

impl Drop for Store {
    fn drop(&mut self) {
        let kept = self.kept.leave();
        if let Some(key) = self.key.take() {
            // Fails while the thread ends; then the connection is dropped.
            let _ = UNUSED.try_with(|unused| unused.give_back(key, kept));
        }
    }
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
        let end = Instant::now() + Duration::from_millis(options.sync_timeout);
        let mut kept = UNUSED.with(|unused| unused.take(&key));
        if !kept
            .connection
            .as_mut()
            .is_some_and(|open| open.is_alive(end))
        {
            let open = connect(&parsed, &options, Some(now), end)?;
            kept.clock_offset = open.clock_offset;
            kept.connection = Some(open);
        }
        Ok(Store {
            key: Some(key),
            location: parsed,
            options,
            kept,
            collected: 0,
            of_thread: PhantomData,
        })
    }

    /// Runs one call: connects if there is no connection, and retries the work where that is
    /// safe. Work is not retried once its outcome is unknown.
    pub(crate) fn call<T>(
        &mut self,
        now: Timestamp,
        work: impl AsyncFn(&mut Operations<'_>) -> Result<T, Failure>,
    ) -> Result<T, Error> {
        let limit = Duration::from_millis(self.options.sync_timeout);
        self.call_until(Instant::now() + limit, now, work)
    }

    fn call_until<T>(
        &mut self,
        end: Instant,
        now: Timestamp,
        work: impl AsyncFn(&mut Operations<'_>) -> Result<T, Failure>,
    ) -> Result<T, Error> {
        let (mut tries, mut is_second) = (0, false);
        loop {
            let kept = self.kept.connection.take();
            let alive = kept.and_then(|mut open| open.is_alive(end).then_some(open));
            let mut open = match alive {
                Some(open) => open,
                None => connect(&self.location, &self.options, None, end)?,
            };
            self.kept.clock_offset = open.clock_offset;
            open.link.start();
            let mut operations = Operations {
                link: &mut open.link,
                statements: &open.statements,
                rules: Rules {
                    options: &self.options,
                    now,
                },
            };
            let failure = match network::block_on(end, work(&mut operations)) {
                Ok(Ok(done)) => {
                    open.note_use();
                    self.kept.connection = Some(open);
                    return Ok(done);
                }
                Ok(Err(failure)) => failure,
                // The connection is dropped with an answer outstanding, which the next
                // request would get.
                Err(Elapsed) if open.link.is_in_doubt() => {
                    return Err(unanswered());
                }
                Err(Elapsed) => return Err(Error::Busy),
            };
            match failure.remedy() {
                Remedy::Failed => {
                    self.kept.connection = Some(open);
                    return Err(failure.into_error());
                }
                Remedy::Again => {
                    self.kept.connection = Some(open);
                    tries += 1;
                    if let Some(time) = pause_after(tries) {
                        network::pause(time, end);
                    }
                    if tries > MOST_TRIES || Instant::now() >= end {
                        return Err(failure.into_error());
                    }
                }
                Remedy::Elsewhere => network::pause(PAUSE, end),
                Remedy::Lost if open.link.is_in_doubt() => {
                    return Err(failure.into_error().with_unknown_outcome());
                }
                Remedy::Lost | Remedy::Reconnect if is_second => {
                    return Err(failure.into_error());
                }
                Remedy::Lost | Remedy::Reconnect => is_second = true,
            }
        }
    }

    /// Runs one request, and counts it.
    pub(crate) fn request<T>(
        &mut self,
        now: Timestamp,
        work: impl AsyncFn(&mut Operations<'_>) -> Result<T, Failure>,
    ) -> Result<T, Error> {
        let done = self.call(now, work)?;
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

    /// Collects in chunks, for at most `time`.
    pub(crate) fn collect_within(
        &mut self,
        time: Duration,
        now: Timestamp,
        limit: u64,
    ) -> Result<Collected, Error> {
        let end = Instant::now() + time;
        let collected = collection::in_chunks(limit, |most| {
            self.call_until(end, now, async |operations: &mut Operations<'_>| {
                operations.collect(most).await
            })
        })?;
        self.collected += collected.removed;
        if !collected.more {
            self.kept.requests = 0;
        }
        Ok(collected)
    }
}

/// Connects; retries until a server accepts, until `end`, or until an error that no retry
/// would help.
fn connect(
    location: &Location,
    options: &Options,
    now: Option<Timestamp>,
    end: Instant,
) -> Result<Connection, Error> {
    let mut last = Error::Busy;
    loop {
        let failure = match Connection::open(location, options, now, end) {
            Ok(open) => return Ok(open),
            Err(failure) => failure,
        };
        let remedy = failure.remedy();
        let error = failure.into_error();
        if error != Error::Busy {
            if matches!(remedy, Remedy::Failed) {
                return Err(error);
            }
            // More informative than the error of a last attempt that has no time left.
            last = error;
        }
        network::pause(PAUSE, end);
        if Instant::now() >= end {
            return Err(last);
        }
    }
}
