//! A connection whose socket belongs to the application's runtime, so that the server's answer
//! wakes the task that waits for it and not first the store's thread. One task at a time uses
//! it; other tasks, and threads that block, use those of the pool, whose sockets belong to the
//! store's own runtime: it runs whatever the application's threads do.

use std::future::poll_fn;
use std::mem;
use std::pin::pin;
use std::ptr;
use std::sync::{Arc, OnceLock};
use std::task::{Poll, RawWakerVTable, Waker};
use std::time::{Duration, Instant};

use tokio::runtime::{Handle, RuntimeFlavor};

use crate::owner::caller::contain;

/// How long no other connection is tried after one could not be opened.
const PAUSE: Duration = Duration::from_secs(60);

/// The application's runtime: the first one with several threads of which a task asked.
pub(crate) struct Application {
    runtime: Handle,
    /// What the wakers of the runtime's tasks have in common, once one of them has run.
    of_tasks: Arc<OnceLock<&'static RawWakerVTable>>,
}

impl Application {
    /// The current runtime, if it has several threads: one thread alone may stop to look at
    /// its sockets for as long as a task keeps it.
    pub(crate) fn current() -> Option<Self> {
        let runtime = Handle::try_current().ok()?;
        if runtime.runtime_flavor() != RuntimeFlavor::MultiThread {
            return None;
        }
        let of_tasks = Arc::new(OnceLock::new());
        let found = of_tasks.clone();
        runtime.spawn(poll_fn(move |context| {
            found.get_or_init(|| context.waker().vtable());
            Poll::Ready(())
        }));
        Some(Self { runtime, of_tasks })
    }

    /// Whether a task of this runtime waits with this waker. The waker of an executor that
    /// runs within a task is another one: it blocks its thread, and so might all of them,
    /// and none would be left to look at the sockets.
    pub(crate) fn has_task(&self, waker: &Waker) -> bool {
        let is_current = |current: Handle| current.id() == self.runtime.id();
        Handle::try_current().is_ok_and(is_current)
            && (self.of_tasks.get()).is_some_and(|vtable| ptr::eq(*vtable, waker.vtable()))
    }

    /// Runs a future whose sockets will belong to this runtime. `None` if it panics, as it
    /// does if the runtime ends, or has no sockets.
    pub(crate) async fn enter<T>(runtime: Handle, future: impl Future<Output = T>) -> Option<T> {
        let mut future = pin!(future);
        poll_fn(|context| {
            let polled = contain(|| {
                let _entered = runtime.enter();
                future.as_mut().poll(context)
            });
            match polled {
                Some(polled) => polled.map(Some),
                None => Poll::Ready(None),
            }
        })
        .await
    }

    pub(crate) fn runtime(&self) -> Handle {
        self.runtime.clone()
    }
}

/// The connection of the application, of type `C`.
pub(crate) enum Connection<C> {
    /// There is none. Another one is tried from this time on, or never.
    Closed(Option<Instant>),
    Opening,
    /// It is free since this time.
    Free(C, Instant),
    Busy,
}

impl<C> Connection<C> {
    /// Whether there is one, or one is being opened.
    pub(crate) fn is_open(&self) -> bool {
        !matches!(self, Self::Closed(_))
    }

    /// Takes the connection for a call, if it is free.
    pub(crate) fn take(&mut self) -> Option<C> {
        match mem::replace(self, Self::Busy) {
            Self::Free(connection, _) => Some(connection),
            other => {
                *self = other;
                None
            }
        }
    }

    /// Takes back the connection of a call that has ended; `None` if it cannot be used again.
    pub(crate) fn give_back(&mut self, connection: Option<C>, now: Instant) {
        *self = match connection {
            Some(connection) => Self::Free(connection, now),
            None => Self::Closed(Some(now)),
        };
    }

    /// Adds a connection that was opened; the result is that of [`Application::enter`].
    pub(crate) fn opened<E>(&mut self, connection: Option<Result<C, E>>, now: Instant) {
        *self = match connection {
            Some(Ok(connection)) => Self::Free(connection, now),
            Some(Err(_)) => Self::Closed(Some(now + PAUSE)),
            // Each attempt would panic: the runtime has ended, or has no sockets or no timers.
            None => Self::Closed(None),
        };
    }

    /// Since when the connection is unused.
    pub(crate) fn unused_since(&self) -> Option<Instant> {
        match self {
            Self::Free(_, since) => Some(*since),
            _ => None,
        }
    }

    /// Removes the connection if it is free.
    pub(crate) fn close(&mut self, now: Instant) -> Option<C> {
        let free = self.take()?;
        *self = Self::Closed(Some(now));
        Some(free)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Context;

    use tokio::runtime::{Builder, Runtime};

    use super::*;

    /// Whether the application has a task that polls like this one.
    async fn has_task(application: Arc<Application>) -> bool {
        poll_fn(|context| Poll::Ready(application.has_task(context.waker()))).await
    }

    fn ask(runtime: &Runtime, application: &Arc<Application>) -> bool {
        let task = runtime.spawn(has_task(application.clone()));
        runtime.block_on(task).unwrap()
    }

    #[test]
    fn a_runtime_of_one_thread_is_not_the_applications() {
        let runtime = Builder::new_current_thread().build().unwrap();
        let current = runtime.block_on(async { Application::current() });
        assert!(current.is_none() && Application::current().is_none());
    }

    #[test]
    fn tasks_of_the_runtime_are_told_from_all_others() {
        let runtime = Runtime::new().unwrap();
        let current = runtime.block_on(async { Application::current() });
        let application = Arc::new(current.unwrap());
        // It is not known before a task has run.
        while !ask(&runtime, &application) {}
        let other = Runtime::new().unwrap();
        assert!(!ask(&other, &application));
        assert!(!runtime.block_on(has_task(application.clone())));
        let asked = application.clone();
        let nested = runtime.spawn(async { pollster::block_on(has_task(asked)) });
        assert!(!runtime.block_on(nested).unwrap());
        assert!(!pollster::block_on(has_task(application)));
    }

    #[test]
    fn a_runtime_that_has_no_sockets_or_has_ended_is_noticed() {
        let runtime = Builder::new_multi_thread().build().unwrap();
        let connect = || async { tokio::net::TcpListener::bind("127.0.0.1:0").await.is_ok() };
        let handle = runtime.handle().clone();
        assert_eq!(
            pollster::block_on(Application::enter(handle, connect())),
            None
        );
        let runtime = Builder::new_multi_thread().enable_all().build().unwrap();
        let handle = runtime.handle().clone();
        let bound = pollster::block_on(Application::enter(handle.clone(), connect()));
        assert_eq!(bound, Some(true));
        let mut starting = pin!(Application::enter(handle, async {
            tokio::time::sleep(PAUSE).await;
        }));
        let mut context = Context::from_waker(Waker::noop());
        assert!(starting.as_mut().poll(&mut context).is_pending());
        drop(runtime);
        assert_eq!(starting.as_mut().poll(&mut context), Poll::Ready(None));
    }
}
