//! The future that a request returns, which async code awaits and plain threads wait for.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::task::coop;
use tokio::task::unconstrained;

use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Instant, block_on, thread};
use crate::{Error, Sessions};

/// How long a thread spins before it sleeps: about as long as it takes to wake a thread.
pub(crate) const LINGER: Duration = Duration::from_micros(50);

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

/// A read that may be answered from memory: `find` looks there, and `ask` makes the request
/// if the session is not found. Not a boxed future, because its two allocations would be a
/// tenth of the time of such a read.
pub(crate) struct PendingRead<T> {
    pub(crate) sessions: Sessions,
    pub(crate) id: String,
    pub(crate) find: fn(&Sessions, &str) -> Option<T>,
    pub(crate) ask: fn(Sessions, String, Blocking) -> Asking<T>,
}

/// Whether the caller's thread blocks until the answer is complete. Set by
/// [`Answer::wait`], whether or not the answer was polled before.
#[derive(Clone)]
pub(crate) struct Blocking(Arc<AtomicBool>);

impl Blocking {
    pub(crate) fn new(blocks: bool) -> Self {
        Self(Arc::new(AtomicBool::new(blocks)))
    }

    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
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

    pub(crate) fn read(read: PendingRead<T>) -> Self {
        Self::in_state(State::Reading(Some(read)))
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
            blocking.0.store(true, Ordering::Relaxed);
        }
        match self.linger() {
            Some(answer) => answer,
            None => block_on(unconstrained(self)),
        }
    }

    /// Spins for the answer; `None` if it is not complete within [`LINGER`].
    fn linger(&mut self) -> Option<Result<T, Error>> {
        let mut context = Context::from_waker(Waker::noop());
        // Unconstrained, because a task's budget is renewed only when the task yields,
        // which it cannot do while its thread is blocked.
        let mut poll = || match Pin::new(&mut unconstrained(&mut *self)).poll(&mut context) {
            Poll::Ready(answer) => Some(answer),
            Poll::Pending => None,
        };
        if let Some(answer) = poll() {
            return Some(answer);
        }
        let _spin_permit = SpinPermit::take()?;
        let started = Instant::now();
        while started.elapsed() < LINGER {
            thread::yield_now();
            if let Some(answer) = poll() {
                return Some(answer);
            }
        }
        None
    }
}

/// A permit to spin. At most one thread of the process spins, so that spinning threads do
/// not take the processor from the thread that works.
struct SpinPermit;

static SPIN_PERMIT: AtomicBool = AtomicBool::new(false);

impl SpinPermit {
    fn take() -> Option<Self> {
        let taken = SPIN_PERMIT.swap(true, Ordering::Acquire);
        (!taken).then_some(Self)
    }
}

impl Drop for SpinPermit {
    fn drop(&mut self) {
        SPIN_PERMIT.store(false, Ordering::Release);
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
        take(1, context);
        let read = match &mut self.state {
            State::Asking(asking, _) => return asking.as_mut().poll(context),
            State::Reading(read) => read.take().expect("polled after completion"),
        };
        if let Some(found) = (read.find)(&read.sessions, &read.id) {
            return Poll::Ready(Ok(found));
        }
        let blocking = Blocking::new(self.blocks);
        let mut asking = (read.ask)(read.sessions, read.id, blocking.clone());
        let answer = asking.as_mut().poll(context);
        self.state = State::Asking(asking, blocking);
        answer
    }
}

/// Spends `units` of the cooperative budget of the task that awaits this, or what is left.
pub(crate) async fn spend(units: u32) {
    poll_fn(|context| {
        take(units, context);
        Poll::Ready(())
    })
    .await;
}

fn take(units: u32, context: &mut Context<'_>) {
    for _ in 0..units {
        if !coop::has_budget_remaining() {
            return;
        }
        if let Poll::Ready(unit) = coop::poll_proceed(context) {
            unit.made_progress();
        }
    }
}

#[cfg(test)]
mod tests;
