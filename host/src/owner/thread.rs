//! The thread of the owner, its queue, and the callers that run a request themselves while
//! the owner is free.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::error::TryRecvError;
use tokio::task::unconstrained;

use crate::cache::ReadCache;
use crate::cause::Cause;
use crate::clock::StoreClock;
use crate::contract::types::Request;
use crate::owner::blocking::{Blocking, LINGER, spend};
use crate::owner::caller::Caller;
use crate::owner::command::{Command, Tell, Waiting};
use crate::owner::group::{Budget, CROWD, Group};
use crate::owner::inline::Inline;
use crate::owner::permits::{Queued, Serving};
use crate::owner::shared::SharedOwner;
use crate::owner::store_thread::{self, StoreThread};
use crate::owner::{Owner, Replies};
use crate::settings::{Files, Settings};
use crate::sync::atomic::Ordering;
use crate::sync::runtime::{self, Runtime};
use crate::sync::thread;
use crate::sync::{Instant, MutexGuard, mpsc, timeout};
use crate::{Error, Options};

/// What each request that a task runs itself costs of tokio's cooperative budget (128),
/// besides 1 for polling: the task yields after 128 / 8 = 16 requests.
const INLINE_COST: u32 = 7;

/// The thread of an open store. Dropping this waits until queued commands are done and the
/// database is closed.
pub(crate) struct OwnerThread {
    /// Dropped before `_thread`, which then runs the commands that are left, closes the
    /// store and ends.
    queue: mpsc::UnboundedSender<Command>,
    _thread: StoreThread,
    shared_owner: Arc<SharedOwner>,
    pub(crate) budget: Budget,
    options: Options,
}

impl OwnerThread {
    /// Starts the thread and opens the store on it.
    pub(crate) async fn open(
        files: Files,
        settings: Settings,
        clock: Arc<StoreClock>,
        cache: Arc<ReadCache>,
    ) -> Result<Self, Error> {
        let shared_owner = Arc::new(SharedOwner::new());
        let budget = Budget::new(settings.memory_limit, settings.options.max_data);
        let options = settings.options.clone();
        let (queue, commands) = mpsc::unbounded_channel();
        let (ready, opened) = Caller::new();
        let shared = shared_owner.clone();
        let after_work = match options.gc_frequency {
            0 => Rest::UntilAsked,
            _ => Rest::AWhile(settings.idle),
        };
        let step = options.gc_step.try_into().unwrap_or(u32::MAX);
        let open = move || Owner::open(&files, settings, clock, cache);
        let body = move || run(open, after_work, step, &shared, budget, commands, ready);
        let thread = store_thread::spawn(body)?;
        opened.await.unwrap_or(Err(Error::Closed))?;
        Ok(Self {
            queue,
            _thread: StoreThread::new(thread),
            shared_owner,
            budget,
            options,
        })
    }

    /// Runs the requests in one transaction, which other callers' requests may share
    /// (group commit).
    pub(crate) async fn batch(
        &self,
        requests: Vec<Request>,
        blocking: &Blocking,
    ) -> Result<Replies, Error> {
        if let Some(replies) = self.batch_here(&requests, blocking) {
            spend(INLINE_COST).await;
            return replies;
        }
        unconstrained(async {
            let (caller, replies) = Caller::new();
            let replies = self.shared_owner.queue.linger(replies, blocking);
            let command = |queued| {
                Command::Sessions(Waiting {
                    requests,
                    caller,
                    queued,
                })
            };
            self.send(command, blocking).await?;
            replies.await.map_err(|_| Error::Closed)?
        })
        .await
    }

