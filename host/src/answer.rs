//! An answer on its way, for async code and for plain threads alike.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::Error;

/// An answer on its way: `.await` it in async code, on any executor, or
/// [`wait`](Answer::wait) for it on a plain thread.
///
/// It is lazy, as futures are: nothing is asked before it is first polled or
/// waited for. Dropped before its request has a place in the queue, nothing is
/// done; dropped later, the request is done all the same and nobody hears of
/// it. It keeps the store open until it is answered or dropped.
#[must_use = "nothing is asked before the answer is awaited or waited for"]
pub struct Answer<T>(Pin<Box<dyn Future<Output = Result<T, Error>> + Send>>);

impl<T> Answer<T> {
    pub(crate) fn new(answer: impl Future<Output = Result<T, Error>> + Send + 'static) -> Self {
        Self(Box::pin(answer))
    }

    /// Blocks this thread until the answer is there. In async code use `.await`
    /// instead, for this would block the executor.
    pub fn wait(self) -> Result<T, Error> {
        pollster::block_on(self)
    }
}

impl<T> Future for Answer<T> {
    type Output = Result<T, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(context)
    }
}
