//! An answer on its way, for async code and for plain threads alike.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use tokio::task::coop;
use tokio::task::unconstrained;

use crate::{Error, Sessions};

/// How long a thread looks out for what it waits for before it sleeps: about
/// as long as it takes to wake one.
pub(crate) const LINGER: Duration = Duration::from_micros(50);

/// An answer on its way: `.await` it in async code, on any executor, or
/// [`wait`](Answer::wait) for it on a plain thread.
///
/// It is lazy, as futures are: nothing is asked before it is first polled or
/// waited for. Dropped before its request has a place in the queue, nothing is
/// done; dropped later, the request is done all the same and its answer is lost. It
/// keeps the store open until it is answered or dropped.
#[must_use = "nothing is asked before the answer is awaited or waited for"]
pub struct Answer<T> {
    state: State<T>,
    /// Whether it is waited for.
    blocks: bool,
    /// Whether it let other tasks run before it was asked.
    has_yielded: bool,
}

enum State<T> {
    /// `None` once it was polled.
    Reading(Option<PendingRead<T>>),
    Asking(Asking<T>, Blocking),
}

pub(crate) type Asking<T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send>>;

/// A read that may be answered from memory, and how to ask for it if not. It is apart
/// because two allocations would be a tenth of the time of such a read.
pub(crate) struct PendingRead<T> {
    pub(crate) sessions: Sessions,
    pub(crate) id: String,
    pub(crate) find: fn(&Sessions, &str) -> Option<T>,
    pub(crate) ask: fn(Sessions, String, Blocking) -> Asking<T>,
}

/// Whether the thread of a request's caller blocks until the answer is there. It is
/// set when an answer is waited for, whether or not it was polled before.
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

    /// Blocks this thread until the answer is there. It works on every thread that
    /// may block, and any number of times: on a plain thread, inside of any runtime
    /// or other executor, in a destructor. In async code use `.await` instead,
    /// since `wait` keeps the executor's thread from its other tasks.
    ///
    /// The exception is code that the store itself calls: its clock, its source of
    /// randomness and, on its thread, wakers. Where the answer would have to wait
    /// for that very code, it is [`Error::Other`] at once.
    ///
    /// The thread does the request itself when no other request is waiting.
    pub fn wait(mut self) -> Result<T, Error> {
        self.blocks = true;
        if let State::Asking(_, blocking) = &self.state {
            blocking.0.store(true, Ordering::Relaxed);
        }
        match self.linger() {
            Some(answer) => answer,
            None => pollster::block_on(unconstrained(self)),
        }
    }

    /// The answer, if it comes soon.
    fn linger(&mut self) -> Option<Result<T, Error>> {
        let mut context = Context::from_waker(Waker::noop());
        // A task's budget is renewed only when the task yields, which it cannot do
        // while its thread is blocked.
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

/// A permit to spin: at most one thread spins, so that many do not take the processor
/// from the one that works.
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

    /// Takes from tokio's cooperative budget, since many answers are there at the first
    /// poll. It yields at most once: another executor inside of a task polls again
    /// without renewing the budget.
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if !self.has_yielded && !coop::has_budget_remaining() {
            self.has_yielded = true;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        take(1, context);
        let read = match &mut self.state {
            State::Asking(asking, _) => return asking.as_mut().poll(context),
            State::Reading(read) => read.take().expect("polled after it was there"),
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

/// Takes so many units from the budget of the task that awaits this, if it has them.
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
