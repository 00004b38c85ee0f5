//! The progress of one connection. It decides the connection's time-outs, its lines in the
//! access log, and whether it can give way to a new connection.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::StatusCode;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::access_log::LogLine;
use super::settings::{TimeOuts, after};

/// The progress of one connection; shared by its task, its stream, the requests on
/// it, and the server's list of connections.
pub(super) struct Progress {
    state: Mutex<ConnectionState>,
    /// Asks the connection's task to close it.
    give_way: Notify,
    /// Notifies the server, which may wait for a connection that can give way.
    waits: Arc<Notify>,
}

struct ConnectionState {
    phase: Phase,
    since: Instant,
    /// Whether bytes of a response are still to be written.
    unsent: bool,
    /// When the last write began. A client cannot have read a response before that, so idle
    /// times counted from it order connections as their clients see them.
    written: Instant,
    /// Whether the connection was asked to give way.
    chosen: bool,
    /// The log line of the request whose response is not sent yet.
    line: Option<LogLine>,
    /// The number of requests so far.
    requests: u64,
    /// The number of the request whose body is still to come.
    upload: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    /// Nothing was received since the connection was accepted.
    Fresh,
    /// The last response is sent, and nothing was received since.
    Idle,
    /// The server has closed its side, and the client has not closed its own.
    Closing,
    /// A part of a head was received.
    Head,
    /// A head was received. The request may take an instance once its body, or the first
    /// 64 KiB of it, has arrived.
    Body,
    /// A request was received, and its response is not complete yet.
    Request,
    /// The response is complete, but not all of it is written.
    Sending,
    /// The response is sent, and the instance still reads the request's body.
    Upload,
}

impl Progress {
    /// A connection that was just accepted. `waits` is notified when it can give way.
    pub(super) fn new(waits: Arc<Notify>) -> Self {
        Self {
            state: Mutex::new(ConnectionState {
                phase: Phase::Fresh,
                since: Instant::now(),
                unsent: false,
                written: Instant::now(),
                chosen: false,
                line: None,
                requests: 0,
                upload: None,
            }),
            give_way: Notify::new(),
            waits,
        }
    }

    /// Records that bytes were received.
    pub(super) fn received(&self) {
        let mut state = self.state();
        match state.phase {
            Phase::Fresh | Phase::Idle => state.enter(Phase::Head),
            Phase::Body => state.since = Instant::now(),
            _ => {}
        }
    }

    /// Records that the head of a request is complete.
    pub(super) fn begin(&self, line: LogLine) {
        let mut state = self.state();
        state.enter(Phase::Body);
        state.line = Some(line);
        state.requests += 1;
        state.upload = None;
    }

    /// Records that a body follows, until the returned guard is dropped. Until then the
    /// connection is not idle, even if the response was sent.
    pub(super) fn upload(self: &Arc<Self>) -> Upload {
        let mut state = self.state();
        state.upload = Some(state.requests);
        Upload {
            request: state.requests,
            progress: self.clone(),
        }
    }

    fn uploaded(&self, request: u64) {
        let mut state = self.state();
        // The next request may have begun already.
        if state.upload != Some(request) {
            return;
        }
        state.upload = None;
        if state.phase == Phase::Upload {
            state.enter(Phase::Idle);
            self.waits.notify_one();
        }
    }

    /// Records that enough of the body was received for an instance.
    pub(super) fn has_body(&self) {
        let mut state = self.state();
        if state.phase == Phase::Body {
            state.enter(Phase::Request);
        }
    }

    /// Records that the response to the request begins.
    pub(super) fn respond(&self, status: StatusCode) {
        if let Some(line) = &mut self.state().line {
            line.respond(status);
        }
    }

    /// Records that the whole response was given to the connection.
    pub(super) fn complete(&self) {
        let mut state = self.state();
        if matches!(state.phase, Phase::Body | Phase::Request) {
            state.enter(Phase::Sending);
        }
    }

    /// Records that bytes are about to be written.
    pub(super) fn write(&self) {
        let mut state = self.state();
        state.unsent = true;
        state.written = Instant::now();
    }

    /// Records that all bytes so far are written. If that ends a response, logs it, as cut if
    /// `is_client_gone`, which is called only in this case.
    pub(super) fn flushed(&self, is_client_gone: impl FnOnce() -> bool) {
        let mut state = self.state();
        state.unsent = false;
        if state.phase != Phase::Sending {
            return;
        }
        let next = match state.upload {
            Some(_) => Phase::Upload,
            None => Phase::Idle,
        };
        state.phase = next;
        state.since = state.written;
        let line = state.line.take();
        drop(state);
        if let Some(line) = line {
            line.log(!is_client_gone());
        }
        self.waits.notify_one();
    }

