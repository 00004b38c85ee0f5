//! The thread on which the owner works, the queue to it, and the callers that do
//! a request themselves while the owner has nothing to do.

use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::runtime::{self, Runtime};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::time::timeout;

use crate::answer::{self, LINGER};
use crate::cache::ReadCache;
use crate::clock::StoreClock;
use crate::owner::caller::Caller;
use crate::owner::group::{self, Budget, Waiting};
use crate::owner::shared::{Queued, Serving, SharedOwner};
use crate::owner::{Owner, Replies};
use crate::settings::Settings;
use crate::{Error, Request};

/// Half a mebibyte of it is the component's; the rest is ample for wasmtime.
const STACK: usize = 4 << 20;

/// What handles ask of the owner. Requests travel as the contract's `request`,
/// so that those that wait together can be done together.
pub(crate) enum Command {
    Sessions(Waiting),
    Other(Call, Queued),
    /// Somebody did something without the thread, which rested.
    Active,
}

/// Something to do with the owner, and how its caller is told what it came to.
type Call = Box<dyn FnOnce(&mut Owner) -> Tell + Send>;
type Tell = Box<dyn FnOnce() + Send>;

/// The thread of an open store. Dropping it waits until what is queued is done
/// and the database is closed.
pub(crate) struct OwnerThread {
    shared_owner: Arc<SharedOwner>,
    pub(crate) budget: Budget,
    queue: Option<mpsc::UnboundedSender<Command>>,
    thread: Option<JoinHandle<()>>,
}

impl OwnerThread {
    /// Starts the thread and opens the store on it.
    pub(crate) async fn open(
        settings: Settings,
        clock: Arc<StoreClock>,
        cache: Arc<ReadCache>,
    ) -> Result<Self, Error> {
        let shared_owner = Arc::new(SharedOwner::new());
        let budget = Budget::new(settings.memory_limit, settings.options.max_data);
        let (queue, commands) = mpsc::unbounded_channel();
        let (ready, opened) = Caller::new();
        let shared = shared_owner.clone();
        let thread = thread::Builder::new()
            .name("wasi-sessions".to_owned())
            .stack_size(STACK)
            .spawn(move || run(settings, clock, cache, &shared, budget, commands, ready))
            .map_err(|error| Error::Start(error.to_string()))?;
        opened.await.unwrap_or(Err(Error::Closed))?;
        Ok(Self {
            shared_owner,
            budget,
            queue: Some(queue),
            thread: Some(thread),
        })
    }

    /// Does all requests in one transaction, with those of others perhaps.
    pub(crate) async fn batch(&self, requests: Vec<Request>) -> Result<Replies, Error> {
        if let Some(owner) = self.idle() {
            return self.work(owner, |owner| owner.batch(&requests));
        }
        let (caller, replies) = Caller::new();
        let command = |queued| {
            Command::Sessions(Waiting {
                requests,
                caller,
                queued,
            })
        };
        self.send(command).await?;
        replies.await.map_err(|_| Error::Closed)?
    }

    /// Has the owner do something.
    pub(crate) async fn call<T: Send + 'static>(
        &self,
        call: impl FnOnce(&mut Owner) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        if let Some(owner) = self.idle() {
            return self.work(owner, call);
        }
        let (caller, answer) = Caller::new();
        let call = move |owner: &mut Owner| -> Tell {
            let done = call(owner);
            Box::new(move || caller.answer(done))
        };
        self.send(|queued| Command::Other(Box::new(call), queued))
            .await?;
        answer.await.map_err(|_| Error::Closed)?
    }

    /// Does something with the owner on this thread, if that can be at once.
    pub(crate) fn at_once<T>(
        &self,
        work: impl FnOnce(&mut Owner) -> Result<T, Error>,
    ) -> Option<Result<T, Error>> {
        Some(self.work(self.idle()?, work))
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

    /// The owner, when this thread may work and nobody else wants it: to do a
    /// request here is faster than to wake another thread twice.
    fn idle(&self) -> Option<MutexGuard<'_, Option<Owner>>> {
        answer::may_work()
            .then(|| self.shared_owner.try_lock())
            .flatten()
    }

    /// Lets the thread know that there may be garbage one day.
    fn note_work(&self) {
        self.shared_owner.active.store(true, Ordering::SeqCst);
        if self.shared_owner.resting.swap(false, Ordering::SeqCst)
            && let Some(queue) = &self.queue
        {
            let _ = queue.send(Command::Active);
        }
    }

    /// Queues a command once there is a permit for it.
    async fn send(&self, command: impl FnOnce(Queued) -> Command) -> Result<(), Error> {
        if answer::is_blocking() && Serving::is_of(&self.shared_owner) {
            return Err(Error::Other(
                "the store's own clock, randomness and wakers cannot wait for the store".to_owned(),
            ));
        }
        let queue = self.queue.as_ref().ok_or(Error::Closed)?;
        let command = command(Queued::take(&self.shared_owner).await);
        queue.send(command).map_err(|_| Error::Closed)
    }
}

