//! The state that the owner's thread and its callers share: the owner, the number
//! of waiting commands, and the permits of the queue.

use std::cell::Cell;
use std::future::poll_fn;
use std::ptr;
use std::sync::{Arc, PoisonError, TryLockError};
use std::task::Poll;

use tokio::sync::OwnedSemaphorePermit;

use crate::Error;
use crate::answer::Blocking;
use crate::owner::Owner;
use crate::owner::caller::{Contained, contain};
use crate::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use crate::sync::{Mutex, MutexGuard, Semaphore, thread_local};

/// The number of permits of the queue, one for each request of a task that waits
/// for the owner. When all are taken, further tasks wait for a permit
/// (back-pressure).
const QUEUE: usize = 1024;

/// The state that the thread and its callers share.
pub(crate) struct SharedOwner {
    /// `None` before the store is open and after it is closed.
    owner: Mutex<Option<Owner>>,
    /// The number of waiting commands. While there are any, callers must queue.
    waiting: AtomicUsize,
    /// Free permits of the queue.
    permits: Arc<Semaphore>,
    /// Whether the thread sleeps until there is a command.
    pub(crate) resting: AtomicBool,
    /// Whether there was a request since the thread last checked.
    pub(crate) active: AtomicBool,
    /// Whether a collection is due: a task queued its request because it would have carried
    /// a collection step. The thread then collects until nothing is left.
    pub(crate) collecting: AtomicBool,
    /// Whether many callers wait at once. Tasks then queue their requests, because one
    /// transaction for all is faster than one for each.
    pub(crate) crowded: AtomicBool,
}

impl SharedOwner {
    /// The state before the store is open.
    pub(crate) fn new() -> Self {
        Self {
            owner: Mutex::new(None),
            waiting: AtomicUsize::new(0),
            permits: Arc::new(Semaphore::new(QUEUE)),
            resting: AtomicBool::new(false),
            active: AtomicBool::new(false),
            collecting: AtomicBool::new(false),
            crowded: AtomicBool::new(false),
        }
    }

    /// Runs `work` on the owner, whose lock this thread holds. A panic in it, which comes
    /// from the application's clock or random source, closes the store.
    pub(crate) fn work<T>(
        &self,
        mut owner: MutexGuard<Option<Owner>>,
        work: impl FnOnce(&mut Owner) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let Some(open) = owner.as_mut() else {
            return Err(Error::Closed);
        };
        let _serving = Serving::store(self);
        contain(|| work(open)).unwrap_or_else(|| {
            *owner = None;
            Err(Error::Closed)
        })
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Option<Owner>> {
        self.owner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Locks the owner if it is free and no command waits for it.
    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, Option<Owner>>> {
        if self.waiting.load(Ordering::SeqCst) > 0 {
            return None;
        }
        match self.owner.try_lock() {
            Ok(owner) => Some(owner),
            Err(TryLockError::Poisoned(owner)) => Some(owner.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

/// Counts a command as waiting until it is done or cancelled.
pub(crate) struct Queued {
    shared_owner: Arc<SharedOwner>,
    _permit: Option<Permit>,
}

/// A permit of the queue. Dropping it wakes a task that waits for a permit.
type Permit = Contained<OwnedSemaphorePermit>;

impl Queued {
    /// Waits for a permit, unless this thread blocks until it is answered. A blocked
    /// thread has one request at a time, and the permits may be held by tasks that only
    /// this thread can run.
    pub(crate) async fn take(shared_owner: &Arc<SharedOwner>, blocking: &Blocking) -> Self {
        shared_owner.waiting.fetch_add(1, Ordering::SeqCst);
        let mut queued = Self {
            shared_owner: shared_owner.clone(),
            _permit: None,
        };
        if !blocking.is_set() {
            queued._permit = match shared_owner.permits.clone().try_acquire_owned() {
                Ok(permit) => Some(Contained::new(permit)),
                Err(_none_free) => wait_for_permit(shared_owner, blocking).await,
            };
        }
        queued
    }
}

/// Waits for a free permit; `None` if the thread starts to block in the meantime.
async fn wait_for_permit(shared_owner: &SharedOwner, blocking: &Blocking) -> Option<Permit> {
    let mut permit = Contained::new(Box::pin(shared_owner.permits.clone().acquire_owned()));
    poll_fn(|context| match permit.get_mut() {
        Some(permit) if !blocking.is_set() => {
            let free = permit.as_mut().poll(context);
            free.map(|permit| permit.ok().map(Contained::new))
        }
        _ => Poll::Ready(None),
    })
    .await
}

impl Drop for Queued {
    fn drop(&mut self) {
        self.shared_owner.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

thread_local! {
    static SERVED: Cell<*const SharedOwner> = const { Cell::new(ptr::null()) };
}

/// Marks this thread, until dropped, as running requests of a store. Such a thread must
/// not wait for that store.
pub(crate) struct Serving {
    before: *const SharedOwner,
}

impl Serving {
    pub(crate) fn store(shared_owner: &SharedOwner) -> Self {
        Self {
            before: SERVED.with(|served| served.replace(shared_owner)),
        }
    }

    /// Whether this thread runs requests of any store now.
    #[cfg(test)]
    pub(crate) fn is_of_any() -> bool {
        !SERVED.with(Cell::get).is_null()
    }

    /// Whether this thread runs requests of this store now.
    pub(crate) fn is_of(shared_owner: &SharedOwner) -> bool {
        ptr::eq(SERVED.with(Cell::get), shared_owner)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        SERVED.with(|served| served.set(self.before));
    }
}
