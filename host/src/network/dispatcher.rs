//! Assigns waiting jobs to connections, opens another one if all are busy, closes those that
//! are not used, and takes over calls that their callers do not poll.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::{JoinSet, yield_now};
use tokio::time::sleep_until;

use super::application::Application;
use super::backlog::Backlog;
use super::inline::{Running, TakenOver};
use super::job::{Done, Job, Kind, Work};
use super::launcher::Launcher;
use super::pool::Place;
use super::shared::{Message, Shared, TICK};
use crate::Error;
use crate::owner::Replies;
use crate::owner::blocking::LINGER;
use crate::owner::caller::Caller;
use crate::owner::group::Budget;
use crate::sandbox::instance::Guest;

/// What bounds the jobs of a store.
pub(crate) struct Limits {
    /// The maximum number of connections.
    pub(crate) connections: usize,
    /// How long a job may wait for a connection.
    pub(crate) wait: Duration,
    /// The budget of a transaction.
    pub(crate) budget: Budget,
}

/// When and how much an idle store collects.
pub(crate) struct Idle {
    /// The time without a request after which it collects, and the time after which a
    /// connection that was not used is closed.
    pub(crate) after: Duration,
    /// The maximum number of rows that a step removes; `None` if an idle store does not
    /// collect.
    pub(crate) step: Option<u32>,
}

/// The connections of a store, and the jobs that wait for them.
pub(crate) struct Dispatcher {
    launcher: Rc<Launcher>,
    idle: Idle,
    backlog: Backlog,
    shared: Arc<Shared<Guest>>,
    tasks: JoinSet<End>,
    /// The next time to look for calls that their callers do not poll.
    tick: Option<Instant>,
    /// Whether the last handle was dropped.
    is_closed: bool,
}

/// The next message; `None` when the last handle is gone. Does not sleep before `linger`,
/// because waking the thread takes about as long.
async fn receive(
    messages: &mut mpsc::UnboundedReceiver<Message<Guest>>,
    linger: Option<Instant>,
) -> Option<Message<Guest>> {
    while linger.is_some_and(|end| Instant::now() < end) && messages.is_empty() {
        yield_now().await;
    }
    messages.recv().await
}

/// The result of a task.
enum End {
    Work {
        done: Done,
        kind: Kind,
    },
    /// A call that a caller began.
    Finished {
        connection: Option<Guest>,
        place: Place,
    },
    Started(Result<Guest, Error>),
    StartedForApplication(Option<Result<Guest, Error>>),
    Closed,
}

impl Dispatcher {
    pub(crate) fn new(
        launcher: Launcher,
        shared: Arc<Shared<Guest>>,
        limits: &Limits,
        idle: Idle,
    ) -> Self {
        Self {
            launcher: Rc::new(launcher),
            backlog: Backlog::new(limits.budget, limits.wait),
            shared,
            tasks: JoinSet::new(),
            tick: None,
            is_closed: false,
            idle,
        }
    }

    /// Runs jobs until the last handle is dropped and all jobs are done. It must run in a
    /// [`LocalSet`](tokio::task::LocalSet).
    pub(crate) async fn run(mut self, mut messages: mpsc::UnboundedReceiver<Message<Guest>>) {
        loop {
            let now = Instant::now();
            self.refuse_overdue(now).await;
            self.close_unused(now);
            self.tick(now);
            if self.collects_at().is_some_and(|time| time <= now) {
                self.collect();
            }
            self.assign(now);
            let is_quiet = self.is_quiet();
            if self.is_closed && is_quiet {
                break;
            }
            let linger = is_quiet.then(|| self.shared.lock().quiet + LINGER);
            let wake = self.wake(now);
            tokio::select! {
                ended = self.tasks.join_next(), if !self.tasks.is_empty() => match ended {
                    Some(Ok(end)) => self.settle(end).await,
                    // The clock or the random source of the application panicked. Waiting
                    // jobs are dropped, and their callers get `Closed`.
                    _ => return,
                },
                received = receive(&mut messages, linger), if !self.is_closed => {
                    if received.is_none() {
                        self.close();
                    }
                    let mut next = received;
                    while let Some(message) = next {
                        if !self.accept(message) {
                            return;
                        }
                        next = messages.try_recv().ok();
                    }
                }
                () = sleep_until(wake.unwrap_or(now).into()), if wake.is_some() => {}
            }
        }
        for guest in self.shared.close() {
            guest.close().await;
        }
    }

    /// Acts on a message; returns whether the store stays open.
    fn accept(&mut self, message: Message<Guest>) -> bool {
        match message {
            Message::Job(kind, job) => {
                self.shared.lock().is_active = true;
                self.backlog.push(kind, job);
            }
            Message::Finish(place, running) => self.finish(place, running, None),
            Message::OpenForApplication(runtime, replaced) => {
                self.open_for_application(runtime, replaced);
            }
            Message::Wake => self.tick = self.tick.or_else(|| Some(Instant::now() + TICK)),
            Message::Panicked => return false,
        }
        true
    }

    /// Takes over calls that have run for a while: their callers may have stopped to poll
    /// them, and each holds a connection and, on the server, possibly locks.
    fn tick(&mut self, now: Instant) {
        if self.tick.is_none_or(|tick| tick > now) {
            return;
        }
        let before = now.checked_sub(TICK).unwrap_or(now);
        self.take_over(before);
        self.tick = self.shared.tick().then(|| now + TICK);
    }