impl Drop for OwnerThread {
    fn drop(&mut self) {
        // Without a queue the thread answers what is left, closes and ends.
        self.queue = None;
        let Some(thread) = self.thread.take() else {
            return;
        };
        // A clock or a waker of the application may drop the last handle on the
        // thread itself, which cannot wait for its own end.
        if thread.thread().id() != thread::current().id() {
            // A panic in there has been reported, and its requests are `Closed`.
            let _ = thread.join();
        }
    }
}

/// Opens the store, says whether that worked, and answers commands until the
/// last handle is gone; then closes it.
fn run(
    settings: Settings,
    clock: Arc<StoreClock>,
    cache: Arc<ReadCache>,
    shared_owner: &SharedOwner,
    budget: Budget,
    mut commands: mpsc::UnboundedReceiver<Command>,
    ready: Caller<()>,
) {
    let after_work = match settings.options.gc_frequency {
        0 => Rest::UntilAsked,
        _ => Rest::AWhile(settings.idle),
    };
    let step = settings.options.gc_step.try_into().unwrap_or(u32::MAX);
    let _serving = Serving::store(shared_owner);
    let opened = runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .map_err(|error| Error::Start(error.to_string()))
        .and_then(|timer| Ok((timer, Owner::open(settings, clock, cache)?)));
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
    let mut rest = after_work;
    let mut next = None;
    // Dropped first: whoever is told that the store is closed finds it so.
    let _closing = ClosedByPanic(shared_owner);
    loop {
        let received = match next.take() {
            Some(command) => Received::Command(command),
            None => receive(&mut commands, shared_owner, &timer, rest),
        };
        match received {
            Received::Command(Command::Sessions(first)) => {
                let (group, command) = group::gather(first, &mut commands, &budget);
                next = command;
                group::answer(group, |requests| {
                    shared_owner.work(shared_owner.lock(), |owner| owner.batch(requests))
                });
                rest = after_work;
            }
            Received::Command(Command::Other(call, queued)) => {
                let done = shared_owner.work(shared_owner.lock(), |owner| Ok(call(owner)));
                drop(queued);
                if let Ok(tell) = done {
                    tell();
                }
                rest = after_work;
            }
            Received::Command(Command::Active) => rest = after_work,
            Received::Nothing if shared_owner.active.swap(false, Ordering::SeqCst) => {
                rest = after_work;
            }
            Received::Nothing => {
                // A failure here is nobody's; requests will meet the same.
                let collected = shared_owner.work(shared_owner.lock(), |owner| owner.collect(step));
                rest = match collected {
                    Ok(collected) if collected.more => Rest::Not,
                    _ => Rest::UntilActive,
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

/// Closes the store if the thread panics in spite of all guards.
struct ClosedByPanic<'a>(&'a SharedOwner);

impl Drop for ClosedByPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            *self.0.lock() = None;
        }
    }
}

/// What the thread does while nobody asks for anything.
#[derive(Clone, Copy, PartialEq)]
enum Rest {
    /// It goes on with a collection.
    Not,
    /// It waits a while for the next command and then collects garbage.
    AWhile(Duration),
    /// It waits for the next command, or for somebody who did without it.
    UntilActive,
    /// It waits for the next command.
    UntilAsked,
}

/// What came to the thread.
enum Received {
    Command(Command),
    Nothing,
    /// The last handle is gone.
    End,
}

/// The next command, or nothing when there was time enough to rest. The thread
/// lingers before it sleeps, because to wake it takes longer than most requests.
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
            // Whoever worked before this did not see it.
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
