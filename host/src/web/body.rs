//! Bodies on their way in, up to a limit, and on their way out, whole or visibly cut.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use tokio::sync::oneshot;
use wasmtime_wasi_http::Error;
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;

type Polled = Poll<Option<Result<Frame<Bytes>, Error>>>;

/// The body of a request, of which a component sees at most so many bytes.
pub(super) struct Limited {
    body: Incoming,
    left: u64,
    /// Says that there was more.
    exceeded: Option<oneshot::Sender<()>>,
}

impl Limited {
    /// The body, and who hears of it when it is longer than `limit` bytes.
    pub(super) fn new(body: Incoming, limit: u64) -> (Self, oneshot::Receiver<()>) {
        let (exceeded, heard) = oneshot::channel();
        let limited = Self {
            body,
            left: limit,
            exceeded: Some(exceeded),
        };
        (limited, heard)
    }
}

impl Body for Limited {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Polled {
        let frame = match ready!(Pin::new(&mut self.body).poll_frame(context)) {
            Some(Ok(frame)) => frame,
            other => return Poll::Ready(other.map(|read| read.map_err(Error::from))),
        };
        let length = frame.data_ref().map_or(0, |data| data.len() as u64);
        match self.left.checked_sub(length) {
            Some(left) => self.left = left,
            None => {
                if let Some(exceeded) = self.exceeded.take() {
                    // The response may have begun already.
                    let _ = exceeded.send(());
                }
                return Poll::Ready(Some(Err(Error::HttpRequestBodySize(None))));
            }
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of a response. Where its instance fails it ends with an error, since
/// the client would take what there is for all of it.
pub(super) struct Whole {
    body: HyperOutgoingBody,
    failed: Arc<AtomicBool>,
}

impl Whole {
    /// A body whose instance says in `failed` that it failed, before it is dropped.
    pub(super) fn new(body: HyperOutgoingBody, failed: Arc<AtomicBool>) -> Self {
        Self { body, failed }
    }
}

impl Body for Whole {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Polled {
        match ready!(Pin::new(&mut self.body).poll_frame(context)) {
            None if self.failed.load(Ordering::Acquire) => {
                Poll::Ready(Some(Err(Error::HttpResponseIncomplete)))
            }
            frame => Poll::Ready(frame),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
