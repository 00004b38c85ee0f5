//! The handle of an open store, with the functions of the contract.

mod admin;

use std::fmt;
#[cfg(feature = "web")]
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::answer::{Asking, Reads};
use crate::cache::ReadCache;
#[cfg(feature = "tower-sessions")]
use crate::clock::StoreClock;
use crate::contract;
use crate::network::Connections;
use crate::owner::Replies;
use crate::owner::blocking::Blocking;
use crate::owner::limits;
use crate::owner::thread::OwnerThread;
use crate::{
    Answer, Created, Error, NewSession, Options, Outcome, Reply, Request, Session, Timestamp,
};

/// An open store. Clones are cheap and are handles of the same store.
///
/// The functions are the contract's, and `wit/` describes their limits and errors in full.
/// A session that is missing, expired or changed by another caller is not an error: the
/// answer says so.
///
/// Points in time are whole milliseconds since the Unix epoch. A `ttl` is rounded up to
/// whole milliseconds, and the longest is 2^63 - 1 of them. Each write and each touch renews
/// the session's life: it ends `ttl` from now, and at once for zero. With `None` the life is
/// the payload's `cookie.maxAge`, or else the option
/// [`browser_session_lifetime`](crate::Options::browser_session_lifetime); a `ttl` given
/// earlier is not remembered.
///
/// Requests wait in a bounded queue. A store in a directory does one after the other, in the
/// order in which their answers were first polled. A store on a server does as many at once
/// as it has connections, reads, writes and the functions for operators apart, so requests of
/// which neither awaits the other are done in any order. Requests that wait at the same time share a transaction, so
/// that many callers share one fsync (group commit). If the queue is full, tasks wait for a
/// permit (back-pressure); a thread that blocks in [`wait`](Answer::wait) needs none.
///
/// Durations given for a function were measured in a directory. On a server
/// [`sync_timeout`](crate::Options::sync_timeout) bounds each call: one that needs longer, for
/// example for many sessions, fails with [`Error::Busy`] if it only reads, else with
/// [`Error::UnknownOutcome`].
///
/// Dropping the last handle and the last [`Answer`] closes the store: that drop blocks its
/// thread, usually for milliseconds, until queued requests are done, the database is closed
/// and the directory is released, or the connections are closed.
#[derive(Clone)]
pub struct Sessions(Arc<Open>);

/// What the handles of a store share.
struct Open {
    engine: Engine,
    cache: Arc<ReadCache>,
    options: Options,
}

/// Runs the requests of a store.
pub(crate) enum Engine {
    /// One owner of a directory.
    Directory {
        owner: Box<OwnerThread>,
        /// The directory, as an absolute path without links.
        directory: PathBuf,
    },
    /// Connections to a server.
    Network(Connections),
}

impl Sessions {
    pub(crate) fn new(engine: Engine, cache: Arc<ReadCache>, options: Options) -> Self {
        Self(Arc::new(Open {
            engine,
            cache,
            options,
        }))
    }

    /// Starts a session under a new id of 43 random characters. `session` is a payload, or a
    /// [`NewSession`], which can also have a life and a subject.
    ///
    /// Fails with [`Error::TooLarge`] for a payload over `max_data`, as every
    /// write does, and with [`Error::InvalidArgument`] for a subject that is
    /// empty or over 255 bytes.
    pub fn create(&self, session: impl Into<NewSession>) -> Answer<Created> {
        let request = Request::Create(session.into());
        self.request(request, |reply| match reply {
            Reply::Created(created) => Some(created),
            _ => None,
        })
    }

    /// The session, or `None` if it is missing or expired.
    ///
    /// A session that was read before is answered from memory, even if it was written
    /// since, on the thread that polls the answer. The answer reflects every request that
    /// was answered before this poll, and does not wait for queued requests. A store on a
    /// server asks the server each time.
    pub fn get(&self, id: &str) -> Answer<Option<Session>> {
        Answer::read(self.0.clone(), limits::shortened(id).to_owned())
    }

