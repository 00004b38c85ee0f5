//! A client's stream, which updates the connection's progress and fails when the
//! client does not read.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep_until};

use super::progress::Progress;
use super::time_outs::after;

/// How long the client may take to close its side after the server has (lingering
/// close). Closing a socket with unread bytes resets the connection, and then data
/// that was sent to the client may be lost.
const LINGER: Duration = Duration::from_secs(1);

/// A stream whose writes fail once something to be sent has waited too long.
///
/// Only a client that has taken all that waited is given as much time again:
/// one that takes a little now and then would hold the connection for ever.
pub(super) struct Client {
    stream: TcpStream,
    progress: Arc<Progress>,
    patience: Duration,
    /// There while something waits to be sent.
    overdue: Option<Pin<Box<Sleep>>>,
    /// The time-out of the lingering close, once the server has closed its side.
    closing: Option<Pin<Box<Sleep>>>,
}

impl Client {
    /// The stream of a client that may keep the server waiting for `patience`.
    pub(super) fn new(stream: TcpStream, progress: Arc<Progress>, patience: Duration) -> Self {
        Self {
            stream,
            progress,
            patience,
            overdue: None,
            closing: None,
        }
    }

    /// The underlying stream.
    pub(super) fn into_stream(self) -> TcpStream {
        self.stream
    }

    /// What a write has come to: where it waits, that is for so long at most.
    fn waiting(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        self.progress.write();
        if written.is_ready() {
            return written;
        }
        let patience = self.patience;
        let overdue = self
            .overdue
            .get_or_insert_with(|| Box::pin(sleep_until(after(patience))));
        overdue
            .as_mut()
            .poll(context)
            .map(|()| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Reads and discards, until the client closes its side.
    fn drained(&mut self, context: &mut Context<'_>) -> Poll<()> {
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
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.waiting(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.waiting(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// Called when all that waited is written.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.overdue = None;
        ready!(Pin::new(&mut self.stream).poll_flush(context))?;
        let stream = &self.stream;
        // A client that has gone answers the first bytes with a reset.
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
        match closed.is_ready() || self.drained(context).is_ready() {
            true => Poll::Ready(Ok(())),
            false => Poll::Pending,
        }
    }
}
