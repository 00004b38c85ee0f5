//! The future that a request returns, which async code awaits and plain threads wait for.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use tokio::task::coop;
use tokio::task::unconstrained;

use crate::Error;
use crate::owner::blocking::{Blocking, spend_unit};
use crate::sync::block_on;

/// The answer to a request: `.await` it in async code, on any executor, or
/// [`wait`](Answer::wait) for it on a plain thread.
///
/// It is lazy, as futures are: the request is not sent before the answer is first polled
/// or waited for. If the answer is dropped before the request is in the queue, the request
/// is not run; if it is dropped later, the request is run and its result is lost. It keeps
/// the store open until it is complete or dropped.
#[must_use = "the request is not sent before the answer is awaited or waited for"]
pub struct Answer<T> {
    state: State<T>,
    /// Whether a thread blocks in [`wait`](Answer::wait).
    blocks: bool,
    /// Whether it has yielded to other tasks.
    has_yielded: bool,
}

enum State<T> {
    /// A read that was not polled yet; `None` once memory has answered it.
    Reading(Option<PendingRead<T>>),
    Asking(Asking<T>, Blocking),
}

pub(crate) type Asking<T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send>>;

/// A read that may be answered from memory. Not a boxed future, because its two allocations
/// would add about a quarter to the time of such a read.
struct PendingRead<T> {
    store: Arc<dyn Reads<T>>,
    id: String,
}

/// A store that answers some reads from memory. A trait, so that the store's file uses this
/// one and not also the other way round.
pub(crate) trait Reads<T>: Send + Sync {
    /// What memory holds of the session.
    fn find(&self, id: &str) -> Option<T>;

    /// Makes a request for the session.
    fn ask(self: Arc<Self>, id: String, blocking: Blocking) -> Asking<T>;
}

impl<T> Answer<T> {
    pub(crate) fn new<F>(ask: impl FnOnce(Blocking) -> F) -> Self
    where
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let blocking = Blocking::new(false);
        let asking = Box::pin(ask(blocking.clone()));
        Self::in_state(State::Asking(asking, blocking))
    }

    /// A read of the session with this id.
    pub(crate) fn read(store: Arc<dyn Reads<T>>, id: String) -> Self {
        Self::in_state(State::Reading(Some(PendingRead { store, id })))
    }

    fn in_state(state: State<T>) -> Self {
        Self {
            state,
            blocks: false,
            has_yielded: false,
        }
    }

    /// Blocks this thread until the answer is complete. It works on every thread that may
    /// block: on a plain thread, inside a runtime or another executor, in a destructor. In
    /// async code use `.await` instead, since `wait` keeps the executor's thread from its
    /// other tasks.
    ///
    /// Code that the store itself calls must not wait: its clock, its source of randomness
    /// and, on its thread, wakers. If the answer depends on that code to return, it is
    /// [`Error::Other`] without waiting.
    ///
    /// If no other request waits, this thread runs the request itself.
    pub fn wait(mut self) -> Result<T, Error> {
        self.blocks = true;
        if let State::Asking(_, blocking) = &self.state {
            blocking.set();
        }
        // Unconstrained, because a task's budget is renewed only when the task yields, which
        // it cannot do while its thread is blocked. Most answers are complete at once.
        let mut context = Context::from_waker(Waker::noop());
        match Pin::new(&mut unconstrained(&mut self)).poll(&mut context) {
            Poll::Ready(answer) => answer,
            Poll::Pending => block_on(unconstrained(self)),
        }
    }
}

impl<T> Future for Answer<T> {
    type Output = Result<T, Error>;

    /// Spends tokio's cooperative budget, since many answers are complete at the first poll.
    /// Yields at most once: an executor nested in a task polls again without renewing the
    /// budget.
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if !self.has_yielded && !coop::has_budget_remaining() {
            self.has_yielded = true;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        spend_unit(context);
        let PendingRead { store, id } = match &mut self.state {
            State::Asking(asking, _) => return asking.as_mut().poll(context),
            State::Reading(read) => read.take().expect("polled after completion"),
        };
        if let Some(found) = store.find(&id) {
            return Poll::Ready(Ok(found));
        }
        let blocking = Blocking::new(self.blocks);
        let mut asking = store.ask(id, blocking.clone());
        let answer = asking.as_mut().poll(context);
        self.state = State::Asking(asking, blocking);
        answer
    }
}

#[cfg(test)]
mod tests;