    /// Records that nothing more will be sent.
    pub(super) fn close(&self) {
        self.state().enter(Phase::Closing);
        self.waits.notify_one();
    }

    /// Records that the connection has ended. If a response is unfinished, its log line has
    /// the status that was sent if `component_failed`; otherwise 499, because the client went
    /// away.
    pub(super) fn end(&self, component_failed: bool) {
        let line = self.state().line.take();
        if let Some(line) = line {
            line.log(component_failed);
        }
    }

    /// Whether no request is in progress, and there are no bytes to write.
    pub(super) fn is_waiting(&self) -> bool {
        self.state().is_waiting()
    }

    /// Whether a part of a head was received, and there are no bytes to write.
    pub(super) fn is_in_head(&self) -> bool {
        let state = self.state();
        state.phase == Phase::Head && !state.unsent
    }

    /// Completes when the client has exceeded a time-out.
    pub(super) async fn overdue(&self, time_outs: &TimeOuts) {
        // A phase that begins later cannot be overdue before this time has passed.
        let shortest = time_outs.head.min(time_outs.idle);
        loop {
            let next = after(shortest);
            let wake = match self.deadline(time_outs) {
                Some(deadline) if deadline <= Instant::now() => return,
                Some(deadline) => deadline.min(next),
                None => next,
            };
            // At least a millisecond: a shorter time-out would never yield.
            sleep_until(wake.max(after(Duration::from_millis(1)))).await;
        }
    }

    fn deadline(&self, time_outs: &TimeOuts) -> Option<Instant> {
        let state = self.state();
        if !state.is_waiting() {
            return None;
        }
        let time = match state.phase {
            Phase::Idle => time_outs.idle,
            _ => time_outs.head,
        };
        state.since.checked_add(time)
    }

    /// Completes when the connection has to give way to a new one.
    pub(super) async fn gives_way(&self) {
        loop {
            self.give_way.notified().await;
            let mut state = self.state();
            if state.can_give_way() {
                return;
            }
            // A request arrived in the meantime.
            state.chosen = false;
            drop(state);
            self.waits.notify_one();
        }
    }

    fn state(&self) -> MutexGuard<'_, ConnectionState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ConnectionState {
    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.since = Instant::now();
    }

    fn is_waiting(&self) -> bool {
        self.phase <= Phase::Head && !self.unsent
    }

    fn can_give_way(&self) -> bool {
        self.phase <= Phase::Body && !self.unsent
    }
}

/// A guard that exists while the body of a request is still to come.
pub(super) struct Upload {
    progress: Arc<Progress>,
    request: u64,
}

impl Drop for Upload {
    fn drop(&mut self) {
        self.progress.uploaded(self.request);
    }
}

/// How long a connection counts as recently used.
const RECENTLY: Duration = Duration::from_millis(250);

/// How long a connection counts as recently used after a part of a body.
const BODY_RECENTLY: Duration = Duration::from_secs(1);

/// Asks one of these connections to give way: the one that has been idle for the longest
/// time, else the one whose head, or else whose body, has been incomplete for the longest
/// time. Does nothing if one was asked already, or if all have requests in progress or were
/// used so recently that more of their clients' bytes may be in flight.
pub(super) fn give_way<'a>(connections: impl Iterator<Item = &'a Arc<Progress>>) {
    let now = Instant::now();
    let mut first: Option<((Phase, Instant), &Progress)> = None;
    for connection in connections {
        let state = connection.state();
        if state.chosen {
            return;
        }
        let recently = match state.phase {
            Phase::Body => BODY_RECENTLY,
            _ => RECENTLY,
        };
        let is_recent = now.saturating_duration_since(state.since) < recently;
        // Fresh, idle and closing connections rank the same, before `Head` and then `Body`.
        let rank = (state.phase.max(Phase::Closing), state.since);
        let is_first = first.is_none_or(|(other, _)| rank < other);
        if state.can_give_way() && !is_recent && is_first {
            first = Some((rank, connection));
        }
    }
    if let Some((_, connection)) = first {
        connection.state().chosen = true;
        connection.give_way.notify_one();
    }
}