    /// Writes the session, whether or not it exists. An existing session keeps its
    /// `created` and `subject`. The outcome is [`Outcome::Gone`] if the session was ended
    /// less than [`tombstone`](crate::Options::tombstone) ago.
    ///
    /// Fails with [`Error::InvalidArgument`] for an `id` that is empty or longer than 255
    /// bytes. Functions that do not start a session treat such an id as missing.
    pub fn set(
        &self,
        id: &str,
        data: impl Into<Vec<u8>>,
        ttl: Option<Duration>,
    ) -> Answer<Outcome> {
        let request = Request::Set {
            id: id.to_owned(),
            data: data.into(),
            ttl,
        };
        self.request(request, outcome)
    }

    /// Writes the session if it exists and, if `expected` is given, still has that version;
    /// otherwise [`Outcome::Stale`] contains the newer session. An `expected` of 0 starts
    /// the session if there is none with this id, and fails with
    /// [`Error::InvalidArgument`] for an `id` that is empty or longer than 255 bytes.
    pub fn update(
        &self,
        id: &str,
        data: impl Into<Vec<u8>>,
        ttl: Option<Duration>,
        expected: Option<u64>,
    ) -> Answer<Outcome> {
        let request = Request::Update {
            id: id.to_owned(),
            data: data.into(),
            ttl,
            expected,
        };
        self.request(request, outcome)
    }

    /// Applies a JSON merge patch (RFC 7396) to the payload in one step, and answers with
    /// the resulting session. Fails with [`Error::InvalidArgument`] if the patch or the
    /// payload is not JSON or is nested deeper than 128, and with [`Error::TooLarge`] if the
    /// patch or the result is longer than [`max_data`](crate::Options::max_data).
    pub fn merge(&self, id: &str, patch: &str, ttl: Option<Duration>) -> Answer<Option<Session>> {
        let request = Request::Merge {
            id: id.to_owned(),
            patch: patch.to_owned(),
            ttl,
        };
        self.request(request, session)
    }

    /// Renews the session's life without changing its payload or version; answers with the
    /// new expiry. If that is later by less than
    /// [`renewal_step`](crate::Options::renewal_step), nothing is written, and the answer is
    /// the present expiry.
    pub fn touch(&self, id: &str, ttl: Option<Duration>) -> Answer<Option<Timestamp>> {
        let request = Request::Touch {
            id: id.to_owned(),
            ttl,
        };
        self.request(request, |reply| match reply {
            Reply::Expires(expires) => Some(expires),
            _ => None,
        })
    }

    /// Moves the session to a new id in one step and, if `subject` is given, binds it to
    /// that subject. To be called at log-in. Ends the subject's oldest sessions beyond
    /// [`max_per_subject`](crate::Options::max_per_subject), but never this one.
    ///
    /// Fails with [`Error::InvalidArgument`] for a subject that is empty or over 255 bytes.
    pub fn rotate(&self, id: &str, subject: Option<&str>) -> Answer<Option<Created>> {
        let request = Request::Rotate {
            id: id.to_owned(),
            subject: owned(subject),
        };
        self.request(request, |reply| match reply {
            Reply::Rotated(created) => Some(created),
            _ => None,
        })
    }

    /// Ends the session; false if there was none.
    pub fn destroy(&self, id: &str) -> Answer<bool> {
        let request = Request::Destroy { id: id.to_owned() };
        self.request(request, |reply| match reply {
            Reply::Destroyed(destroyed) => Some(destroyed),
            _ => None,
        })
    }

    /// Runs all requests in one transaction, in order. Each has its own reply, and one that
    /// fails does not affect the others. If the batch as a whole fails, nothing was done,
    /// except possibly with [`Error::Crashed`], [`Error::UnknownOutcome`], [`Error::Replaced`],
    /// [`Error::LockLost`] or [`Error::Closed`].
    pub fn batch(&self, requests: Vec<Request>) -> Answer<Vec<Result<Reply, Error>>> {
        let requests = requests.into_iter().map(Into::into).collect();
        self.batch_of(requests)
    }

    /// Runs requests of the contract as [`batch`](Sessions::batch) does.
    pub(crate) fn batch_of(
        &self,
        requests: Vec<contract::types::Request>,
    ) -> Answer<Vec<Result<Reply, Error>>> {
        let sessions = self.clone();
        Answer::new(|blocking| async move { sessions.send(requests, &blocking).await })
    }

