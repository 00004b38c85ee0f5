//! How a store is closed: by its last handle, by a panic, after a trap.

use std::future::Future;
use std::panic::resume_unwind;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake};

use shuttle::{future, thread};
use test_threads::disk;
use test_threads::{Answer, Error, Outcome, Sessions, check};

use crate::{assert_closed, builder, durable, is_written, join, open, poll_once, relaxed, set};

#[test]
fn the_last_handle_closes_the_store_when_all_is_done() {
    check(|| {
        let sessions = open(durable());
        let threads = [0, 1, 2].map(|number| {
            let sessions = sessions.clone();
            thread::spawn(move || match number {
                0 => assert!(is_written(&sessions.set("id", [0], None).wait())),
                1 => assert!(is_written(&future::block_on(sessions.set("id", [1], None)))),
                _ => {
                    // It is in the queue: two permits are enough for both tasks.
                    let mut answer = sessions.set("id", [2], None);
                    poll_once(&mut answer);
                }
            })
        });
        drop(sessions);
        join(threads);
        assert_closed();
        disk::with(|disk| {
            for number in 0..3 {
                assert_eq!(disk.count(&set("id", &[number])), 1);
            }
        });
        // The directory is free.
        open(durable());
    });
}

#[test]
fn a_store_whose_opening_is_given_up_is_closed() {
    check(|| {
        poll_once(&mut builder(durable()).open());
        disk::wait_until(|disk| disk.closed == 1 && !disk.locked);
        open(durable());
    });
}

/// A waker that holds the last handle and its own answer until it is called.
#[derive(Default)]
struct Holds {
    held: Mutex<Option<(Sessions, Answer<Outcome>)>>,
    is_woken: AtomicBool,
}

impl Wake for Holds {
    fn wake(self: Arc<Self>) {
        self.is_woken.store(true, Ordering::SeqCst);
        let held = self.held.lock().unwrap().take();
        drop(held);
    }
}

#[test]
fn a_waker_can_drop_the_last_handle() {
    check(|| {
        let sessions = open(durable());
        let mut answer = sessions.set("id", "", None);
        let holds = Arc::new(Holds::default());
        let waker = holds.clone().into();
        let polled = Pin::new(&mut answer).poll(&mut Context::from_waker(&waker));
        assert!(polled.is_pending());
        let held = Some((sessions, answer));
        let is_late = {
            let mut holds_now = holds.held.lock().unwrap();
            *holds_now = held;
            holds.is_woken.load(Ordering::SeqCst)
        };
        if is_late {
            holds.wake();
        }
        disk::wait_until(|disk| disk.closed == 1 && !disk.locked);
        disk::with(|disk| assert_eq!(disk.count(&set("id", b"")), 1));
    });
}

#[test]
fn a_panic_closes_the_store_and_each_caller_is_answered() {
    check(|| {
        let broken = builder(relaxed()).random(|_| resume_unwind(Box::new("broken")));
        let sessions = broken.open().wait().unwrap();
        let threads = [0, 1, 2, 3].map(|number| {
            let sessions = sessions.clone();
            thread::spawn(move || match number {
                0 => assert_eq!(sessions.create("").wait(), Err(Error::Closed)),
                1 => assert_eq!(future::block_on(sessions.create("")), Err(Error::Closed)),
                2 => {
                    let written = sessions.set("id", [0], None).wait();
                    assert!(is_written(&written) || written == Err(Error::Closed));
                }
                _ => {
                    let written = future::block_on(sessions.set("id", [1], None));
                    assert!(is_written(&written) || written == Err(Error::Closed));
                }
            })
        });
        join(threads);
        disk::wait_until(|disk| !disk.locked);
        assert_eq!(sessions.get("id").wait(), Err(Error::Closed));
        assert_eq!(future::block_on(sessions.get("id")), Err(Error::Closed));
        // Another owner can have the directory while there are still handles.
        let another = open(relaxed());
        drop(sessions);
        assert!(another.get("id").wait().is_ok());
    });
}

#[test]
fn a_trap_fails_requests_and_the_store_goes_on() {
    check(|| {
        let sessions = open(relaxed());
        disk::with(|disk| disk.calls_until_trap = Some(1));
        let threads = [0, 1, 2].map(|number| {
            let sessions = sessions.clone();
            thread::spawn(move || {
                let answer = sessions.set("id", [number], None);
                let answer = match number {
                    0 => answer.wait(),
                    _ => future::block_on(answer),
                };
                assert!(is_written(&answer) || answer == Err(Error::Crashed));
                is_written(&answer)
            })
        });
        let written = threads.map(|thread| thread.join().unwrap());
        disk::with(|disk| {
            for (number, written) in written.into_iter().enumerate() {
                let count = disk.count(&set("id", &[number as u8]));
                assert!(count == 1 || count == 0 && !written);
            }
        });
        disk::with(|disk| disk.calls_until_trap = None);
        assert!(is_written(&sessions.set("id", "after", None).wait()));
        drop(sessions);
        assert_closed();
    });
}
