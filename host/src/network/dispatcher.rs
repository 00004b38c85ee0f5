//! Assigns waiting jobs to connections, reads and writes separately, and opens another
//! connection if all are busy.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::{JoinSet, yield_now};
use tokio::time::{Instant, sleep_until};

use super::job::{Done, Job, Work};
use super::launcher::Launcher;
use crate::Error;
use crate::answer::LINGER;
use crate::owner::group::Budget;
use crate::sandbox::instance::Guest;

/// After a connection could not be opened, none is tried for this long while others are open.
const PAUSE: Duration = Duration::from_secs(1);

/// The commands in the queue of the store's thread.
pub(crate) enum Command {
    Read(Job),
    Write(Job),
}

/// When and how much an idle store collects.
pub(crate) struct Idle {
    /// The time without a request after which it collects.
    pub(crate) after: Duration,
    /// The maximum number of rows that a step removes; `None` if an idle store does not
    /// collect.
    pub(crate) step: Option<u32>,
}

/// The connections of a store, and the jobs that wait for them.
pub(crate) struct Dispatcher {
    launcher: Rc<Launcher>,
    budget: Budget,
    idle: Idle,
    /// The maximum number of connections.
    most: usize,
    reads: VecDeque<Job>,
    writes: VecDeque<Job>,
    /// Whether the work that was started last only reads. While jobs of both kinds wait, they
    /// take turns.
    has_read: bool,
    free: Vec<Guest>,
    /// The number of connections at work.
    busy: usize,
    /// The number of connections that run writes.
    writing: usize,
    /// Whether another connection is being opened.
    starting: bool,
    /// After a failure, the earliest time at which another connection is tried.
    retry: Instant,
    tasks: JoinSet<End>,
    /// When the last job ended, or the store was opened.
    quiet: Instant,
    /// Whether there was a request since the last complete collection.
    active: bool,
    /// Whether the last handle was dropped.
    is_closed: bool,
}

/// The next command; `None` when the last handle is gone. Does not sleep before `linger`,
/// because waking the thread takes about as long.
async fn receive(
    commands: &mut mpsc::UnboundedReceiver<Command>,
    linger: Option<Instant>,
) -> Option<Command> {
    while linger.is_some_and(|end| Instant::now() < end) && commands.is_empty() {
        yield_now().await;
    }
    commands.recv().await
}

/// The result of a task.
enum End {
    Work { done: Done, wrote: bool },
    Started(Result<Guest, Error>),
}

impl Dispatcher {
    pub(crate) fn new(
        launcher: Launcher,
        first: Guest,
        most: usize,
        budget: Budget,
        idle: Idle,
    ) -> Self {
        Self {
            launcher: Rc::new(launcher),
            budget,
            most,
            reads: VecDeque::new(),
            writes: VecDeque::new(),
            has_read: false,
            free: vec![first],
            busy: 0,
            writing: 0,
            starting: false,
            retry: Instant::now(),
            tasks: JoinSet::new(),
            quiet: Instant::now(),
            active: idle.step.is_some(),
            is_closed: false,
            idle,
        }
    }

    /// Runs jobs until the last handle is dropped and all jobs are done. It must run in a
    /// [`LocalSet`](tokio::task::LocalSet).
    pub(crate) async fn run(mut self, mut commands: mpsc::UnboundedReceiver<Command>) {
        loop {
            self.assign();
            let is_quiet = self.is_quiet();
            if self.is_closed && is_quiet {
                break;
            }
            let collects = self.active && is_quiet && !self.is_closed;
            let linger = is_quiet.then_some(self.quiet + LINGER);
            tokio::select! {
                ended = self.tasks.join_next(), if !self.tasks.is_empty() => match ended {
                    Some(Ok(end)) => self.settle(end).await,
                    // The clock or the random source of the application panicked. Waiting
                    // jobs are dropped, and their callers get `Closed`.
                    _ => return,
                },
                command = receive(&mut commands, linger), if !self.is_closed => match command {
                    Some(command) => {
                        self.enqueue(command);
                        while let Ok(command) = commands.try_recv() {
                            self.enqueue(command);
                        }
                    }
                    None => self.close(),
                },
                () = sleep_until(self.quiet + self.idle.after), if collects => self.collect(),
            }
        }
        for guest in self.free {
            guest.close().await;
        }
    }

