//! What the callers of a store share with its dispatcher: the connections, and the calls that
//! callers run themselves.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use tokio::runtime::{Handle, TryCurrentError};
use tokio::sync::mpsc;

use super::application::Application;
use super::inline::{InlineCall, Polled, Running, TakenOver};
use super::job::{Job, Kind};
use super::pool::{Place, Pool};
use crate::Error;
use crate::owner::Replies;
use crate::owner::group::CROWD;
use crate::owner::permits::{Queue, Serving};

/// A message to the dispatcher of a store with connections of type `C`.
pub(crate) enum Message<C> {
    /// A job for the queue.
    Job(Kind, Job),
    /// A call whose caller was dropped.
    Finish(Place, Running<C>),
    /// The connection of the application is to be opened, in this runtime. Replaces this one.
    OpenForApplication(Handle, Option<C>),
    /// Callers run calls themselves, or one of them has given back a connection for which
    /// jobs wait.
    Wake,
    /// The application's code panicked in a call, which closes the store.
    Panicked,
}

/// The period of the dispatcher's timer while callers run calls themselves; a call that runs
/// for longer is taken over. It also saves wake-ups: each call adds a timer to the dispatcher's
/// runtime, which wakes its thread only if it is the earliest.
pub(crate) const TICK: Duration = Duration::from_millis(100);

/// The connections of a store, of type `C`, and the calls that callers run.
pub(crate) struct Shared<C> {
    state: Mutex<State<C>>,
    /// The dispatcher's runtime, which has the timers of all connections, and the sockets of
    /// those of the pool.
    runtime: Handle,
    application: OnceLock<Application>,
    queue: Arc<Queue>,
}

pub(crate) struct State<C> {
    pub(crate) pool: Pool<C>,
    /// Whether a job waits for a connection. Then new callers queue.
    pub(crate) has_waiting: bool,
    /// Whether many callers waited when a job was begun last. Then they queue, because one
    /// transaction for all is faster than one for each.
    pub(crate) is_crowded: bool,
    /// When the last job or call ended, or the store was opened.
    pub(crate) quiet: Instant,
    /// Whether there was a request since the last collection of an idle store began.
    pub(crate) is_active: bool,
    /// The calls that callers run.
    calls: Vec<Arc<InlineCall<C>>>,
    /// Whether a call began since the last tick.
    has_begun: bool,
    /// Whether the dispatcher's timer runs.
    is_ticking: bool,
    is_closed: bool,
}

impl<C> Shared<C> {
    /// The connections of a store whose dispatcher runs in the current runtime.
    pub(crate) fn new(pool: Pool<C>, queue: Arc<Queue>) -> Self {
        Self {
            state: Mutex::new(State {
                pool,
                has_waiting: false,
                is_crowded: false,
                quiet: Instant::now(),
                is_active: true,
                calls: vec![],
                has_begun: false,
                is_ticking: false,
                is_closed: false,
            }),
            runtime: Handle::current(),
            application: OnceLock::new(),
            queue,
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State<C>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the caller with this waker is a task of the application's runtime.
    pub(crate) fn is_task_of_application(&self, waker: &Waker) -> bool {
        match self.application.get() {
            Some(application) => application.has_task(waker),
            None => {
                if let Some(application) = Application::current() {
                    let _ = self.application.set(application);
                }
                false
            }
        }
    }

    /// Begins a call that the caller runs itself, if no job waits or runs and a connection is free
    /// for this kind; `call` makes it. It is run as the returned future is polled.
    pub(crate) fn begin<'a>(
        &'a self,
        messages: &'a mpsc::UnboundedSender<Message<C>>,
        kind: Kind,
        is_task_of_application: bool,
        call: impl FnOnce(C, Place) -> Running<C>,
    ) -> Option<Inline<'a, C>> {
        // A thread that ends cannot enter the runtime.
        let is_ending = |error: TryCurrentError| error.is_thread_local_destroyed();
        if !self.queue.is_empty() || Handle::try_current().is_err_and(is_ending) {
            return None;
        }
        let mut state = self.lock();
        if state.has_waiting || state.is_crowded || state.is_closed {
            return None;
        }
        let now = Instant::now();
        let application = (self.application.get()).filter(|_| is_task_of_application);
        let opens = application.and_then(|application| {
            let replaced = state.pool.start_for_application(now)?;
            Some(Message::OpenForApplication(application.runtime(), replaced))
        });
        let own = application.and_then(|_| state.pool.application.take());
        let taken = match own {
            Some(connection) => Some((Place::Application, connection)),
            None if state.pool.allows(kind) => {
                let connection = state.pool.take(kind, now);
                connection.map(|connection| (Place::Pool(kind), connection))
            }
            None => None,
        };
        let Some((place, connection)) = taken else {
            drop(state);
            opens.map(|opens| messages.send(opens));
            return None;
        };
        let call = InlineCall::new(place, now, call(connection, place));
        state.calls.push(call.clone());
        state.has_begun = true;
        state.is_active = true;
        let wakes = !std::mem::replace(&mut state.is_ticking, true);
        drop(state);
        let wakes = wakes.then_some(Message::Wake);
        for message in opens.into_iter().chain(wakes) {
            let _ = messages.send(message);
        }
        Some(Inline {
            shared: self,
            messages,
            call,
        })
    }

