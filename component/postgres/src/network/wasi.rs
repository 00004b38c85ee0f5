//! WASI's sockets.
//!
//! A future that returns `Pending` adds the pollable that it waits for to a list.
//! [`block_on`] waits for the whole list in one call of the host. Calls of the host are most
//! of the time that a request takes here, so none is made whose answer is known.

use super::Elapsed;
use std::cell::{Cell, RefCell};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, Wake, Waker, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use wasip2::clocks::monotonic_clock::{Instant, now, subscribe_duration, subscribe_instant};
use wasip2::io::poll::{Pollable, poll};
use wasip2::io::streams::{InputStream, OutputStream, StreamError};
use wasip2::sockets::instance_network::instance_network;
use wasip2::sockets::ip_name_lookup::resolve_addresses;
use wasip2::sockets::network::{
    ErrorCode, IpAddress, IpAddressFamily, IpSocketAddress, Ipv4SocketAddress, Ipv6SocketAddress,
};
use wasip2::sockets::tcp::TcpSocket;
use wasip2::sockets::tcp_create_socket::create_tcp_socket;

/// The most bytes of one read, and the size of the write buffer.
const CHUNK: usize = 65_536;

thread_local! {
    /// The pollables that the polled future waits for.
    static WANTED: RefCell<Vec<Rc<Pollable>>> = const { RefCell::new(Vec::new()) };

    /// The timer of an earlier call, kept for later ones, and when it ends.
    static TIMER: RefCell<Option<(Instant, Rc<Pollable>)>> = const { RefCell::new(None) };

    /// Changes whenever something may have arrived: when a call begins, has waited, or ends.
    static MOMENT: Cell<u64> = const { Cell::new(0) };
}

fn wait_for<T>(pollable: &Rc<Pollable>) -> Poll<T> {
    WANTED.with_borrow_mut(|wanted| {
        if !wanted.iter().any(|other| Rc::ptr_eq(other, pollable)) {
            wanted.push(pollable.clone());
        }
    });
    Poll::Pending
}

fn next_moment() {
    MOMENT.set(MOMENT.get() + 1);
}

/// A timer that ends after `begin` and not after `end`, and when it ends.
fn timer_within(begin: Instant, end: Instant) -> (Instant, Rc<Pollable>) {
    TIMER.with_borrow_mut(|kept| match kept {
        Some((time, timer)) if begin < *time && *time <= end => (*time, timer.clone()),
        _ => kept.insert((end, Rc::new(subscribe_instant(end)))).clone(),
    })
}

/// A waker that records whether one part of the future has woken another.
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Relaxed);
    }
}

/// Polls the future until it is done, for `limit` at most.
pub fn block_on<F: Future>(limit: Duration, future: F) -> Result<F::Output, Elapsed> {
    let woken = Arc::new(Woken(AtomicBool::new(false)));
    let waker = Waker::from(woken.clone());
    let mut context = Context::from_waker(&waker);
    let begin = now();
    let end = begin.saturating_add(nanoseconds(limit));
    let mut future = pin!(future);
    next_moment();
    let done = loop {
        WANTED.with_borrow_mut(Vec::clear);
        if let Poll::Ready(done) = future.as_mut().poll(&mut context) {
            break Ok(done);
        }
        if woken.0.swap(false, Relaxed) {
            continue;
        }
        let wanted = WANTED.take();
        let (time, timer) = timer_within(begin, end);
        let pollables: Vec<&Pollable> = wanted.iter().chain([&timer]).map(|one| &**one).collect();
        if poll(&pollables) == [wanted.len() as u32] {
            if time == end {
                break Err(Elapsed);
            }
            TIMER.take();
        }
        next_moment();
    };
    next_moment();
    done
}

fn nanoseconds(time: Duration) -> u64 {
    time.as_nanos().try_into().unwrap_or(u64::MAX)
}

/// Releases what the polled future waits for. Needed before a part of it is dropped that is
/// not done: WASI refuses to drop a socket before what waits for it.
pub fn release() {
    WANTED.with_borrow_mut(Vec::clear);
}

/// Waits.
pub async fn sleep(time: Duration) {
    let timer = Rc::new(subscribe_duration(nanoseconds(time)));
    std::future::poll_fn(|_| match timer.ready() {
        true => Poll::Ready(()),
        false => wait_for(&timer),
    })
    .await;
}

/// Calls `attempt` until it does not return `WouldBlock`, waiting in between.
async fn when_ready<T>(
    pollable: &Rc<Pollable>,
    mut attempt: impl FnMut() -> Result<T, ErrorCode>,
) -> io::Result<T> {
    std::future::poll_fn(|_| match attempt() {
        Err(ErrorCode::WouldBlock) => wait_for(pollable),
        done => Poll::Ready(done.map_err(error)),
    })
    .await
}

