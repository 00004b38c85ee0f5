//! The state that the owner's thread and its callers share: the owner, and the queue
//! that callers must not overtake.

use std::sync::{Arc, PoisonError, TryLockError};

use crate::Error;
use crate::owner::Owner;
use crate::owner::caller::contain;
use crate::owner::permits::{Queue, Serving};
use crate::sync::atomic::AtomicBool;
use crate::sync::{Mutex, MutexGuard};

/// The state that the thread and its callers share.
pub(crate) struct SharedOwner {
    /// `None` before the store is open and after it is closed.
    owner: Mutex<Option<Owner>>,
    /// While commands wait in it, callers must queue, too.
    pub(crate) queue: Arc<Queue>,
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
            queue: Arc::new(Queue::new()),
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
        let _serving = Serving::store(&self.queue);
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
        if !self.queue.is_empty() {
            return None;
        }
        match self.owner.try_lock() {
            Ok(owner) => Some(owner),
            Err(TryLockError::Poisoned(owner)) => Some(owner.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}