    /// Takes over the calls that began before a time, except those that are polled now.
    /// Their callers are to be woken.
    pub(crate) fn take_over(&self, before: Instant) -> Vec<TakenOver<C>> {
        let mut taken = vec![];
        self.lock().calls.retain(|call| {
            let is_due = call.began < before;
            let over = is_due.then(|| call.take_over()).flatten();
            let stays = over.is_none();
            taken.extend(over);
            stays
        });
        taken
    }

    /// Whether the dispatcher's timer is to run until another tick: a call is running, or
    /// began since the last tick.
    pub(crate) fn tick(&self) -> bool {
        let mut state = self.lock();
        state.is_ticking = std::mem::take(&mut state.has_begun) || !state.calls.is_empty();
        state.is_ticking
    }

    /// Whether many callers wait for a job of theirs, in the queue or on a connection.
    pub(crate) fn has_crowd(&self) -> bool {
        self.queue.len() >= CROWD
    }

    /// Ends the use of the connections: no caller gets one any more. Returns those that are
    /// free.
    pub(crate) fn close(&self) -> Vec<C> {
        let mut state = self.lock();
        state.is_closed = true;
        state.pool.take_free()
    }

    /// Takes back the connection of a call that its caller has finished. Returns whether a job
    /// waits for it.
    fn finish(&self, call: &Arc<InlineCall<C>>, connection: Option<C>) -> bool {
        let now = Instant::now();
        let mut state = self.lock();
        state.forget(call);
        state.quiet = now;
        let (kept, unused) = match state.is_closed {
            true => (None, connection),
            false => (connection, None),
        };
        state.pool.give_back(call.place, kept, now);
        let has_waiting = state.has_waiting;
        drop(state);
        // With it goes the application's clock, whose code may use the store.
        drop(unused);
        has_waiting
    }
}

impl<C> State<C> {
    fn forget(&mut self, call: &Arc<InlineCall<C>>) {
        self.calls.retain(|other| !Arc::ptr_eq(other, call));
    }
}

/// A call that its caller runs. If it is dropped, the dispatcher finishes the call.
pub(crate) struct Inline<'a, C> {
    shared: &'a Shared<C>,
    messages: &'a mpsc::UnboundedSender<Message<C>>,
    call: Arc<InlineCall<C>>,
}

impl<C> Future for Inline<'_, C> {
    type Output = Result<Replies, Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let polled = {
            // The caller's own runtime may have no timers, and may end before the store.
            let _entered = self.shared.runtime.enter();
            let _serving = Serving::store(&self.shared.queue);
            self.call.poll(context)
        };
        Poll::Ready(match polled {
            Polled::Pending => return Poll::Pending,
            Polled::Finished(finished) => {
                if self.shared.finish(&self.call, finished.connection) {
                    let _ = self.messages.send(Message::Wake);
                }
                finished.done
            }
            Polled::Answered(answer) => answer,
            Polled::Panicked => {
                drop(self.shared.close());
                let _ = self.messages.send(Message::Panicked);
                Err(Error::Closed)
            }
        })
    }
}

impl<C> Drop for Inline<'_, C> {
    fn drop(&mut self) {
        if let Some(running) = self.call.leave() {
            self.shared.lock().forget(&self.call);
            let _ = self
                .messages
                .send(Message::Finish(self.call.place, running));
        }
    }
}

#[cfg(test)]
mod tests;