    /// The clock of the store.
    #[cfg(feature = "tower-sessions")]
    pub(crate) fn clock(&self) -> &StoreClock {
        self.0.cache.clock()
    }

    /// The options that the store was opened with.
    pub fn options(&self) -> &Options {
        &self.0.options
    }

    /// Checks the options with which a guest opens the store: the contract's JSON; each
    /// option in it must equal the store's.
    pub(crate) fn check_options(&self, given: &str) -> Result<(), Error> {
        match self.0.engine {
            Engine::Directory { .. } => self.0.options.check(given),
            Engine::Network(_) => self.0.options.check_of_server(given),
        }
    }

    /// The store's directory, as an absolute path without links, if it has one.
    #[cfg(feature = "web")]
    pub(crate) fn directory(&self) -> Option<&Path> {
        match &self.0.engine {
            Engine::Directory { directory, .. } => Some(directory),
            Engine::Network(_) => None,
        }
    }

    /// Whether a batch of these requests is within the budget of one transaction.
    pub(crate) fn has_room_for(&self, requests: &[contract::types::Request]) -> bool {
        let budget = match &self.0.engine {
            Engine::Directory { owner, .. } => &owner.budget,
            Engine::Network(connections) => &connections.budget,
        };
        budget.allows(requests)
    }

    fn request<T: 'static>(&self, request: Request, read: fn(Reply) -> Option<T>) -> Answer<T> {
        let sessions = self.clone();
        Answer::new(|blocking| async move { sessions.ask(request, read, &blocking).await })
    }

    /// Sends one request; `read` extracts the answer from its kind of reply.
    async fn ask<T>(
        &self,
        request: Request,
        read: fn(Reply) -> Option<T>,
        blocking: &Blocking,
    ) -> Result<T, Error> {
        let reply = self.send(vec![request.into()], blocking).await?.pop();
        let answer = reply.transpose()?.and_then(read);
        answer.ok_or_else(|| Error::Other("the component broke its contract".to_owned()))
    }

    async fn send(
        &self,
        mut requests: Vec<contract::types::Request>,
        blocking: &Blocking,
    ) -> Result<Replies, Error> {
        let max_data = self.0.options.max_data;
        let checks: Vec<Result<(), Error>> = requests
            .iter_mut()
            .map(|request| limits::check(request, max_data))
            .collect();
        let mut accepted = checks.iter().map(Result::is_ok);
        requests.retain(|_| accepted.next() == Some(true));

        let replies = match &self.0.engine {
            Engine::Directory { owner, .. } => owner.batch(requests, blocking).await?,
            Engine::Network(connections) => connections.batch(requests, blocking).await?,
        };
        let mut replies = replies.into_iter();
        let mut reply = |()| replies.next().unwrap_or(Err(Error::Closed));
        Ok(checks
            .into_iter()
            .map(|check| check.and_then(&mut reply))
            .collect())
    }
}

impl Reads<Option<Session>> for Open {
    fn find(&self, id: &str) -> Option<Option<Session>> {
        self.cache.get(id).map(Some)
    }

    fn ask(self: Arc<Self>, id: String, blocking: Blocking) -> Asking<Option<Session>> {
        let request = Request::Get { id };
        Box::pin(async move { Sessions(self).ask(request, session, &blocking).await })
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = formatter.debug_struct("Sessions");
        match &self.0.engine {
            Engine::Directory { directory, .. } => shown.field("directory", directory),
            Engine::Network(connections) => shown.field("servers", &connections.servers),
        };
        shown.finish_non_exhaustive()
    }
}

/// Copies a subject, an id or a cursor. An overlong one is cut to a length that the
/// component still refuses.
fn owned(text: Option<&str>) -> Option<String> {
    text.map(|text| limits::shortened(text).to_owned())
}

fn session(reply: Reply) -> Option<Option<Session>> {
    match reply {
        Reply::Session(session) => Some(session),
        _ => None,
    }
}

fn outcome(reply: Reply) -> Option<Outcome> {
    match reply {
        Reply::Outcome(outcome) => Some(outcome),
        _ => None,
    }
}
