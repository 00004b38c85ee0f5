//! A store in a database on a server: a thread with its own runtime owns a few instances of
//! the component, each with a connection, and takes jobs from a queue.

mod backlog;
mod dispatcher;
mod job;
mod launcher;
mod location;
mod pool;

use std::sync::Arc;

use tokio::runtime;
use tokio::sync::mpsc;
use tokio::task::{LocalSet, unconstrained};
use wasmtime::Store;
use wasmtime::component::ResourceAny;

use crate::answer::Blocking;
use crate::cause::Cause;
use crate::clock::StoreClock;
use crate::contract::Admin;
use crate::contract::types::Request;
use crate::owner::Replies;
use crate::owner::caller::Caller;
use crate::owner::command::{Tell, Waiting};
use crate::owner::group::Budget;
use crate::owner::permits::{Queue, Queued, Serving};
use crate::owner::store_thread::{self, StoreThread};
use crate::sandbox::instance::{Called, Guest};
use crate::sandbox::state::State;
use crate::settings::Settings;
use crate::{Database, Error};
use dispatcher::{Dispatcher, Idle, Limits};
use job::{Call, Calling, Job, Kind, answered};
use launcher::Plan;

/// The connections of an open store. Dropping this waits until queued jobs are done and the
/// connections are closed.
pub(crate) struct Connections {
    /// Dropped before `_thread`, which then runs the jobs that are left, closes the
    /// connections and ends.
    jobs: mpsc::UnboundedSender<(Kind, Job)>,
    _thread: StoreThread,
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
        let (sender, jobs) = mpsc::unbounded_channel();
        let (ready, opened) = Caller::new();
        let served = queue.clone();
        let thread = store_thread::spawn(move || {
            let _serving = Serving::store(&served);
            run(plan, limits, idle, jobs, ready);
        })?;
        opened.await.unwrap_or(Err(Error::Closed))?;
        Ok(Self {
            jobs: sender,
            _thread: StoreThread::new(thread),
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
        unconstrained(async {
            let (caller, replies) = Caller::new();
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

    /// Calls a function of the contract's `admin`.
    pub(crate) async fn admin<T: Send + 'static>(
        &self,
        call: impl AsyncFnOnce(&Admin, &mut Store<State>, ResourceAny) -> Called<T> + Send + 'static,
        blocking: &Blocking,
    ) -> Result<T, Error> {
        unconstrained(async {
            let (caller, answer) = Caller::new();
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
        self.jobs.send((kind, job)).map_err(|_| Error::Closed)
    }
}

/// Runs a call of `admin` on a connection, if there is one; see [`Call`].
fn calling<'g, T: Send + 'static>(
    guest: Result<&'g mut Guest, Error>,
    call: impl AsyncFnOnce(&Admin, &mut Store<State>, ResourceAny) -> Called<T> + Send + 'static,
    caller: Caller<T>,
) -> Calling<'g> {
    Box::pin(async move {
        let done = match guest {
            Ok(guest) => answered(guest.admin(call).await),
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
    jobs: mpsc::UnboundedReceiver<(Kind, Job)>,
    ready: Caller<()>,
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
                ready.answer(Ok(()));
                let dispatcher = Dispatcher::new(launcher, first, &limits, idle);
                dispatcher.run(jobs).await;
            }
            Err(error) => ready.answer(Err(error)),
        }
    });
    drop(local);
    // Does not wait for name lookups, which run on threads of their own and can take long.
    runtime.shutdown_background();
}
