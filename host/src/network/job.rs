//! The jobs that wait for a connection, and how a connection runs them.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use tokio::task::unconstrained;

use crate::Error;
use crate::contract::types::Request;
use crate::owner::Replies;
use crate::owner::command::{Tell, Waiting};
use crate::owner::group::{Budget, Group};
use crate::owner::permits::Queued;
use crate::request::Writes;
use crate::sandbox::instance::{Called, Guest};

/// The kinds of jobs, which wait apart and take turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Requests that only read sessions.
    Read,
    /// Requests that may write, and so wait for a lock or a commit.
    Write,
    /// A call of the contract's `admin`, or a collection, which may read a whole table.
    Call,
}

impl Kind {
    /// All kinds, in the order of their turns.
    pub(crate) const ALL: [Self; 3] = [Self::Read, Self::Write, Self::Call];
}

/// A job that waits for a connection.
pub(crate) enum Job {
    /// The requests of a caller, which may share a transaction with those of other callers.
    Requests(Waiting),
    /// The requests of a caller that failed in a shared transaction: retried alone.
    Alone(Waiting, Arc<GroupFailure>),
    /// A call of the contract's `admin`.
    Call(Call, Queued),
    /// A collection step of an idle store, which removes at most this many rows.
    Collect(u32),
}

/// The error of a group, whose callers are retried alone. One of them may have caused it. If
/// the first two fail with it again, its cause is the connection or the server, and the
/// others get it without a retry: each would wait for it as long.
pub(crate) struct GroupFailure {
    error: Error,
    /// How many callers failed with the same error.
    repeated: AtomicUsize,
    /// Whether a caller had another result.
    differs: AtomicBool,
}

impl GroupFailure {
    /// How many callers fail before the others do.
    const ENOUGH: usize = 2;

    pub(crate) fn new(error: Error) -> Self {
        Self {
            error,
            repeated: AtomicUsize::new(0),
            differs: AtomicBool::new(false),
        }
    }

    /// Records the result of a caller's retry.
    fn record(&self, done: &Result<Replies, Error>) {
        match done {
            Err(error) if *error == self.error => {
                self.repeated.fetch_add(1, Ordering::Relaxed);
            }
            _ => self.differs.store(true, Ordering::Relaxed),
        }
    }

    /// The error for the callers that were not retried yet, if it concerns them all.
    fn of_all(&self) -> Option<&Error> {
        let differs = self.differs.load(Ordering::Relaxed);
        let is_enough = self.repeated.load(Ordering::Relaxed) >= Self::ENOUGH;
        (is_enough && !differs).then_some(&self.error)
    }
}

/// A function to call with a connection, or with the error if it is not to be run. It
/// returns a function that answers the caller, and whether the instance has trapped.
pub(crate) type Call = Box<dyn for<'g> FnOnce(Result<&'g mut Guest, Error>) -> Calling<'g> + Send>;

pub(crate) type Calling<'g> = Pin<Box<dyn Future<Output = (Tell, bool)> + 'g>>;

/// The outcome of requests on a connection of type `C`.
pub(crate) struct Finished<C> {
    /// The connection; `None` after a trap.
    pub(crate) connection: Option<C>,
    pub(crate) done: Result<Replies, Error>,
}

/// The outcome of a job.
pub(crate) struct Done {
    /// The connection; `None` after a trap.
    pub(crate) guest: Option<Guest>,
    /// The jobs of callers whose requests are to be retried alone.
    pub(crate) alone: Vec<Job>,
    /// Whether a collection step has left rows to collect.
    pub(crate) more: bool,
}

impl Done {
    /// The outcome of a job after which nothing is left to do.
    pub(crate) fn with(guest: Option<Guest>) -> Self {
        Self {
            guest,
            alone: vec![],
            more: false,
        }
    }
}

impl Job {
    /// The kind of a job with these requests.
    pub(crate) fn kind(requests: &[Request]) -> Kind {
        let reads = |request: &Request| matches!(request.weights().writes, Writes::Nothing);
        match requests.iter().all(reads) {
            true => Kind::Read,
            false => Kind::Write,
        }
    }

    /// Since when the caller of the job waits, if there is one.
    pub(crate) fn since(&self) -> Option<Instant> {
        match self {
            Job::Requests(waiting) | Job::Alone(waiting, _) => Some(waiting.queued.since),
            Job::Call(_, queued) => Some(queued.since),
            Job::Collect(_) => None,
        }
    }