    /// Runs `call` with the owner.
    pub(crate) async fn call<T: Send + 'static>(
        &self,
        call: impl FnOnce(&mut Owner) -> Result<T, Error> + Send + 'static,
        blocking: &Blocking,
    ) -> Result<T, Error> {
        if blocking.is_set()
            && let Some(owner) = self.shared_owner.try_lock()
        {
            return self.work(owner, call);
        }
        unconstrained(async {
            let (caller, answer) = Caller::new();
            let answer = self.shared_owner.queue.linger(answer, blocking);
            let call = move |owner: &mut Owner| -> Tell {
                let done = call(owner);
                Box::new(move || caller.answer(done))
            };
            self.send(|queued| Command::Other(Box::new(call), queued), blocking)
                .await?;
            answer.await.map_err(|_| Error::Closed)?
        })
        .await
    }

    /// Runs the requests on the caller's thread if the owner is free and no command waits for
    /// it, which saves two wake-ups; `None` if they must be queued. A task shares its thread
    /// with other tasks, so it queues what may take long or wait for the disk.
    fn batch_here(
        &self,
        requests: &[Request],
        blocking: &Blocking,
    ) -> Option<Result<Replies, Error>> {
        let work = |owner: &mut Owner| owner.batch(requests);
        if blocking.is_set() {
            return Some(self.work(self.shared_owner.try_lock()?, work));
        }
        let inline = Inline::of(requests, &self.options, |_| None)?;
        if self.shared_owner.crowded.load(Ordering::Relaxed) {
            return None;
        }
        let owner = self.shared_owner.try_lock()?;
        if let Some(open) = &*owner {
            if open.collects_within(inline.requests) {
                self.shared_owner.collecting.store(true, Ordering::SeqCst);
                return None;
            }
            let is_long = |work: &Inline| work.reads_much() || open.waits_for_disk(work);
            if is_long(&inline) {
                // `inline` assumes stored payloads of the maximum size; try again with the
                // lengths in the cache.
                let stored = |id: &str| open.stored_length(id);
                let known = Inline::of(requests, &self.options, stored)?;
                if is_long(&known) {
                    return None;
                }
            }
        }
        Some(self.work(owner, work))
    }

    fn work<T>(
        &self,
        owner: MutexGuard<'_, Option<Owner>>,
        work: impl FnOnce(&mut Owner) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let done = self.shared_owner.work(owner, work);
        self.note_work();
        done
    }

    /// Marks the store as active, and wakes the thread if it sleeps without a timer, so that
    /// it schedules an idle collection.
    fn note_work(&self) {
        self.shared_owner.active.store(true, Ordering::SeqCst);
        if self.shared_owner.resting.swap(false, Ordering::SeqCst) {
            let _ = self.queue.send(Command::Active);
        }
    }

    /// Queues a command once there is a permit for it.
    async fn send(
        &self,
        command: impl FnOnce(Queued) -> Command,
        blocking: &Blocking,
    ) -> Result<(), Error> {
        let command = command(self.shared_owner.queue.enter(blocking).await?);
        self.queue.send(command).map_err(|_| Error::Closed)
    }
}