    /// Does not begin another step of a collection, so that closing does not wait until all
    /// garbage is collected.
    fn close(&mut self) {
        self.is_closed = true;
        self.writes.retain(|job| !matches!(job, Job::Collect(_)));
    }

    /// Whether no job waits and no connection is at work.
    fn is_quiet(&self) -> bool {
        self.busy == 0 && self.reads.is_empty() && self.writes.is_empty()
    }

    fn enqueue(&mut self, command: Command) {
        match command {
            Command::Read(job) => self.reads.push_back(job),
            Command::Write(job) => self.writes.push_back(job),
        }
        self.active = self.idle.step.is_some();
    }

    /// Queues a step of the collection of an idle store.
    fn collect(&mut self) {
        self.active = false;
        self.writes.extend(self.idle.step.map(Job::Collect));
    }

    /// Starts all jobs that can start now.
    fn assign(&mut self) {
        while !self.reads.is_empty() || !self.writes.is_empty() {
            let can_write = !self.writes.is_empty() && self.writing < self.most_writing();
            let writes = can_write && (self.has_read || self.reads.is_empty());
            let queue = match writes {
                true => &mut self.writes,
                false => &mut self.reads,
            };
            if queue.is_empty() || self.free.is_empty() {
                return self.start_another();
            }
            let (Some(work), Some(guest)) = (Job::take(queue, &self.budget), self.free.pop())
            else {
                return;
            };
            self.begin(work, guest, writes);
        }
    }

    /// How many connections may run writes at a time: all but one, which is left for reads. A
    /// single connection runs both.
    fn most_writing(&self) -> usize {
        let open = self.free.len() + self.busy;
        open.saturating_sub(1).max(1)
    }

    fn begin(&mut self, work: Work, guest: Guest, wrote: bool) {
        self.busy += 1;
        self.writing += usize::from(wrote);
        self.has_read = !wrote;
        self.tasks.spawn_local(async move {
            let done = work.run(guest).await;
            End::Work { done, wrote }
        });
    }

    /// Opens another connection, unless one is being opened, the maximum is reached, or an
    /// attempt has just failed; see [`PAUSE`].
    fn start_another(&mut self) {
        let open = self.free.len() + self.busy;
        let may_retry = open == 0 || Instant::now() >= self.retry;
        if self.starting || open >= self.most || !may_retry {
            return;
        }
        self.starting = true;
        let launcher = self.launcher.clone();
        self.tasks
            .spawn_local(async move { End::Started(launcher.start().await) });
    }

    async fn settle(&mut self, end: End) {
        match end {
            End::Work { done, wrote } => {
                self.busy -= 1;
                self.writing -= usize::from(wrote);
                self.free.extend(done.guest);
                let queue = match wrote {
                    true => &mut self.writes,
                    false => &mut self.reads,
                };
                for waiting in done.alone.into_iter().rev() {
                    queue.push_front(Job::Alone(waiting));
                }
                if done.more && self.is_quiet() && !self.is_closed {
                    self.collect();
                }
                self.quiet = Instant::now();
            }
            End::Started(Ok(guest)) => {
                self.starting = false;
                self.free.push(guest);
            }
            End::Started(Err(error)) => {
                self.starting = false;
                self.retry = Instant::now() + PAUSE;
                // If other connections are open, the jobs wait for them; otherwise they fail.
                if self.free.is_empty() && self.busy == 0 {
                    let (reads, writes) = (&mut self.reads, &mut self.writes);
                    for job in reads.drain(..).chain(writes.drain(..)) {
                        job.refuse(error.clone()).await;
                    }
                }
            }
        }
    }
}
