//! A store in a database on a server: a thread with its own runtime owns a few instances of
//! the component, each with a connection, and takes jobs from a queue. While no job waits
//! or runs, callers run small requests themselves.

mod application;
mod backlog;
mod dispatcher;
mod inline;
mod job;
mod launcher;
mod location;
mod pool;
mod shared;

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use tokio::runtime;
use tokio::sync::mpsc;
use tokio::task::{LocalSet, unconstrained};

use crate::cause::Cause;
use crate::clock::StoreClock;
use crate::contract::types::Request;
use crate::owner::Replies;
use crate::owner::blocking::Blocking;
use crate::owner::caller::Caller;
use crate::owner::command::{Tell, Waiting};
use crate::owner::group::Budget;
use crate::owner::permits::{Queue, Queued, Serving};
use crate::owner::store_thread::{self, StoreThread};
use crate::request::{Ending, Writes};
use crate::sandbox::instance::{Called, Guest, Keeping};
use crate::settings::Settings;
use crate::{Database, Error};
use dispatcher::{Dispatcher, Idle, Limits};
use inline::Running;
use job::{Call, Calling, Finished, Job, Kind, answered, batch};
use launcher::Plan;
use pool::{Place, Pool};
use shared::{Inline, Message, Shared};

/// The maximum cost of a request that its caller runs itself; enough for a merge with the
/// default `max_data`.
const MOST_INLINE: usize = 9 << 20;

/// The connections of an open store. Dropping this waits until queued jobs are done and the
/// connections are closed.
pub(crate) struct Connections {
    /// Dropped before `_thread`, which then runs the jobs that are left, closes the
    /// connections and ends.
    messages: mpsc::UnboundedSender<Message<Guest>>,
    _thread: StoreThread,
    shared: Arc<Shared<Guest>>,
    queue: Arc<Queue>,
    pub(crate) budget: Budget,
    /// The servers as text.
    pub(crate) servers: String,
}

impl Connections {
    /// Starts the thread, and opens the first connection on it.
    pub(crate) async fn open(
        database: Database,
        settings: Settings,
        clock: Arc<StoreClock>,
    ) -> Result<Self, Error> {
        let options = &settings.options;
        let budget = Budget::new(settings.memory_limit, options.max_data);
        let step = options.gc_step.try_into().unwrap_or(u32::MAX);
        let idle = Idle {
            after: settings.idle,
            step: (options.gc_frequency > 0).then_some(step),
        };
        let limits = Limits {
            connections: database.connections,
            wait: options.sync_timeout,
            budget,
        };
        let plan = Plan::new(database, settings, clock)?;
        let servers = plan.servers();
        let queue = Arc::new(Queue::new());
        let (messages, received) = mpsc::unbounded_channel();
        let (ready, opened) = Caller::new();
        let served = queue.clone();
        let thread = store_thread::spawn(move || {
            let _serving = Serving::store(&served);
            run(plan, limits, idle, &served, received, ready);
        })?;
        let shared = opened.await.unwrap_or(Err(Error::Closed))?;
        Ok(Self {
            messages,
            _thread: StoreThread::new(thread),
            shared,
            queue,
            budget,
            servers,
        })
    }

    /// Runs the requests in one transaction, which other callers' requests may share (group
    /// commit).
    pub(crate) async fn batch(
        &self,
        requests: Vec<Request>,
        blocking: &Blocking,
    ) -> Result<Replies, Error> {
        let kind = Job::kind(&requests);
        self.queue.refuse_served(blocking)?;
        let is_task = poll_fn(|context| {
            let waker = context.waker();
            Poll::Ready(!blocking.is_set() && self.shared.is_task_of_application(waker))
        });
        let is_task = is_task.await;
        let requests = match self.begin(kind, is_task, requests) {
            Ok(inline) => return unconstrained(self.queue.linger(inline, blocking)).await,
            Err(requests) => requests,
        };
        unconstrained(async {
            let (caller, replies) = Caller::new();
            let replies = self.queue.linger(replies, blocking);
            let job = |queued| {
                Job::Requests(Waiting {
                    requests,
                    caller,
                    queued,
                })
            };
            self.send(kind, job, blocking).await?;
            replies.await.map_err(|_| Error::Closed)?
        })
        .await
    }

