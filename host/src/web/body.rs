//! Bodies of requests, with limits on their size and time, and bodies of responses, whose
//! truncation the client notices.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::HeaderMap;
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep, sleep_until};
use wasmtime_wasi_http::Error;
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;

use super::failure::Failure;
use super::progress::{Progress, Upload};
use super::settings::after;

/// How much of a body is buffered before the request gets an instance, in bytes.
const FIRST_PART: usize = 64 << 10;

/// Why no frame follows: the failure for the client, and the error for the component.
type Refused = (Failure, Error);

type Polled = Poll<Option<Result<Frame<Bytes>, Error>>>;

/// The body of a request, with a limit on its length and time-outs.
pub(super) struct RequestBody {
    body: Incoming,
    /// Bytes that were buffered and are not read yet.
    gathered: Vec<u8>,
    trailers: Option<HeaderMap>,
    /// The bytes that the limit still allows.
    left: u64,
    patience: Duration,
    deadline: Instant,
    /// The time-out of the next part, while the body waits for it.
    overdue: Option<Pin<Box<Sleep>>>,
    /// Sends the reason when the body fails.
    failed: Option<oneshot::Sender<Failure>>,
    /// Set before the component sees that the body is truncated.
    excused: Arc<AtomicBool>,
    /// `Some` while more of the body is to come.
    upload: Option<Upload>,
}

impl RequestBody {
    /// A body of at most `limit` bytes. Each part must arrive within `patience`, and the
    /// whole body before `deadline`. Otherwise `excused` is set, and then the receiver gets
    /// the failure. `upload` is dropped when the body has arrived or is dropped.
    pub(super) fn new(
        body: Incoming,
        limit: u64,
        patience: Duration,
        deadline: Instant,
        excused: Arc<AtomicBool>,
        upload: Upload,
    ) -> (Self, oneshot::Receiver<Failure>) {
        let (failed, failure) = oneshot::channel();
        let request_body = Self {
            upload: (!body.is_end_stream()).then_some(upload),
            body,
            gathered: Vec::new(),
            trailers: None,
            left: limit,
            patience,
            deadline,
            overdue: None,
            failed: Some(failed),
            excused,
        };
        (request_body, failure)
    }

    /// Waits for the whole body, or for the first [`FIRST_PART`] bytes of a longer one.
    pub(super) async fn gather(&mut self) -> Result<(), Failure> {
        while self.gathered.len() < FIRST_PART {
            let Some(frame) = poll_fn(|context| self.poll_next(context)).await else {
                break;
            };
            match frame.map_err(|(failure, _)| failure)?.into_data() {
                Ok(data) => self.gathered.extend_from_slice(&data),
                Err(frame) => self.trailers = frame.into_trailers().ok(),
            }
        }
        Ok(())
    }