/// The thread's main function: opens the store, reports the result to `ready`, runs commands
/// until the last handle is dropped, and closes the store.
fn run(
    open: impl FnOnce() -> Result<Owner, Error>,
    after_work: Rest,
    step: u32,
    shared_owner: &SharedOwner,
    budget: Budget,
    mut commands: mpsc::UnboundedReceiver<Command>,
    ready: Caller<()>,
) {
    let _serving = Serving::store(&shared_owner.queue);
    let opened = runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .map_err(|error| Error::Start(Cause::new(error)))
        .and_then(|timer| Ok((timer, open()?)));
    let timer = match opened {
        Ok((timer, owner)) => {
            *shared_owner.lock() = Some(owner);
            timer
        }
        Err(error) => {
            ready.answer(Err(error));
            return;
        }
    };
    ready.answer(Ok(()));
    let after_command = || match shared_owner.collecting.load(Ordering::SeqCst) {
        true => Rest::Not,
        false => after_work,
    };
    let mut rest = after_work;
    let mut next = None;
    // Declared last, so dropped before the queue: callers that get `Closed` when the queue
    // is dropped find the store closed.
    let _closing = ClosedByPanic(shared_owner);
    loop {
        let received = match next.take() {
            Some(command) => Received::Command(command),
            None => receive(&mut commands, shared_owner, &timer, rest),
        };
        match received {
            Received::Command(Command::Sessions(first)) => {
                let mut group = Group::of(first, &budget);
                next = group.gather(&mut commands);
                let crowded = group.len() >= CROWD;
                shared_owner.crowded.store(crowded, Ordering::Relaxed);
                let batch = |requests: &[Request]| {
                    shared_owner.work(shared_owner.lock(), |owner| owner.batch(requests))
                };
                let done = batch(group.requests());
                for alone in group.answer(done) {
                    let done = batch(&alone.requests);
                    alone.answer(done);
                }
                rest = after_command();
            }
            Received::Command(Command::Other(call, queued)) => {
                let done = shared_owner.work(shared_owner.lock(), |owner| Ok(call(owner)));
                drop(queued);
                if let Ok(tell) = done {
                    tell();
                }
                rest = after_command();
            }
            Received::Command(Command::Active) => rest = after_work,
            Received::Nothing
                if !shared_owner.collecting.load(Ordering::SeqCst)
                    && shared_owner.active.swap(false, Ordering::SeqCst) =>
            {
                rest = after_work;
            }
            Received::Nothing => {
                // No request waits for this step, so its error is dropped; if the cause
                // lasts, later requests report it.
                let collected = shared_owner.work(shared_owner.lock(), |owner| owner.collect(step));
                rest = match collected {
                    Ok(collected) if collected.more => Rest::Not,
                    _ => {
                        shared_owner.collecting.store(false, Ordering::SeqCst);
                        Rest::UntilActive
                    }
                };
            }
            Received::End => break,
        }
        if shared_owner.lock().is_none() {
            return;
        }
    }
    if let Some(owner) = shared_owner.lock().take() {
        owner.close();
    }
}

/// Closes the store if the thread panics although `contain` catches the panics of work.
struct ClosedByPanic<'a>(&'a SharedOwner);

impl Drop for ClosedByPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            *self.0.lock() = None;
        }
    }
}

/// What the thread does while no command waits.
#[derive(Clone, Copy, PartialEq)]
enum Rest {
    /// It continues a collection.
    Not,
    /// It waits this long for the next command, and then collects garbage.
    AWhile(Duration),
    /// It waits for the next command, or until a caller has run a request itself.
    UntilActive,
    /// It waits for the next command.
    UntilAsked,
}

/// The outcome of waiting for a command.
enum Received {
    Command(Command),
    Nothing,
    /// The last handle was dropped.
    End,
}

/// Waits for the next command; returns `Nothing` when the time of `rest` has passed. Spins
/// for `LINGER` before it sleeps, because waking the thread takes longer than most requests.
fn receive(
    commands: &mut mpsc::UnboundedReceiver<Command>,
    shared_owner: &SharedOwner,
    timer: &Runtime,
    rest: Rest,
) -> Received {
    let started = Instant::now();
    loop {
        match commands.try_recv() {
            Ok(command) => return Received::Command(command),
            Err(TryRecvError::Disconnected) => return Received::End,
            Err(TryRecvError::Empty) if rest == Rest::Not => return Received::Nothing,
            Err(TryRecvError::Empty) if started.elapsed() >= LINGER => break,
            Err(TryRecvError::Empty) => thread::yield_now(),
        }
    }
    let command = match rest {
        Rest::AWhile(while_idle) => {
            match timer.block_on(async { timeout(while_idle, commands.recv()).await }) {
                Ok(command) => command,
                Err(_elapsed) => return Received::Nothing,
            }
        }
        Rest::UntilActive => {
            shared_owner.resting.store(true, Ordering::SeqCst);
            // A caller that was done before `resting` was set sent no `Active`, but it has
            // set `active`.
            if shared_owner.active.load(Ordering::SeqCst) {
                shared_owner.resting.store(false, Ordering::SeqCst);
                return Received::Nothing;
            }
            let command = timer.block_on(commands.recv());
            shared_owner.resting.store(false, Ordering::SeqCst);
            command
        }
        Rest::Not | Rest::UntilAsked => timer.block_on(commands.recv()),
    };
    command.map_or(Received::End, Received::Command)
}

#[cfg(test)]
mod tests;