    /// Takes over the calls that began before this time.
    fn take_over(&mut self, before: Instant) {
        for taken in self.shared.take_over(before) {
            let TakenOver {
                place,
                running,
                caller,
                waker,
            } = taken;
            self.finish(place, running, Some(caller));
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    /// Runs the rest of a call that a caller began.
    fn finish(&mut self, place: Place, running: Running<Guest>, caller: Option<Caller<Replies>>) {
        self.tasks.spawn_local(async move {
            let finished = running.await;
            if let Some(caller) = caller {
                caller.answer(finished.done);
            }
            End::Finished {
                connection: finished.connection,
                place,
            }
        });
    }

    /// Opens the connection of the application, in its runtime.
    fn open_for_application(&mut self, runtime: Handle, replaced: Option<Guest>) {
        let launcher = self.launcher.clone();
        self.tasks.spawn_local(async move {
            if let Some(guest) = replaced {
                guest.close().await;
            }
            let starting = Application::enter(runtime, launcher.start());
            End::StartedForApplication(starting.await)
        });
    }

    /// The next time at which there is something to do, apart from new jobs and ends of
    /// tasks.
    fn wake(&self, now: Instant) -> Option<Instant> {
        let (start, unused) = {
            let pool = &self.shared.lock().pool;
            let unused = [pool.longest_unused(), pool.application.unused_since()];
            (pool.next_start(now), unused.into_iter().flatten().min())
        };
        let start = start.filter(|_| !self.backlog.is_empty());
        let unused = unused.map(|since| since + self.idle.after);
        let deadline = self.backlog.deadline();
        let times = [deadline, start, unused, self.collects_at(), self.tick];
        times.into_iter().flatten().min()
    }

    /// Fails jobs that have waited for too long.
    async fn refuse_overdue(&mut self, now: Instant) {
        for job in self.backlog.take_overdue(now) {
            job.refuse(Error::Busy).await;
        }
    }

    /// Closes connections that were not used for a while, but for one of the pool.
    fn close_unused(&mut self, now: Instant) {
        let Some(before) = now.checked_sub(self.idle.after) else {
            return;
        };
        let take = || {
            let pool = &mut self.shared.lock().pool;
            let of_application = pool.application.unused_since();
            match of_application.is_some_and(|since| since <= before) {
                true => pool.application.close(now),
                false => pool.take_unused(before),
            }
        };
        while let Some(guest) = take() {
            self.tasks.spawn_local(async move {
                guest.close().await;
                End::Closed
            });
        }
    }

    /// Does not begin another step of a collection, so that closing does not wait until all
    /// garbage is collected.
    fn close(&mut self) {
        self.is_closed = true;
        self.backlog.drop_collections();
    }

    /// Whether no job waits and no connection is at work.
    fn is_quiet(&self) -> bool {
        self.backlog.is_empty() && self.shared.lock().pool.is_quiet()
    }

    /// When the store will collect if no request comes.
    fn collects_at(&self) -> Option<Instant> {
        let is_active = self.idle.step.is_some() && self.shared.lock().is_active;
        let collects = is_active && self.is_quiet() && !self.is_closed;
        collects.then(|| self.shared.lock().quiet + self.idle.after)
    }

    /// Queues a step of the collection of an idle store.
    fn collect(&mut self) {
        self.shared.lock().is_active = false;
        if let Some(step) = self.idle.step {
            self.backlog.push(Kind::Call, Job::Collect(step));
        }
    }

    /// Starts all jobs that can start now. If one has to wait for a connection, opens
    /// another one, and takes over the calls of callers, who may not poll them.
    fn assign(&mut self, now: Instant) {
        loop {
            let mut state = self.shared.lock();
            state.has_waiting = !self.backlog.is_empty();
            if !state.has_waiting {
                return;
            }
            let next = self.backlog.next(|kind| state.pool.allows(kind));
            let taken = next.and_then(|kind| Some((kind, state.pool.take(kind, now)?)));
            let Some((kind, guest)) = taken else {
                let starts = state.pool.start_another(now);
                drop(state);
                if starts {
                    self.start();
                }
                return self.take_over(Instant::now());
            };
            state.is_crowded = self.shared.has_crowd();
            drop(state);
            match self.backlog.take(kind) {
                Some(work) => self.begin(work, guest, kind),
                None => self.give_back(Place::Pool(kind), Some(guest), now),
            }
        }
    }

    fn begin(&mut self, work: Work, guest: Guest, kind: Kind) {
        self.tasks.spawn_local(async move {
            let done = work.run(guest).await;
            End::Work { done, kind }
        });
    }

    /// Opens another connection.
    fn start(&mut self) {
        let launcher = self.launcher.clone();
        self.tasks
            .spawn_local(async move { End::Started(launcher.start().await) });
    }

    fn give_back(&self, place: Place, connection: Option<Guest>, now: Instant) {
        self.shared.lock().pool.give_back(place, connection, now);
    }

    async fn settle(&mut self, end: End) {
        let now = Instant::now();
        match end {
            End::Work { done, kind } => {
                self.give_back(Place::Pool(kind), done.guest, now);
                self.backlog.push_first(kind, done.alone);
                if done.more && self.is_quiet() && !self.is_closed {
                    self.collect();
                }
                self.shared.lock().quiet = now;
            }
            End::Finished { connection, place } => {
                self.give_back(place, connection, now);
                self.shared.lock().quiet = now;
            }
            End::StartedForApplication(started) => {
                self.shared.lock().pool.application.opened(started, now);
            }
            End::Started(Ok(guest)) => self.shared.lock().pool.started(Some(guest), now),
            End::Started(Err(error)) => {
                let open = {
                    let pool = &mut self.shared.lock().pool;
                    pool.started(None, now);
                    pool.open()
                };
                // If other connections are open, the jobs wait for them; otherwise they fail.
                if open == 0 {
                    for job in self.backlog.take_all() {
                        job.refuse(error.clone()).await;
                    }
                }
            }
            End::Closed => {}
        }
    }
}

impl Drop for Dispatcher {
    fn drop(&mut self) {
        self.shared.close();
    }
}
