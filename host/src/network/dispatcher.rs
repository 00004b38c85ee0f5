//! Assigns waiting jobs to connections, opens another one if all are busy, and closes those
//! that are not used.

use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::{JoinSet, yield_now};
use tokio::time::sleep_until;

use super::backlog::Backlog;
use super::job::{Done, Job, Kind, Work};
use super::launcher::Launcher;
use super::pool::Pool;
use crate::Error;
use crate::answer::LINGER;
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
    pool: Pool<Guest>,
    tasks: JoinSet<End>,
    /// When the last job ended, or the store was opened.
    quiet: Instant,
    /// Whether there was a request since the last complete collection.
    active: bool,
    /// Whether the last handle was dropped.
    is_closed: bool,
}

/// The next job; `None` when the last handle is gone. Does not sleep before `linger`,
/// because waking the thread takes about as long.
async fn receive(
    jobs: &mut mpsc::UnboundedReceiver<(Kind, Job)>,
    linger: Option<Instant>,
) -> Option<(Kind, Job)> {
    while linger.is_some_and(|end| Instant::now() < end) && jobs.is_empty() {
        yield_now().await;
    }
    jobs.recv().await
}

/// The result of a task.
enum End {
    Work { done: Done, kind: Kind },
    Started(Result<Guest, Error>),
    Closed,
}

impl Dispatcher {
    pub(crate) fn new(launcher: Launcher, first: Guest, limits: &Limits, idle: Idle) -> Self {
        Self {
            launcher: Rc::new(launcher),
            backlog: Backlog::new(limits.budget, limits.wait),
            pool: Pool::new(first, limits.connections),
            tasks: JoinSet::new(),
            quiet: Instant::now(),
            active: idle.step.is_some(),
            is_closed: false,
            idle,
        }
    }

    /// Runs jobs until the last handle is dropped and all jobs are done. It must run in a
    /// [`LocalSet`](tokio::task::LocalSet).
    pub(crate) async fn run(mut self, mut jobs: mpsc::UnboundedReceiver<(Kind, Job)>) {
        loop {
            let now = Instant::now();
            self.refuse_overdue(now).await;
            self.close_unused(now);
            if self.collects_at().is_some_and(|time| time <= now) {
                self.collect();
            }
            self.assign(now);
            let is_quiet = self.is_quiet();
            if self.is_closed && is_quiet {
                break;
            }
            let linger = is_quiet.then_some(self.quiet + LINGER);
            let wake = self.wake(now);
            tokio::select! {
                ended = self.tasks.join_next(), if !self.tasks.is_empty() => match ended {
                    Some(Ok(end)) => self.settle(end).await,
                    // The clock or the random source of the application panicked. Waiting
                    // jobs are dropped, and their callers get `Closed`.
                    _ => return,
                },
                job = receive(&mut jobs, linger), if !self.is_closed => match job {
                    Some((kind, job)) => {
                        self.enqueue(kind, job);
                        while let Ok((kind, job)) = jobs.try_recv() {
                            self.enqueue(kind, job);
                        }
                    }
                    None => self.close(),
                },
                () = sleep_until(wake.unwrap_or(now).into()), if wake.is_some() => {}
            }
        }
        for guest in self.pool.into_free() {
            guest.close().await;
        }
    }

    /// The next time at which there is something to do, apart from new jobs and ends of
    /// tasks.
    fn wake(&self, now: Instant) -> Option<Instant> {
        let start = match self.backlog.is_empty() {
            true => None,
            false => self.pool.next_start(now),
        };
        let unused = self
            .pool
            .longest_unused()
            .map(|since| since + self.idle.after);
        let times = [self.backlog.deadline(), start, unused, self.collects_at()];
        times.into_iter().flatten().min()
    }

    /// Fails jobs that have waited for too long.
    async fn refuse_overdue(&mut self, now: Instant) {
        for job in self.backlog.take_overdue(now) {
            job.refuse(Error::Busy).await;
        }
    }

    /// Closes connections that were not used for a while, but for one.
    fn close_unused(&mut self, now: Instant) {
        let Some(before) = now.checked_sub(self.idle.after) else {
            return;
        };
        while let Some(guest) = self.pool.take_unused(before) {
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
        self.pool.is_quiet() && self.backlog.is_empty()
    }

    fn enqueue(&mut self, kind: Kind, job: Job) {
        self.backlog.push(kind, job);
        self.active = self.idle.step.is_some();
    }

    /// When the store will collect if no request comes.
    fn collects_at(&self) -> Option<Instant> {
        let collects = self.active && self.is_quiet() && !self.is_closed;
        collects.then(|| self.quiet + self.idle.after)
    }

    /// Queues a step of the collection of an idle store.
    fn collect(&mut self) {
        self.active = false;
        if let Some(step) = self.idle.step {
            self.backlog.push(Kind::Call, Job::Collect(step));
        }
    }

    /// Starts all jobs that can start now. If one has to wait for a connection, opens
    /// another one.
    fn assign(&mut self, now: Instant) {
        while !self.backlog.is_empty() {
            let next = self.backlog.next(|kind| self.pool.allows(kind));
            let taken = next.and_then(|kind| Some((kind, self.pool.take(kind, now)?)));
            let Some((kind, guest)) = taken else {
                if self.pool.start_another(now) {
                    self.start();
                }
                return;
            };
            match self.backlog.take(kind) {
                Some(work) => self.begin(work, guest, kind),
                None => self.pool.give_back(kind, Some(guest), now),
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

    async fn settle(&mut self, end: End) {
        let now = Instant::now();
        match end {
            End::Work { done, kind } => {
                self.pool.give_back(kind, done.guest, now);
                self.backlog.push_first(kind, done.alone);
                if done.more && self.is_quiet() && !self.is_closed {
                    self.collect();
                }
                self.quiet = now;
            }
            End::Started(Ok(guest)) => self.pool.started(Some(guest), now),
            End::Started(Err(error)) => {
                self.pool.started(None, now);
                // If other connections are open, the jobs wait for them; otherwise they fail.
                if self.pool.open() == 0 {
                    for job in self.backlog.take_all() {
                        job.refuse(error.clone()).await;
                    }
                }
            }
            End::Closed => {}
        }
    }
}