    /// Takes the next job from a queue. With requests, also takes those that directly follow
    /// and fit into the same transaction (group commit). Answers callers that need no retry.
    pub(crate) fn take(queue: &mut VecDeque<Job>, budget: &Budget) -> Option<Work> {
        loop {
            return Some(match queue.pop_front()? {
                Job::Requests(first) => {
                    let mut group = Group::of(first, budget);
                    while let Some(Job::Requests(next)) = queue.front()
                        && group.has_room_for(next)
                        && let Some(Job::Requests(next)) = queue.pop_front()
                    {
                        group.add(next);
                    }
                    Work::Group(group)
                }
                Job::Alone(waiting, failure) => match failure.of_all().cloned() {
                    Some(error) => {
                        waiting.answer(Err(error));
                        continue;
                    }
                    None => Work::Alone(waiting, failure),
                },
                Job::Call(call, queued) => Work::Call(call, queued),
                Job::Collect(step) => Work::Collect(step),
            });
        }
    }

    /// Fails a job that was not run.
    pub(crate) async fn refuse(self, error: Error) {
        match self {
            Job::Requests(waiting) | Job::Alone(waiting, _) => waiting.answer(Err(error)),
            Job::Call(call, queued) => {
                let (tell, _) = call(Err(error)).await;
                drop(queued);
                tell();
            }
            Job::Collect(_) => {}
        }
    }
}

/// One or more jobs that a connection runs together.
pub(crate) enum Work {
    Group(Group),
    Alone(Waiting, Arc<GroupFailure>),
    Call(Call, Queued),
    Collect(u32),
}

impl Work {
    /// Runs the work on a connection. Ignores tokio's cooperative budget, because an instance
    /// yields to other tasks only when it waits for the network.
    pub(crate) async fn run(self, mut guest: Guest) -> Done {
        match self {
            Work::Group(group) => {
                let Finished { connection, done } = batch(guest, group.requests()).await;
                let error = done.as_ref().err().cloned();
                let callers = group.answer(done);
                let retry = |error| {
                    let failure = Arc::new(GroupFailure::new(error));
                    let alone = |caller| Job::Alone(caller, failure.clone());
                    callers.into_iter().map(alone).collect()
                };
                Done {
                    alone: error.map(retry).unwrap_or_default(),
                    ..Done::with(connection)
                }
            }
            Work::Alone(waiting, failure) => {
                let Finished { connection, done } = batch(guest, &waiting.requests).await;
                failure.record(&done);
                waiting.answer(done);
                Done::with(connection)
            }
            Work::Call(call, queued) => {
                let (tell, trapped) = unconstrained(call(Ok(&mut guest))).await;
                drop(queued);
                tell();
                Done::with((!trapped).then_some(guest))
            }
            Work::Collect(step) => {
                match unconstrained(guest.keeping().collect(step)).await {
                    Ok(Ok(collected)) => Done {
                        more: collected.more,
                        ..Done::with(Some(guest))
                    },
                    // No request waits for this step, so its error is dropped; if the cause
                    // lasts, later requests report it.
                    Ok(Err(_)) => Done::with(Some(guest)),
                    Err(_trap) => Done::with(None),
                }
            }
        }
    }
}

/// Runs requests in one transaction. Ignores tokio's cooperative budget as [`Work::run`] does.
pub(crate) async fn batch(mut guest: Guest, requests: &[Request]) -> Finished<Guest> {
    let done = unconstrained(replies(&mut guest, requests)).await;
    let trapped = done == Err(Error::Crashed);
    Finished {
        connection: (!trapped).then_some(guest),
        done,
    }
}

async fn replies(guest: &mut Guest, requests: &[Request]) -> Result<Replies, Error> {
    // A call of its own takes one round trip; a batch takes two.
    if let [request] = requests {
        return match answered(guest.request(request).await) {
            // A batch reports these as the request's own.
            Err(error @ (Error::InvalidArgument(_) | Error::TooLarge(_))) => Ok(vec![Err(error)]),
            done => Ok(vec![Ok(done?)]),
        };
    }
    let replies = answered(guest.batch(requests).await)?;
    Ok(replies
        .into_iter()
        .map(|reply| reply.map_err(Error::from))
        .collect())
}

/// The result of a call; a trap becomes [`Error::Crashed`].
pub(crate) fn answered<T>(called: Called<T>) -> Result<T, Error> {
    match called {
        Ok(answer) => Ok(answer?),
        Err(_trap) => Err(Error::Crashed),
    }
}

#[cfg(test)]
mod tests;
