//! The functions of the contract's `admin`, for operators: listing, ending and collecting
//! sessions, checking and copying the database.

use std::path::Path;
use std::time::{Duration, Instant};

use super::{Engine, Sessions, owned};
use crate::owner::blocking::Blocking;
use crate::owner::{Owner, limits};
use crate::request::Ending;
use crate::sandbox::instance::{Called, Keeping};
use crate::{Answer, Collected, Error, Page, Session, Statistics};

/// The rows of a collection's first step, and the fewest of any. The rows of later steps are
/// adjusted so that a step takes between `SHORTEST_STEP` and `LONGEST_STEP`.
const SMALLEST_STEP: u32 = 64;
const LARGEST_STEP: u32 = 4096;
const SHORTEST_STEP: Duration = Duration::from_millis(1);
const LONGEST_STEP: Duration = Duration::from_millis(2);

impl Sessions {
    /// A page of live sessions, all or one subject's, in a fixed order. `cursor` is the
    /// previous page's `next`; `limit` is 1 to 1000. A page reads at most 10,000 rows, live
    /// or not, so it may have no entries and yet a `next`: only `None` is the end. Fails with
    /// [`Error::InvalidArgument`] for another `limit`, and for a `cursor` that does not have
    /// the form of a `next`.
    pub fn list_sessions(
        &self,
        subject: Option<&str>,
        cursor: Option<&str>,
        limit: u32,
    ) -> Answer<Page> {
        let (subject, cursor) = (owned(subject), owned(cursor));
        self.keeping(async move |admin| {
            let page = admin.list_sessions(subject.as_deref(), cursor.as_deref(), limit);
            page.await
        })
    }

    /// The number of live sessions, all or one subject's. Other requests wait
    /// meanwhile: a quarter of a second for a million sessions, 2 seconds for a
    /// subject with a million. On a server it occupies one connection.
    pub fn count_sessions(&self, subject: Option<&str>) -> Answer<u64> {
        let subject = owned(subject);
        self.keeping(async move |admin| admin.count_sessions(subject.as_deref()).await)
    }

    /// The session with a handle from a listing, including its payload, or `None` if it is
    /// missing or expired.
    pub fn inspect(&self, handle: &str) -> Answer<Option<Session>> {
        let handle = limits::shortened(handle).to_owned();
        self.keeping(async move |admin| admin.inspect(handle).await)
    }

    /// Ends the session with a handle from a listing; false if there was none.
    pub fn terminate(&self, handle: &str) -> Answer<bool> {
        let ending = Ending::Session(limits::shortened(handle).to_owned());
        let sessions = self.clone();
        Answer::new(|blocking| async move { Ok(sessions.end(ending, &blocking).await? > 0) })
    }

    /// Ends all sessions of a subject except the one with the id `except`, which need not
    /// exist; answers how many. It is one transaction, and its memory does not depend on
    /// the number of sessions. Other requests wait meanwhile: about 15 seconds for a
    /// million sessions. On a server other writes wait, and reads go on.
    pub fn terminate_subject(&self, subject: &str, except: Option<&str>) -> Answer<u64> {
        let ending = Ending::OfSubject {
            subject: limits::shortened(subject).to_owned(),
            except: owned(except),
        };
        let sessions = self.clone();
        Answer::new(|blocking| async move { sessions.end(ending, &blocking).await })
    }

    /// Ends every session; answers how many. Time and memory are as for
    /// [`terminate_subject`](Sessions::terminate_subject).
    pub fn clear(&self) -> Answer<u64> {
        let sessions = self.clone();
        Answer::new(|blocking| async move { sessions.end(Ending::All, &blocking).await })
    }

    /// Removes at most `limit` rows, expired sessions and old tombstones, and returns some
    /// free space to the file system. With a `previous_key`, then encrypts rows with the
    /// current key. Call it until `more` is false. `limit` is at least 1.
    pub fn collect(&self, limit: u32) -> Answer<Collected> {
        let sessions = self.clone();
        Answer::new(|blocking| async move {
            let (collected, _) = sessions.collection_step(limit, &blocking).await?;
            Ok(collected)
        })
    }

