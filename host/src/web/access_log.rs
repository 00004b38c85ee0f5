//! The access log: one line for each request.

use std::sync::Arc;

use hyper::{Request, StatusCode};
use tokio::time::Instant;

use super::failure::Failure;

/// The length to which a path is cut in the log, in bytes.
const TEXT_IN_LOG: usize = 256;

/// The status in the log if the client went away before the whole response was
/// sent, as in nginx. It is never sent.
const CLIENT_CLOSED: u16 = 499;

/// The method and path of a request, for the log.
pub(super) struct Target {
    method: String,
    path: String,
}

impl Target {
    pub(super) fn of<B>(request: &Request<B>) -> Self {
        let cut = |text: &str| text[..text.floor_char_boundary(TEXT_IN_LOG)].to_owned();
        Self {
            method: cut(request.method().as_str()),
            path: cut(request.uri().path()),
        }
    }

    /// Logs the failure if the component caused it; returns it.
    pub(super) fn logged(&self, failure: Failure) -> Failure {
        if let Some(reason) = failure.reason() {
            let Self { method, path } = self;
            tracing::warn!(%method, path, reason, "the component failed");
        }
        failure
    }
}

/// The log line of one request.
pub(super) struct LogLine {
    target: Arc<Target>,
    started: Instant,
    /// The status of the response, and the milliseconds until it began.
    response: Option<(StatusCode, u64)>,
}

impl LogLine {
    /// The line of a request whose head was just received.
    pub(super) fn new(target: Arc<Target>) -> Self {
        Self {
            target,
            started: Instant::now(),
            response: None,
        }
    }

    /// Records that the response begins.
    pub(super) fn respond(&mut self, status: StatusCode) {
        self.response = Some((status, self.milliseconds()));
    }

    /// Writes the line; `whole` is whether the client got all of the response.
    pub(super) fn log(self, whole: bool) {
        let Target { method, path } = &*self.target;
        let (status, milliseconds) = match self.response {
            Some((status, milliseconds)) if whole => (status.as_u16(), milliseconds),
            _ => (CLIENT_CLOSED, self.milliseconds()),
        };
        tracing::info!(%method, path, status, milliseconds);
    }

    fn milliseconds(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }
}
