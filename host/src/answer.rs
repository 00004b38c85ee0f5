//! An answer on its way, for async code and for plain threads alike.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
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
/// done; dropped later, the request is done all the same and nobody hears of
/// it. It keeps the store open until it is answered or dropped.
#[must_use = "nothing is asked before the answer is awaited or waited for"]
pub struct Answer<T>(State<T>);

enum State<T> {
    Asking(Asking<T>),
    /// `None` once it was found.
    Looking(Option<PendingRead<T>>),
}

pub(crate) type Asking<T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send>>;

/// An answer that may be had at once, from memory or by this thread itself, and
/// how to ask for it if not.
pub(crate) struct PendingRead<T> {
    pub(crate) sessions: Sessions,
    pub(crate) id: String,
    pub(crate) find: fn(&Sessions, &str) -> Option<Result<T, Error>>,
    pub(crate) ask: fn(Sessions, String) -> Asking<T>,
}

impl<T> Answer<T> {
    pub(crate) fn new(answer: impl Future<Output = Result<T, Error>> + Send + 'static) -> Self {
        Self(State::Asking(Box::pin(answer)))
    }

    pub(crate) fn look(look: PendingRead<T>) -> Self {
        Self(State::Looking(Some(look)))
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
    /// The thread does the request itself when nobody else is waiting, if it has
    /// a mebibyte of stack left and does not belong to a tokio runtime.
    pub fn wait(mut self) -> Result<T, Error> {
        let _blocking = Blocking::here();
        match self.linger() {
            Some(answer) => answer,
            None => pollster::block_on(self),
        }
    }

    /// The answer, if it comes soon.
    fn linger(&mut self) -> Option<Result<T, Error>> {
        let mut context = Context::from_waker(Waker::noop());
        let mut poll = || match Pin::new(&mut *self).poll(&mut context) {
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

/// The component's stack is half a mebibyte; the rest is ample for wasmtime.
const STACK: usize = 1 << 20;

thread_local! {
    static BLOCKING: Cell<bool> = const { Cell::new(false) };
    /// The number of look-ups in memory so far, for deciding when to yield.
    static LOOKS: Cell<u8> = const { Cell::new(0) };
}

/// Whether this thread is blocked in `wait` until the answer that it polls is
/// there.
pub(crate) fn is_blocking() -> bool {
    BLOCKING.get()
}

/// Whether a task must yield before its next look-up: answers from memory are ready
/// at once, and a task that only reads would never yield.
fn has_to_yield() -> bool {
    const LOOKS_IN_A_ROW: u8 = 128;
    let looks = LOOKS.replace(LOOKS.get().wrapping_add(1));
    !is_blocking() && looks % LOOKS_IN_A_ROW == LOOKS_IN_A_ROW - 1
}

/// Whether what is polled on this thread now may wait for files in it: inside of
/// a runtime nothing may, as wasmtime does it.
pub(crate) fn may_work() -> bool {
    is_blocking()
        && Handle::try_current().is_err_and(|error| error.is_missing_context())
        && stacker::remaining_stack().is_some_and(|left| left >= STACK)
}

/// While it lives, this thread does nothing but wait for its answer.
struct Blocking {
    before: bool,
}

impl Blocking {
    fn here() -> Self {
        Self {
            before: BLOCKING.replace(true),
        }
    }
}

impl Drop for Blocking {
    fn drop(&mut self) {
        BLOCKING.set(self.before);
    }
}

/// One thread at a time looks out for its answer, so that many do not take the
/// processor from the one that does the work.
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

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let look = match &mut self.0 {
            State::Asking(asking) => return poll(asking, context),
            State::Looking(look) => look,
        };
        if has_to_yield() {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let look = look.take().expect("polled after it was there");
        if let Some(found) = (look.find)(&look.sessions, &look.id) {
            return Poll::Ready(found);
        }
        let mut asking = (look.ask)(look.sessions, look.id);
        let answer = poll(&mut asking, context);
        self.0 = State::Asking(asking);
        answer
    }
}

/// Polls without tokio's cooperative budget. A used-up budget is renewed only when
/// the task yields, which it cannot do while its thread is blocked, by `wait` or by
/// another executor inside of the task. Answers through the queue yield anyway.
fn poll<T>(asking: &mut Asking<T>, context: &mut Context<'_>) -> Poll<Result<T, Error>> {
    Pin::new(&mut unconstrained(asking)).poll(context)
}

#[cfg(test)]
mod tests;
