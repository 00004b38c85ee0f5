//! What one connection is doing: for its time-outs, for the access log, and for
//! the choice of connections that give way to new ones.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::StatusCode;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::access_log::Line;
use super::time_outs::{TimeOuts, after};

/// What one connection is doing; shared by its task, its stream, the requests on
/// it, and the server's list of connections.
pub(super) struct Progress {
    state: Mutex<State>,
    /// Asks the connection's task to close it.
    give_way: Notify,
    /// Wakes the server, which may wait for a connection that can give way.
    waits: Arc<Notify>,
}

struct State {
    phase: Phase,
    since: Instant,
    /// Whether bytes of a response are still to be written.
    unsent: bool,
    /// Whether it was asked to give way.
    chosen: bool,
    /// The request whose response is not sent yet.
    line: Option<Line>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    /// Nothing was received since the connection was accepted.
    Fresh,
    /// The last response is sent, and nothing was received since.
    Idle,
    /// The last response is sent, and the client is yet to close its side.
    Closing,
    /// A part of a head was received.
    Head,
    /// A request was received, and its response is not complete.
    Request,
    /// The response is complete, and not all of it is written.
    Sending,
}

impl Progress {
    /// A connection that was just accepted; `waits` is notified when it becomes
    /// one that can give way.
    pub(super) fn new(waits: Arc<Notify>) -> Self {
        Self {
            state: Mutex::new(State {
                phase: Phase::Fresh,
                since: Instant::now(),
                unsent: false,
                chosen: false,
                line: None,
            }),
            give_way: Notify::new(),
            waits,
        }
    }

    /// Bytes were received.
    pub(super) fn received(&self) {
        let mut state = self.state();
        if matches!(state.phase, Phase::Fresh | Phase::Idle) {
            state.enter(Phase::Head);
        }
    }

    /// The head of a request is complete.
    pub(super) fn begin(&self, line: Line) {
        let mut state = self.state();
        state.enter(Phase::Request);
        state.line = Some(line);
    }

    /// The response to the request begins.
    pub(super) fn respond(&self, status: StatusCode) {
        if let Some(line) = &mut self.state().line {
            line.respond(status);
        }
    }

    /// All of the response was given to the connection.
    pub(super) fn complete(&self) {
        let mut state = self.state();
        if state.phase == Phase::Request {
            state.enter(Phase::Sending);
        }
    }

    /// Bytes are to be written.
    pub(super) fn write(&self) {
        self.state().unsent = true;
    }

    /// All bytes so far are written. `failed` says whether the client turned out
    /// to be gone; it is called at the end of a response only.
    pub(super) fn flushed(&self, failed: impl FnOnce() -> bool) {
        let mut state = self.state();
        state.unsent = false;
        if state.phase != Phase::Sending {
            return;
        }
        state.enter(Phase::Idle);
        let line = state.line.take();
        drop(state);
        if let Some(line) = line {
            line.log(!failed());
        }
        self.waits.notify_one();
    }

    /// Nothing more will be sent.
    pub(super) fn close(&self) {
        self.state().enter(Phase::Closing);
        self.waits.notify_one();
    }

    /// The connection has ended, after all of a response was sent or
    /// because the component `failed` in the middle of one, or for want of the
    /// client.
    pub(super) fn end(&self, failed: bool) {
        let line = self.state().line.take();
        if let Some(line) = line {
            line.log(failed);
        }
    }

    /// Whether there is no request in progress, and nothing to be written.
    pub(super) fn is_waiting(&self) -> bool {
        self.state().is_waiting()
    }

    /// Whether a part of a head was received, and nothing is to be written.
    pub(super) fn is_in_head(&self) -> bool {
        let state = self.state();
        state.phase == Phase::Head && !state.unsent
    }

    /// Done when the client has kept the connection waiting for too long.
    pub(super) async fn overdue(&self, time_outs: &TimeOuts) {
        // No phase that begins later is overdue before this time has passed.
        let shortest = time_outs.head.min(time_outs.idle);
        loop {
            let next = after(shortest);
            let wake = match self.deadline(time_outs) {
                Some(deadline) if deadline <= Instant::now() => return,
                Some(deadline) => deadline.min(next),
                None => next,
            };
            // A time-out of zero would never let go of the thread.
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

    /// Done when the connection is to be closed, since its place is needed.
    pub(super) async fn gives_way(&self) {
        loop {
            self.give_way.notified().await;
            let mut state = self.state();
            if state.is_waiting() {
                return;
            }
            // A request came just before.
            state.chosen = false;
            drop(state);
            self.waits.notify_one();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.since = Instant::now();
    }

    fn is_waiting(&self) -> bool {
        self.phase <= Phase::Head && !self.unsent
    }
}

/// How long a connection counts as recently used.
const RECENTLY: Duration = Duration::from_secs(1);

/// Asks one of these connections to give way: the one that has been idle for the
/// longest time, else the one whose head has been incomplete for the longest
/// time; but those that were used within the last second last of all. None where
/// one was asked already, or where all have requests.
pub(super) fn give_way<'a>(connections: impl Iterator<Item = &'a Arc<Progress>>) {
    let now = Instant::now();
    let mut first: Option<((bool, bool, Instant), &Progress)> = None;
    for connection in connections {
        let state = connection.state();
        if state.chosen {
            return;
        }
        let is_recent = now.saturating_duration_since(state.since) < RECENTLY;
        let rank = (is_recent, state.phase == Phase::Head, state.since);
        if state.is_waiting() && first.is_none_or(|(other, _)| rank < other) {
            first = Some((rank, connection));
        }
    }
    if let Some((_, connection)) = first {
        connection.state().chosen = true;
        connection.give_way.notify_one();
    }
}