    /// Begins a call with these requests that this caller runs itself; returns the requests if
    /// they must be queued.
    fn begin(
        &self,
        kind: Kind,
        is_task: bool,
        requests: Vec<Request>,
    ) -> Result<Inline<'_, Guest>, Vec<Request>> {
        if !is_small(&requests, &self.budget) {
            return Err(requests);
        }
        let mut requests = Some(requests);
        let call = |guest, place| -> Running<Guest> {
            let requests = requests.take().unwrap_or_default();
            match place {
                Place::Pool(_) => Box::pin(async move { batch(guest, &requests).await }),
                Place::Application => {
                    Box::pin(async move { batch_for_application(guest, &requests).await })
                }
            }
        };
        let inline = self.shared.begin(&self.messages, kind, is_task, call);
        inline.ok_or_else(|| requests.unwrap_or_default())
    }

    /// Ends sessions; returns how many.
    pub(crate) async fn end(&self, ending: Ending, blocking: &Blocking) -> Result<u64, Error> {
        let call = async move |guest: &mut Guest| guest.end(&ending).await;
        self.call(call, blocking).await
    }

    /// Calls a function of the contract's `admin` that ends no session.
    pub(crate) async fn keeping<T: Send + 'static>(
        &self,
        call: impl AsyncFnOnce(Keeping<'_>) -> Called<T> + Send + 'static,
        blocking: &Blocking,
    ) -> Result<T, Error> {
        let call = async move |guest: &mut Guest| call(guest.keeping()).await;
        self.call(call, blocking).await
    }

    /// Queues a call of `admin`, and waits for its answer.
    async fn call<T: Send + 'static>(
        &self,
        call: impl AsyncFnOnce(&mut Guest) -> Called<T> + Send + 'static,
        blocking: &Blocking,
    ) -> Result<T, Error> {
        unconstrained(async {
            let (caller, answer) = Caller::new();
            let answer = self.queue.linger(answer, blocking);
            let call: Call = Box::new(move |guest| calling(guest, call, caller));
            self.send(Kind::Call, |queued| Job::Call(call, queued), blocking)
                .await?;
            answer.await.map_err(|_| Error::Closed)?
        })
        .await
    }

    /// Queues a job once there is a permit for it.
    async fn send(
        &self,
        kind: Kind,
        job: impl FnOnce(Queued) -> Job,
        blocking: &Blocking,
    ) -> Result<(), Error> {
        let job = job(self.queue.enter(blocking).await?);
        let sent = self.messages.send(Message::Job(kind, job));
        sent.map_err(|_| Error::Closed)
    }
}

/// Whether a caller may run these requests itself: a single request that keeps its thread from
/// other tasks for a few milliseconds at most. A log-in takes several round trips.
fn is_small(requests: &[Request], budget: &Budget) -> bool {
    let [request] = requests else {
        return false;
    };
    !matches!(request.weights().writes, Writes::Many) && budget.cost(requests) <= MOST_INLINE
}

/// Runs requests on the connection of the application. If the component had to connect again,
/// the new socket does not belong to the application's runtime, and the instance is dropped.
async fn batch_for_application(guest: Guest, requests: &[Request]) -> Finished<Guest> {
    let connects = guest.connects();
    let mut finished = batch(guest, requests).await;
    finished.connection = (finished.connection).filter(|guest| guest.connects() == connects);
    finished
}

/// Runs a call of `admin` on a connection, if there is one; see [`Call`].
fn calling<'g, T: Send + 'static>(
    guest: Result<&'g mut Guest, Error>,
    call: impl AsyncFnOnce(&mut Guest) -> Called<T> + Send + 'static,
    caller: Caller<T>,
) -> Calling<'g> {
    Box::pin(async move {
        let done = match guest {
            Ok(guest) => answered(call(guest).await),
            Err(error) => Err(error),
        };
        let trapped = matches!(done, Err(Error::Crashed));
        let tell: Tell = Box::new(move || caller.answer(done));
        (tell, trapped)
    })
}

/// The thread's main function: opens the first connection, reports the result to `ready`,
/// and runs jobs until the last handle is dropped.
fn run(
    plan: Plan,
    limits: Limits,
    idle: Idle,
    queue: &Arc<Queue>,
    messages: mpsc::UnboundedReceiver<Message<Guest>>,
    ready: Caller<Arc<Shared<Guest>>>,
) {
    let runtime = runtime::Builder::new_current_thread().enable_all().build();
    let prepared = runtime
        .map_err(|error| Error::Start(Cause::new(error)))
        .and_then(|runtime| Ok((runtime, plan.prepare()?)));
    let (runtime, launcher) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => return ready.answer(Err(error)),
    };
    let local = LocalSet::new();
    local.block_on(&runtime, async {
        match launcher.start().await {
            Ok(first) => {
                let pool = Pool::new(first, limits.connections);
                let shared = Arc::new(Shared::new(pool, queue.clone()));
                let dispatcher = Dispatcher::new(launcher, shared.clone(), &limits, idle);
                ready.answer(Ok(shared));
                dispatcher.run(messages).await;
            }
            Err(error) => ready.answer(Err(error)),
        }
    });
    drop(local);
    // Does not wait for name lookups, which run on threads of their own and can take long.
    runtime.shutdown_background();
}