/// The addresses of a host.
pub async fn resolve(name: &str) -> io::Result<Vec<IpAddr>> {
    let found = resolve_addresses(&instance_network(), name).map_err(error)?;
    let pollable = Rc::new(found.subscribe());
    let mut addresses = vec![];
    while let Some(address) = when_ready(&pollable, || found.resolve_next_address()).await? {
        addresses.push(match address {
            IpAddress::Ipv4((a, b, c, d)) => [a, b, c, d].into(),
            IpAddress::Ipv6((a, b, c, d, e, f, g, h)) => [a, b, c, d, e, f, g, h].into(),
        });
    }
    Ok(addresses)
}

/// Connects to an address.
pub async fn connect(address: SocketAddr) -> io::Result<Stream> {
    let (family, address) = match address {
        SocketAddr::V4(v4) => {
            let [a, b, c, d] = v4.ip().octets();
            let address = Ipv4SocketAddress {
                port: v4.port(),
                address: (a, b, c, d),
            };
            (IpAddressFamily::Ipv4, IpSocketAddress::Ipv4(address))
        }
        SocketAddr::V6(v6) => {
            let [a, b, c, d, e, f, g, h] = v6.ip().segments();
            let address = Ipv6SocketAddress {
                port: v6.port(),
                flow_info: v6.flowinfo(),
                address: (a, b, c, d, e, f, g, h),
                scope_id: v6.scope_id(),
            };
            (IpAddressFamily::Ipv6, IpSocketAddress::Ipv6(address))
        }
    };
    let socket = create_tcp_socket(family).map_err(error)?;
    socket
        .start_connect(&instance_network(), address)
        .map_err(error)?;
    let connected = Rc::new(socket.subscribe());
    let (input, output) = when_ready(&connected, || socket.finish_connect()).await?;
    Ok(Stream {
        readable: Rc::new(input.subscribe()),
        writable: Rc::new(output.subscribe()),
        input,
        emptied: None,
        output,
        unwritten: vec![],
        _socket: socket,
    })
}

/// A TCP connection. The order of the fields matters: WASI requires that pollables are
/// dropped before their streams, and streams before their socket.
pub struct Stream {
    readable: Rc<Pollable>,
    writable: Rc<Pollable>,
    input: InputStream,
    /// The moment at which a read returned less than it could: nothing was left.
    emptied: Option<u64>,
    output: OutputStream,
    /// The write buffer, written out by a flush. WASI cannot turn off Nagle's algorithm,
    /// which would delay the second of two small writes.
    unwritten: Vec<u8>,
    _socket: TcpSocket,
}

impl Stream {
    fn poll_write_out(&mut self) -> Poll<io::Result<()>> {
        let mut written = 0;
        let done = loop {
            let left = &self.unwritten[written..];
            if left.is_empty() {
                break Poll::Ready(Ok(()));
            }
            let room = match self.output.check_write() {
                Ok(0) => break wait_for(&self.writable),
                Ok(room) => room as usize,
                Err(failure) => break Poll::Ready(Err(closed(failure))),
            };
            let part = &left[..room.min(left.len())];
            if let Err(failure) = self.output.write(part) {
                break Poll::Ready(Err(closed(failure)));
            }
            written += part.len();
        };
        self.unwritten.drain(..written);
        done
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let moment = Some(MOMENT.get());
        if self.emptied == moment {
            return wait_for(&self.readable);
        }
        let most = buffer.remaining().min(CHUNK);
        match self.input.read(most as u64) {
            Ok(bytes) => {
                if bytes.len() < most {
                    self.emptied = moment;
                }
                if bytes.is_empty() {
                    return wait_for(&self.readable);
                }
                buffer.put_slice(&bytes);
                Poll::Ready(Ok(()))
            }
            Err(StreamError::Closed) => Poll::Ready(Ok(())),
            Err(failure) => Poll::Ready(Err(closed(failure))),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.unwritten.len() >= CHUNK {
            ready!(self.poll_write_out())?;
        }
        let taken = &bytes[..bytes.len().min(CHUNK)];
        self.unwritten.extend_from_slice(taken);
        Poll::Ready(Ok(taken.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_write_out()
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_write_out()
    }
}

/// Converts the error of a stream. WASI gives its cause only as a text for debugging.
fn closed(failure: StreamError) -> io::Error {
    match failure {
        StreamError::Closed => io::ErrorKind::ConnectionReset.into(),
        StreamError::LastOperationFailed(why) => {
            io::Error::new(io::ErrorKind::ConnectionReset, why.to_debug_string())
        }
    }
}

fn error(code: ErrorCode) -> io::Error {
    let kind = match code {
        ErrorCode::AccessDenied => io::ErrorKind::PermissionDenied,
        ErrorCode::ConnectionRefused => io::ErrorKind::ConnectionRefused,
        ErrorCode::ConnectionReset => io::ErrorKind::ConnectionReset,
        ErrorCode::ConnectionAborted => io::ErrorKind::ConnectionAborted,
        ErrorCode::RemoteUnreachable => io::ErrorKind::HostUnreachable,
        ErrorCode::NameUnresolvable | ErrorCode::PermanentResolverFailure => {
            io::ErrorKind::NotFound
        }
        ErrorCode::Timeout => io::ErrorKind::TimedOut,
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, code.message())
}
