//! A call that its caller polls itself, without the queue. The dispatcher takes it over if
//! the caller drops it or does not poll it, or if a job waits for a connection: an instance
//! and its connection cannot be used again before the call is done.

use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use super::job::Finished;
use super::pool::Place;
use crate::Error;
use crate::owner::Replies;
use crate::owner::caller::{Answered, Caller, contain, contained_waker};

/// A call on a connection of type `C`.
pub(crate) type Running<C> = Pin<Box<dyn Future<Output = Finished<C>> + Send>>;

/// A call that began in a caller's task or thread.
pub(crate) struct InlineCall<C> {
    pub(crate) place: Place,
    pub(crate) began: Instant,
    state: Mutex<State<C>>,
}

enum State<C> {
    /// The caller polls the call.
    Here(Running<C>, Option<Waker>),
    /// The dispatcher has taken the call over, and answers the caller.
    Away(Answered<Replies>),
    /// The caller has its answer, or was dropped.
    Over,
}

/// What a poll of a call returns.
pub(crate) enum Polled<C> {
    Pending,
    /// The caller has finished the call, and gives the connection back.
    Finished(Finished<C>),
    /// The dispatcher has finished the call.
    Answered(Result<Replies, Error>),
    /// The clock or the random source of the application panicked.
    Panicked,
}

/// A call that the dispatcher has taken over.
pub(crate) struct TakenOver<C> {
    pub(crate) place: Place,
    pub(crate) running: Running<C>,
    pub(crate) caller: Caller<Replies>,
    /// The waker of the caller, which must be woken to wait for the answer.
    pub(crate) waker: Option<Waker>,
}

impl<C> InlineCall<C> {
    pub(crate) fn new(place: Place, began: Instant, running: Running<C>) -> Arc<Self> {
        Arc::new(Self {
            place,
            began,
            state: Mutex::new(State::Here(running, None)),
        })
    }

    /// Polls the call, or waits for the dispatcher's answer.
    pub(crate) fn poll(&self, context: &mut Context<'_>) -> Polled<C> {
        // The dispatcher's thread wakes the caller when the server has answered.
        let waker = contained_waker(context.waker());
        let mut state = self.lock();
        match &mut *state {
            State::Here(running, kept) => {
                let mut context = Context::from_waker(&waker);
                match contain(|| running.as_mut().poll(&mut context)) {
                    Some(Poll::Pending) => {
                        *kept = Some(waker);
                        Polled::Pending
                    }
                    Some(Poll::Ready(finished)) => {
                        *state = State::Over;
                        Polled::Finished(finished)
                    }
                    None => {
                        contain(|| *state = State::Over);
                        Polled::Panicked
                    }
                }
            }
            State::Away(answered) => match Pin::new(answered).poll(context) {
                Poll::Pending => Polled::Pending,
                Poll::Ready(answer) => {
                    *state = State::Over;
                    Polled::Answered(answer.unwrap_or(Err(Error::Closed)))
                }
            },
            State::Over => Polled::Answered(Err(Error::Closed)),
        }
    }

    /// Takes the call from its caller, unless the caller is polling it now.
    pub(crate) fn take_over(&self) -> Option<TakenOver<C>> {
        let mut state = self.state.try_lock().ok()?;
        match mem::replace(&mut *state, State::Over) {
            State::Here(running, waker) => {
                let (caller, answered) = Caller::new();
                *state = State::Away(answered);
                Some(TakenOver {
                    place: self.place,
                    running,
                    caller,
                    waker,
                })
            }
            other => {
                *state = other;
                None
            }
        }
    }

    /// Ends the part of a caller that is dropped; returns the call if it is not done.
    pub(crate) fn leave(&self) -> Option<Running<C>> {
        match mem::replace(&mut *self.lock(), State::Over) {
            State::Here(running, _) => Some(running),
            State::Away(_) | State::Over => None,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<C>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
