//! The queue of a store as its callers see it: the number of waiting commands, the permits
//! of tasks (back-pressure), and the one permit of threads to spin.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::ptr;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use tokio::sync::OwnedSemaphorePermit;

use crate::Error;
use crate::owner::blocking::{Blocking, LINGER};
use crate::owner::caller::Contained;
use crate::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use crate::sync::{Instant, Semaphore, thread, thread_local};

/// The number of permits of the queue, one for each request of a task that waits in it.
/// When all are taken, further tasks wait for a permit.
const PERMITS: usize = 1024;

/// The number of waiting commands, and the free permits.
pub(crate) struct Queue {
    waiting: AtomicUsize,
    permits: Arc<Semaphore>,
    /// Whether a thread spins for its answer. At most one does, so that spinning threads do
    /// not take the processor from the thread that works.
    spinning: AtomicBool,
}

/// Counts a command as waiting until it is done or cancelled.
pub(crate) struct Queued {
    queue: Arc<Queue>,
    /// When the caller began to wait, for a permit or in the queue.
    pub(crate) since: Instant,
    _permit: Option<Permit>,
}

/// A permit of the queue. Dropping it wakes a task that waits for a permit.
type Permit = Contained<OwnedSemaphorePermit>;

impl Queue {
    /// An empty queue.
    pub(crate) fn new() -> Self {
        Self {
            waiting: AtomicUsize::new(0),
            permits: Arc::new(Semaphore::new(PERMITS)),
            spinning: AtomicBool::new(false),
        }
    }

    /// Whether no command waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of commands that wait or run.
    pub(crate) fn len(&self) -> usize {
        self.waiting.load(Ordering::SeqCst)
    }

    /// Counts a command as waiting. Then waits for a permit, unless this thread blocks until
    /// it is answered: a blocked thread has only one request, and the permits may be held by
    /// tasks that only this thread can run. Fails if a thread that runs the store's requests
    /// would block.
    pub(crate) async fn enter(self: &Arc<Self>, blocking: &Blocking) -> Result<Queued, Error> {
        self.refuse_served(blocking)?;
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let mut queued = Queued {
            queue: self.clone(),
            since: Instant::now(),
            _permit: None,
        };
        if !blocking.is_set() {
            queued._permit = match self.permits.clone().try_acquire_owned() {
                Ok(permit) => Some(Contained::new(permit)),
                Err(_none_free) => self.wait_for_permit(blocking).await,
            };
        }
        Ok(queued)
    }

    /// Fails if a thread that runs the store's requests would block.
    pub(crate) fn refuse_served(&self, blocking: &Blocking) -> Result<(), Error> {
        match blocking.is_set() && Serving::is_of(self) {
            true => Err(Error::Other(
                "the store's own clock, randomness and wakers cannot wait for the store".to_owned(),
            )),
            false => Ok(()),
        }
    }

    /// Waits for the answer to a request. If the caller's thread blocks by now, it first spins
    /// for [`LINGER`], unless another one spins.
    pub(crate) fn linger<F: Future>(
        &self,
        answer: F,
        blocking: &Blocking,
    ) -> impl Future<Output = F::Output> {
        let blocks = blocking.is_set();
        async move {
            let mut answer = pin!(answer);
            if blocks && let Some(_permit) = SpinPermit::take(&self.spinning) {
                let mut context = Context::from_waker(Waker::noop());
                let started = Instant::now();
                while started.elapsed() < LINGER {
                    if let Poll::Ready(answer) = answer.as_mut().poll(&mut context) {
                        return answer;
                    }
                    thread::yield_now();
                }
            }
            answer.await
        }
    }

    /// Waits for a free permit; `None` if the thread starts to block in the meantime.
    async fn wait_for_permit(&self, blocking: &Blocking) -> Option<Permit> {
        let mut permit = Contained::new(Box::pin(self.permits.clone().acquire_owned()));
        poll_fn(|context| match permit.get_mut() {
            Some(permit) if !blocking.is_set() => {
                let free = permit.as_mut().poll(context);
                free.map(|permit| permit.ok().map(Contained::new))
            }
            _ => Poll::Ready(None),
        })
        .await
    }
}

/// A permit to spin.
struct SpinPermit<'q>(&'q AtomicBool);

impl<'q> SpinPermit<'q> {
    fn take(spinning: &'q AtomicBool) -> Option<Self> {
        let taken = spinning.swap(true, Ordering::Acquire);
        (!taken).then_some(Self(spinning))
    }
}

impl Drop for SpinPermit<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

impl Drop for Queued {
    fn drop(&mut self) {
        self.queue.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

thread_local! {
    static SERVED: Cell<*const Queue> = const { Cell::new(ptr::null()) };
}

/// Marks this thread, until dropped, as running requests of a store. Such a thread must
/// not wait for that store.
pub(crate) struct Serving {
    before: *const Queue,
}

impl Serving {
    pub(crate) fn store(queue: &Queue) -> Self {
        Self {
            before: SERVED.with(|served| served.replace(queue)),
        }
    }

    /// Whether this thread runs requests of any store now.
    #[cfg(test)]
    pub(crate) fn is_of_any() -> bool {
        !SERVED.with(Cell::get).is_null()
    }

    /// Whether this thread runs requests of this store now.
    pub(crate) fn is_of(queue: &Queue) -> bool {
        ptr::eq(SERVED.with(Cell::get), queue)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        SERVED.with(|served| served.set(self.before));
    }
}
