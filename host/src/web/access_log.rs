//! The access log: a line for each request, and what it says of the target.

use std::sync::Arc;

use hyper::{Method, Request, StatusCode};
use tokio::time::Instant;

use super::failure::Failure;

/// Longest part of a path in the log, in bytes.
const PATH_IN_LOG: usize = 256;

/// The status in the log for a client that went away before all of its response
/// was sent. No client is sent it; other servers' logs have it, too.
const CLIENT_CLOSED: u16 = 499;

/// What a request asks for, as the log names it.
pub(super) struct Target {
    method: Method,
    path: String,
}

impl Target {
    pub(super) fn of<B>(request: &Request<B>) -> Self {
        let mut path = request.uri().path().to_owned();
        path.truncate(path.floor_char_boundary(PATH_IN_LOG));
        Self {
            method: request.method().clone(),
            path,
        }
    }

    /// The failure, after it was logged where the component is to blame.
    pub(super) fn logged(&self, failure: Failure) -> Failure {
        if let Some(reason) = failure.reason() {
            let Self { method, path } = self;
            tracing::warn!(%method, path, reason, "the component failed");
        }
        failure
    }
}

/// The line of one request.
pub(super) struct Line {
    target: Arc<Target>,
    started: Instant,
    /// The status of the response, and milliseconds until it began.
    response: Option<(StatusCode, u64)>,
}

impl Line {
    /// The line of a request whose head was just received.
    pub(super) fn new(target: Arc<Target>) -> Self {
        Self {
            target,
            started: Instant::now(),
            response: None,
        }
    }

    /// The response begins.
    pub(super) fn respond(&mut self, status: StatusCode) {
        self.response = Some((status, self.milliseconds()));
    }

    /// Writes the line; `whole` says whether the client was there to the end.
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
