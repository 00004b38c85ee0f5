//! What threads share, in the place of the host's `sync`. Where a thread uses any of
//! this, shuttle may let another run. tokio's channels and quick_cache are as in the
//! host, and each of their functions is one step.

use std::future::{Future, poll_fn};
use std::hash::Hash;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use quick_cache::Weighter;
use shuttle::rand::{Rng, thread_rng};
use tokio::sync::{AcquireError, OwnedSemaphorePermit, TryAcquireError};

pub(crate) use shuttle::future::block_on;
pub(crate) use shuttle::sync::{Mutex, MutexGuard, atomic};
pub(crate) use shuttle::{thread, thread_local};
pub(crate) use tokio::sync::oneshot;

/// Permits of the queue, in the place of 1024, so that a few tasks take all.
pub(crate) const PERMITS: usize = 2;

/// Lets another thread run, if the schedule says so.
pub(crate) fn step() {
    thread::sleep(Duration::ZERO);
}

/// Either answer, by the schedule's randomness.
pub(crate) fn coin() -> bool {
    thread_rng().r#gen()
}

/// A point in time, from which either nothing has passed or an hour.
#[derive(Clone, Copy)]
pub(crate) struct Instant;

impl Instant {
    pub(crate) fn now() -> Self {
        Self
    }

    pub(crate) fn elapsed(self) -> Duration {
        match coin() {
            true => Duration::from_secs(3600),
            false => Duration::ZERO,
        }
    }
}

/// Waits for the future for a while, which ends at some time.
pub(crate) async fn timeout<F: Future>(_: Duration, future: F) -> Result<F::Output, Elapsed> {
    let mut future = pin!(future);
    poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Ok(output)),
        Poll::Pending if coin() => Poll::Ready(Err(Elapsed)),
        Poll::Pending => {
            context.waker().wake_by_ref();
            Poll::Pending
        }
    })
    .await
}

/// The time of a `timeout` has passed.
pub(crate) struct Elapsed;

/// The runtime of the owner's thread, which has nothing but a timer.
pub(crate) mod runtime {
    use std::future::Future;
    use std::io;

    pub(crate) struct Builder;

    impl Builder {
        pub(crate) fn new_current_thread() -> Self {
            Self
        }

        pub(crate) fn enable_time(&mut self) -> &mut Self {
            self
        }

        pub(crate) fn build(&mut self) -> io::Result<Runtime> {
            Ok(Runtime)
        }
    }

    pub(crate) struct Runtime;

    impl Runtime {
        pub(crate) fn block_on<F: Future>(&self, future: F) -> F::Output {
            super::block_on(future)
        }
    }
}

pub(crate) mod mpsc {
    use tokio::sync::mpsc;
    pub(crate) use tokio::sync::mpsc::error;

    use super::step;

    pub(crate) fn unbounded_channel<T>() -> (UnboundedSender<T>, UnboundedReceiver<T>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (UnboundedSender(sender), UnboundedReceiver(receiver))
    }

    pub(crate) struct UnboundedSender<T>(mpsc::UnboundedSender<T>);

    impl<T> UnboundedSender<T> {
        pub(crate) fn send(&self, value: T) -> Result<(), error::SendError<T>> {
            step();
            self.0.send(value)
        }
    }

    pub(crate) struct UnboundedReceiver<T>(mpsc::UnboundedReceiver<T>);

    impl<T> UnboundedReceiver<T> {
        pub(crate) fn try_recv(&mut self) -> Result<T, error::TryRecvError> {
            step();
            self.0.try_recv()
        }

        pub(crate) async fn recv(&mut self) -> Option<T> {
            step();
            self.0.recv().await
        }
    }
}

pub(crate) struct Semaphore(Arc<tokio::sync::Semaphore>);

impl Semaphore {
    pub(crate) fn new(_permits: usize) -> Self {
        Self(Arc::new(tokio::sync::Semaphore::new(PERMITS)))
    }

    pub(crate) fn try_acquire_owned(
        self: Arc<Self>,
    ) -> Result<OwnedSemaphorePermit, TryAcquireError> {
        step();
        self.0.clone().try_acquire_owned()
    }

    pub(crate) async fn acquire_owned(
        self: Arc<Self>,
    ) -> Result<OwnedSemaphorePermit, AcquireError> {
        step();
        self.0.clone().acquire_owned().await
    }
}

pub(crate) struct Cache<K, V, W>(quick_cache::sync::Cache<K, V, W>);

impl<K: Eq + Hash, V: Clone, W: Weighter<K, V> + Clone> Cache<K, V, W> {
    pub(crate) fn with_weighter(items: usize, weight: u64, weighter: W) -> Self {
        Self(quick_cache::sync::Cache::with_weighter(
            items, weight, weighter,
        ))
    }

    pub(crate) fn get(&self, key: &K) -> Option<V> {
        step();
        self.0.get(key)
    }

    pub(crate) fn peek(&self, key: &K) -> Option<V> {
        step();
        self.0.peek(key)
    }

    pub(crate) fn insert(&self, key: K, value: V) {
        step();
        self.0.insert(key, value);
    }

    pub(crate) fn remove(&self, key: &K) -> Option<(K, V)> {
        step();
        self.0.remove(key)
    }

    pub(crate) fn clear(&self) {
        step();
        self.0.clear();
    }
}