    /// Collects until nothing is left, in steps of about 1 to 2 milliseconds, between which
    /// other requests are done; answers how many rows it removed. On a server a step removes
    /// up to 4096 rows, however long that takes.
    pub fn collect_all(&self) -> Answer<u64> {
        let sessions = self.clone();
        Answer::new(|blocking| async move {
            let mut limit = match sessions.0.engine {
                Engine::Directory { .. } => SMALLEST_STEP,
                Engine::Network(_) => LARGEST_STEP,
            };
            let mut removed = 0;
            loop {
                let (collected, took) = sessions.collection_step(limit, &blocking).await?;
                removed += collected.removed;
                if !collected.more {
                    return Ok(removed);
                }
                limit = match took {
                    Some(short) if short < SHORTEST_STEP => (limit * 2).min(LARGEST_STEP),
                    Some(long) if long > LONGEST_STEP => (limit / 2).max(SMALLEST_STEP),
                    _ => limit,
                };
            }
        })
    }

    /// Runs one collection step; also returns how long other requests waited for it, if they
    /// had to.
    async fn collection_step(
        &self,
        limit: u32,
        blocking: &Blocking,
    ) -> Result<(Collected, Option<Duration>), Error> {
        match &self.0.engine {
            Engine::Directory { owner, .. } => {
                let step = move |owner: &mut Owner| {
                    let started = Instant::now();
                    let collected = owner.collect(limit)?;
                    Ok((collected, Some(started.elapsed())))
                };
                owner.call(step, blocking).await
            }
            Engine::Network(connections) => {
                let step = async move |admin: Keeping<'_>| admin.collect(limit).await;
                Ok((connections.keeping(step, blocking).await?, None))
            }
        }
    }

    /// Statistics of the store. Reads an index of all sessions, while other
    /// requests wait: a quarter of a second for a million sessions.
    pub fn stats(&self) -> Answer<Statistics> {
        self.keeping(async |admin| admin.stats().await)
    }

    /// Reads the whole database and lists what is damaged; empty if nothing is.
    /// Other requests wait meanwhile: 1 to 2 seconds for each 100 MB. Fails with
    /// [`Error::Replaced`] if the files of the database were removed, moved or
    /// replaced. On a server it reads what SQL can see of the table, and occupies one
    /// connection.
    pub fn check(&self) -> Answer<Vec<String>> {
        let sessions = self.clone();
        Answer::new(|blocking| async move {
            match &sessions.0.engine {
                Engine::Directory { owner, .. } => {
                    owner.call(|owner| owner.check(), &blocking).await
                }
                Engine::Network(connections) => {
                    connections
                        .keeping(async |admin: Keeping<'_>| admin.check().await, &blocking)
                        .await
                }
            }
        })
    }

    /// Writes a consistent copy of the database to `file`, which may be any path on this
    /// machine. Other requests wait meanwhile: about a second for each 100 MB.
    ///
    /// Only this user can read the copy. It appears under its name when it is complete and
    /// durable. Until then it is in a folder beside it, `.wasi-sessions.backup.` and six
    /// characters, which is left behind only if the process is killed.
    ///
    /// Fails with [`Error::InvalidArgument`] if `file` exists or is a name of the store's
    /// own files.
    ///
    /// A server has its own tools for copies; for a store there, this fails with
    /// [`Error::Other`], which names them.
    pub fn backup(&self, file: impl AsRef<Path>) -> Answer<()> {
        let (sessions, file) = (self.clone(), file.as_ref().to_owned());
        Answer::new(|blocking| async move {
            match &sessions.0.engine {
                Engine::Directory { owner, .. } => {
                    owner
                        .call(move |owner| owner.backup(&file), &blocking)
                        .await
                }
                Engine::Network(connections) => {
                    let refusal = async |admin: Keeping<'_>| admin.backup("").await;
                    connections.keeping(refusal, &blocking).await
                }
            }
        })
    }

    /// Ends sessions; returns how many.
    async fn end(&self, ending: Ending, blocking: &Blocking) -> Result<u64, Error> {
        match &self.0.engine {
            Engine::Directory { owner, .. } => {
                owner.call(move |owner| owner.end(&ending), blocking).await
            }
            Engine::Network(connections) => connections.end(ending, blocking).await,
        }
    }

    /// Calls a function of the contract's `admin` that ends no session.
    fn keeping<T: Send + 'static>(
        &self,
        call: impl AsyncFnOnce(Keeping<'_>) -> Called<T> + Send + 'static,
    ) -> Answer<T> {
        let sessions = self.clone();
        Answer::new(|blocking| async move {
            match &sessions.0.engine {
                Engine::Directory { owner, .. } => {
                    owner
                        .call(move |owner| owner.keeping(call), &blocking)
                        .await
                }
                Engine::Network(connections) => connections.keeping(call, &blocking).await,
            }
        })
    }
}
