//! The callers whose requests wait in the queue, and their wakers: code of the
//! application on the store's thread, whose panics must not disturb others.

use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};

use tokio::sync::oneshot;

use crate::Error;

/// Runs code that may call the application, such as a waker; `None` when that
/// panicked, which the panic hook has reported.
pub(crate) fn contain<T>(work: impl FnOnce() -> T) -> Option<T> {
    // Dropping what was thrown could panic again.
    catch_unwind(AssertUnwindSafe(work))
        .map_err(mem::forget)
        .ok()
}

/// Something that may call a waker when it is dropped; a panic in that ends there.
pub(crate) struct Contained<T>(Option<T>);

impl<T> Contained<T> {
    pub(crate) fn new(inner: T) -> Self {
        Self(Some(inner))
    }

    /// What it holds; only dropping takes it out.
    pub(crate) fn get_mut(&mut self) -> Option<&mut T> {
        self.0.as_mut()
    }
}

impl<T> Drop for Contained<T> {
    fn drop(&mut self) {
        contain(|| drop(self.0.take()));
    }
}

/// The caller of a request. One that is dropped unanswered finds its channel
/// closed.
pub(crate) struct Caller<T>(Contained<oneshot::Sender<Result<T, Error>>>);

pub(crate) type Answered<T> = oneshot::Receiver<Result<T, Error>>;

impl<T> Caller<T> {
    /// A caller, and where it waits for its answer.
    pub(crate) fn new() -> (Self, Answered<T>) {
        let (sender, answered) = oneshot::channel();
        (Self(Contained::new(sender)), answered)
    }

    /// Sends the answer; a caller that no longer waits misses it.
    pub(crate) fn answer(mut self, answer: Result<T, Error>) {
        if let Some(sender) = self.0.0.take() {
            contain(|| drop(sender.send(answer)));
        }
    }
}