    /// The next frame, or why there is none.
    fn poll_next(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Refused>>> {
        // If the response was complete first, hyper (1.12) does not report the end of a
        // body with a Content-Length until the next request arrives.
        if self.body.is_end_stream() {
            return Poll::Ready(None);
        }
        let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) else {
            let overdue = self.overdue.get_or_insert_with(|| {
                let deadline = after(self.patience).min(self.deadline);
                Box::pin(sleep_until(deadline))
            });
            ready!(overdue.as_mut().poll(context));
            let late = (Failure::Late, Error::ConnectionReadTimeout);
            return Poll::Ready(Some(Err(late)));
        };
        self.overdue = None;
        if !matches!(frame, Some(Ok(_))) || self.body.is_end_stream() {
            self.upload = None;
        }
        Poll::Ready(match frame {
            Some(Ok(frame)) => {
                let length = frame.data_ref().map_or(0, |data| data.len() as u64);
                Some(match self.left.checked_sub(length) {
                    Some(left) => {
                        self.left = left;
                        Ok(frame)
                    }
                    None => Err((Failure::TooLarge, Error::HttpRequestBodySize(None))),
                })
            }
            Some(Err(error)) => Some(Err((Failure::Cut, error.into()))),
            None => None,
        })
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Polled {
        if !self.gathered.is_empty() {
            let data = std::mem::take(&mut self.gathered);
            return Poll::Ready(Some(Ok(Frame::data(data.into()))));
        }
        if let Some(trailers) = self.trailers.take() {
            return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
        }
        let frame = ready!(self.poll_next(context));
        Poll::Ready(frame.map(|frame| {
            frame.map_err(|(failure, error)| {
                self.excused.store(true, Ordering::Release);
                if let Some(failed) = self.failed.take() {
                    // Fails if the response has begun already.
                    let _ = failed.send(failure);
                }
                error
            })
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.gathered.is_empty() && self.trailers.is_none() && self.body.is_end_stream()
    }
}

/// Sets the flag `excused` on drop, unless it was withdrawn. The flag means that the client
/// did not get the whole response, so later failures are not the component's fault.
pub(super) struct Excuse(Option<Arc<AtomicBool>>);

impl Excuse {
    pub(super) fn new(excused: Arc<AtomicBool>) -> Self {
        Self(Some(excused))
    }

    /// Keeps the flag from being set on drop.
    pub(super) fn withdraw(&mut self) {
        self.0 = None;
    }
}

impl Drop for Excuse {
    fn drop(&mut self) {
        if let Some(excused) = &self.0 {
            excused.store(true, Ordering::Release);
        }
    }
}

/// The body of a component's response. If the instance fails, the body ends with an error,
/// so that the client does not take a truncated body for a complete one.
pub(super) struct CheckedBody {
    /// Dropped before the body, so that `excused` is set before the instance finds that it
    /// cannot write any more.
    excuse: Excuse,
    body: HyperOutgoingBody,
    failed: Arc<AtomicBool>,
    /// The bytes that are still to come, if there is a Content-Length.
    left: Option<u64>,
}

impl CheckedBody {
    /// A body of `length` bytes, if that is known. The call sets `failed` before it drops the
    /// instance and so its side of the body; `excuse` is withdrawn once the body is complete.
    pub(super) fn new(
        body: HyperOutgoingBody,
        length: Option<u64>,
        failed: Arc<AtomicBool>,
        excuse: Excuse,
    ) -> Self {
        Self {
            excuse,
            body,
            failed,
            left: length,
        }
    }
}

impl Body for CheckedBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Polled {
        let frame = match ready!(Pin::new(&mut self.body).poll_frame(context)) {
            None if self.failed.load(Ordering::Acquire) => Some(Err(Error::HttpResponseIncomplete)),
            frame => frame,
        };
        let length = match &frame {
            Some(Ok(frame)) => frame.data_ref().map_or(0, |data| data.len() as u64),
            _ => 0,
        };
        self.left = self.left.map(|left| left.saturating_sub(length));
        if self.left == Some(0) || !matches!(frame, Some(Ok(_))) {
            self.excuse.withdraw();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A body for a response of which only the head is sent. Reads and discards what the
/// instance writes, so that the instance does not fail. Withdraws `excuse`, since the client
/// gets the whole response.
pub(super) fn discard(mut body: HyperOutgoingBody, mut excuse: Excuse) -> Unsent {
    excuse.withdraw();
    let size = body.size_hint();
    tokio::spawn(async move { while let Some(Ok(_)) = body.frame().await {} });
    Unsent(size)
}

/// A body that is never read. Its size hint is for the head that hyper writes.
pub(super) struct Unsent(SizeHint);

impl Body for Unsent {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Polled {
        Poll::Ready(None)
    }

    fn size_hint(&self) -> SizeHint {
        self.0
    }
}

/// The body of any response, which reports its end to the connection's progress.
pub(super) struct TrackedBody {
    body: HyperOutgoingBody,
    progress: Arc<Progress>,
}

impl TrackedBody {
    pub(super) fn new(body: HyperOutgoingBody, progress: Arc<Progress>) -> Self {
        Self { body, progress }
    }
}

impl Body for TrackedBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Polled {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for TrackedBody {
    fn drop(&mut self) {
        self.progress.complete();
    }
}
