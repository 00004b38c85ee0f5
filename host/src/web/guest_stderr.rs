//! The standard error of instances, which is logged line by line.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use hyper::body::Bytes;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

/// The length to which a line is cut in the log, in bytes.
const LINE: usize = 1 << 10;

/// The maximum number of lines of one request in the log.
const LINES: usize = 100;

/// The maximum size of one write, in bytes.
const WRITE: usize = 64 << 10;

/// The standard error of one instance; clones share it.
#[derive(Clone, Default)]
pub(super) struct GuestStderr(Arc<Mutex<Unfinished>>);

/// The line that is not complete yet.
#[derive(Default)]
struct Unfinished {
    line: Vec<u8>,
    lines: usize,
    /// Whether the client has gone or has sent an incomplete request.
    excused: Arc<AtomicBool>,
}

impl GuestStderr {
    /// Begins a request, whose lines are logged as warnings until `excused` is set.
    pub(super) fn begin(&self, excused: Arc<AtomicBool>) {
        let mut unfinished = self.unfinished();
        unfinished.lines = 0;
        unfinished.excused = excused;
    }

    /// Ends a request; logs its last line even if that has no line break.
    pub(super) fn end(&self) {
        self.unfinished().end();
    }

    fn unfinished(&self) -> MutexGuard<'_, Unfinished> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, bytes: &[u8]) {
        let mut unfinished = self.unfinished();
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            unfinished.add(part);
        }
    }
}

impl Unfinished {
    /// Adds text, which has no line break except at its end.
    fn add(&mut self, part: &[u8]) {
        let text = part.strip_suffix(b"\n").unwrap_or(part);
        let room = LINE - self.line.len();
        self.line.extend_from_slice(&text[..text.len().min(room)]);
        if text.len() < part.len() {
            self.log();
        }
    }

    /// Logs a line without a line break.
    fn end(&mut self) {
        if !self.line.is_empty() {
            self.log();
        }
    }

    fn log(&mut self) {
        let line = std::mem::take(&mut self.line);
        self.lines += 1;
        if self.excused.load(Ordering::Acquire) {
            if self.lines <= LINES {
                let line = String::from_utf8_lossy(&line);
                tracing::debug!(
                    line = line.trim_end(),
                    "the component says, without a client"
                );
            }
            return;
        }
        match self.lines.cmp(&LINES) {
            std::cmp::Ordering::Less => {
                let line = String::from_utf8_lossy(&line);
                tracing::warn!(line = line.trim_end(), "the component says");
            }
            std::cmp::Ordering::Equal => tracing::warn!("the component says more"),
            std::cmp::Ordering::Greater => {}
        }
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        self.end();
    }
}

impl IsTerminal for GuestStderr {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for GuestStderr {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

impl OutputStream for GuestStderr {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.add(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE)
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for GuestStderr {
    async fn ready(&mut self) {}
}

impl AsyncWrite for GuestStderr {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.add(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
