//! What holds of the host's threads, whatever the order of their steps.

mod closing;
mod hand_over;
mod memory;

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, UNIX_EPOCH};

use shuttle::thread::JoinHandle;
use test_threads::disk::{self, Done};
use test_threads::{Answer, Builder, Durability, Error, Options, Outcome, Sessions};

/// Room for some sessions: a larger cache takes most of a schedule's time to create.
const READ_CACHE: usize = 64 << 10;

/// Options with which each write of a task goes through the queue.
fn durable() -> Options {
    Options::default()
}

/// Options with which tasks do some of their writes themselves.
fn relaxed() -> Options {
    Options {
        durability: Durability::Relaxed,
        ..Options::default()
    }
}

fn builder(options: Options) -> Builder {
    let now = UNIX_EPOCH + Duration::from_millis(disk::NOW);
    let builder = Builder::new(".").options(options).clock(move || now);
    builder.read_cache(READ_CACHE)
}

fn open(options: Options) -> Sessions {
    builder(options).open().wait().unwrap()
}

fn is_written(outcome: &Result<Outcome, Error>) -> bool {
    matches!(outcome, Ok(Outcome::Written(_)))
}

/// Polls an answer once, with a waker that does nothing; whether it is there.
fn poll_once<T>(answer: &mut Answer<T>) -> bool {
    let mut context = Context::from_waker(Waker::noop());
    matches!(Pin::new(answer).poll(&mut context), Poll::Ready(_))
}

fn set(id: &str, payload: &[u8]) -> Done {
    Done::Set(id.to_owned(), payload.to_vec())
}

/// Waits until the threads are done; fails if one of them failed.
fn join(threads: impl IntoIterator<Item = JoinHandle<()>>) {
    for thread in threads {
        thread.join().unwrap();
    }
}

/// Fails unless the store is closed: once and in order.
fn assert_closed() {
    disk::with(|disk| assert_eq!((disk.open, disk.closed, disk.locked), (0, 1, false)));
}
