//! A client's stream, which updates the connection's progress, and fails if the client does
//! not read.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep_until};

use super::progress::Progress;
use super::settings::{TimeOuts, after};

/// How long the client may take to close its side after the server has closed its own
/// (lingering close). Closing a socket with unread bytes resets the connection, and data in
/// flight to the client may be lost.
const LINGER: Duration = Duration::from_secs(1);

/// A stream whose writes fail if the client reads nothing for the body's time-out, or has
/// not read all pending bytes within the request's time-out.
///
/// Only a complete flush resets the second deadline: otherwise a client that reads a few
/// bytes now and then would hold the connection for ever.
pub(super) struct Client {
    stream: TcpStream,
    progress: Arc<Progress>,
    time_outs: TimeOuts,
    /// The time-out of all pending bytes, from the first write that had to wait to the
    /// flush.
    overdue: Option<Pin<Box<Sleep>>>,
    /// The time-out of the next write, while it waits.
    stalled: Option<Pin<Box<Sleep>>>,
    /// The time-out of the lingering close, once the server has closed its side.
    closing: Option<Pin<Box<Sleep>>>,
}

impl Client {
    /// The stream of a client that has just connected.
    pub(super) fn new(stream: TcpStream, progress: Arc<Progress>, time_outs: TimeOuts) -> Self {
        Self {
            stream,
            progress,
            time_outs,
            overdue: None,
            stalled: None,
            closing: None,
        }
    }

    /// The underlying stream.
    pub(super) fn into_stream(self) -> TcpStream {
        self.stream
    }

    /// The result of a write, or a time-out if it has waited for too long.
    fn limited(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        for (timer, time) in [
            (&mut self.stalled, self.time_outs.body),
            (&mut self.overdue, self.time_outs.request),
        ] {
            let timer = timer.get_or_insert_with(|| Box::pin(sleep_until(after(time))));
            if timer.as_mut().poll(context).is_ready() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
        }
        Poll::Pending
    }

    /// Reads and discards, until the client closes its side.
    fn drain(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            let mut bytes = [0; 4096];
            let mut buffer = ReadBuf::new(&mut bytes);
            match ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => {}
                _ => return Poll::Ready(()),
            }
        }
    }
}

impl AsyncRead for Client {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.progress.received();
        }
        read
    }
}

impl AsyncWrite for Client {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.progress.write();
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.limited(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.progress.write();
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.limited(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// Called when all pending bytes are written.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.overdue = None;
        ready!(Pin::new(&mut self.stream).poll_flush(context))?;
        let stream = &self.stream;
        // If the client has gone, the first bytes of the response cause a reset.
        self.progress
            .flushed(|| !matches!(stream.take_error(), Ok(None)));
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.closing.is_none() {
            ready!(Pin::new(&mut self.stream).poll_shutdown(context))?;
            self.closing = Some(Box::pin(sleep_until(after(LINGER))));
            self.progress.close();
        }
        let closed = match &mut self.closing {
            Some(closing) => closing.as_mut().poll(context),
            None => Poll::Ready(()),
        };
        match closed.is_ready() || self.drain(context).is_ready() {
            true => Poll::Ready(Ok(())),
            false => Poll::Pending,
        }
    }
}
