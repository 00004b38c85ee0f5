//! Callers whose requests wait in the queue. Answering a caller may run its waker, which
//! is application code on the store's thread, so a panic in it is caught.

use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::{Wake, Waker};

use crate::Error;
use crate::sync::oneshot;

/// Runs code that may call the application, such as a waker; `None` when it
/// panicked. The panic hook has reported that.
pub(crate) fn contain<T>(work: impl FnOnce() -> T) -> Option<T> {
    // Leaked, because dropping a panic's payload may panic again.
    catch_unwind(AssertUnwindSafe(work))
        .map_err(mem::forget)
        .ok()
}

/// A value whose drop may call a waker; a panic in the drop is caught.
pub(crate) struct Contained<T>(Option<T>);

impl<T> Contained<T> {
    pub(crate) fn new(inner: T) -> Self {
        Self(Some(inner))
    }

    /// The value; `None` only during the drop.
    pub(crate) fn get_mut(&mut self) -> Option<&mut T> {
        self.0.as_mut()
    }
}

impl<T> Drop for Contained<T> {
    fn drop(&mut self) {
        contain(|| drop(self.0.take()));
    }
}

/// A waker that wakes the same task; a panic of the task's own waker is caught.
pub(crate) fn contained_waker(waker: &Waker) -> Waker {
    Waker::from(Arc::new(ContainedWaker(Contained::new(waker.clone()))))
}

struct ContainedWaker(Contained<Waker>);

impl Wake for ContainedWaker {
    fn wake(self: Arc<Self>) {
        contain(|| self.0.0.as_ref().map(Waker::wake_by_ref));
    }
}

/// The caller of a request. If it is dropped unanswered, the receiver finds the
/// channel closed.
pub(crate) struct Caller<T>(Contained<oneshot::Sender<Result<T, Error>>>);

pub(crate) type Answered<T> = oneshot::Receiver<Result<T, Error>>;

impl<T> Caller<T> {
    /// Creates a caller and the receiver of its answer.
    pub(crate) fn new() -> (Self, Answered<T>) {
        let (sender, answered) = oneshot::channel();
        (Self(Contained::new(sender)), answered)
    }

    /// Sends the answer, which is lost if the caller no longer waits.
    pub(crate) fn answer(mut self, answer: Result<T, Error>) {
        if let Some(sender) = self.0.0.take() {
            contain(|| drop(sender.send(answer)));
        }
    }
}
