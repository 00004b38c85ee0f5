//! The hand-over of requests between callers, the queue and the owner's thread.

use shuttle::{future, thread};
use test_threads::disk::{self, Done};
use test_threads::{Options, Sessions, check};

use crate::{assert_closed, durable, is_written, join, open, poll_once, relaxed, set};

/// Requests until one of them is done by its caller, if nothing is wrong: the owner's
/// thread may have the lock for a moment after it has answered.
const ATTEMPTS: usize = 20;

/// Fails unless a caller's request is soon done by the caller, as it is when no other
/// request waits.
fn assert_callers_work(get: impl Fn()) {
    let by_caller = || {
        get();
        disk::with(|disk| {
            let last = disk.done.iter().rfind(|(done, _)| *done != Done::Collect);
            last.is_some_and(|(_, by_caller)| *by_caller)
        })
    };
    assert!(
        (0..ATTEMPTS).any(|_| by_caller()),
        "requests still count as waiting"
    );
}

/// A read that is not answered from memory.
fn read_as_thread(sessions: &Sessions) {
    assert_eq!(sessions.get("missing").wait(), Ok(None));
}

fn read_as_task(sessions: &Sessions) {
    assert_eq!(future::block_on(sessions.get("missing")), Ok(None));
}

#[test]
fn each_request_is_answered_and_done_once() {
    check(|| {
        let sessions = open(relaxed());
        let threads = [0, 1].map(|number| {
            let sessions = sessions.clone();
            thread::spawn(move || {
                for request in 0..2 {
                    let payload = [number, request];
                    assert!(is_written(&sessions.set("thread", payload, None).wait()));
                }
            })
        });
        let tasks = [0, 1].map(|number| {
            let sessions = sessions.clone();
            future::spawn(async move {
                for request in 0..2 {
                    let payload = [number, request];
                    assert!(is_written(&sessions.set("task", payload, None).await));
                }
            })
        });
        join(threads);
        for task in tasks {
            future::block_on(task).unwrap();
        }
        drop(sessions);
        disk::with(|disk| {
            for payload in [[0, 0], [0, 1], [1, 0], [1, 1]] {
                assert_eq!(disk.count(&set("thread", &payload)), 1);
                assert_eq!(disk.count(&set("task", &payload)), 1);
            }
            assert_eq!(disk.count(&Done::Count), 0);
        });
        assert_closed();
    });
}

#[test]
fn no_request_overtakes_one_that_waits() {
    check(|| {
        let sessions = open(durable());
        let mut first = sessions.set("id", "first", None);
        assert!(!poll_once(&mut first));
        let later = [0, 1].map(|number| {
            let sessions = sessions.clone();
            thread::spawn(move || match number {
                0 => assert!(is_written(&sessions.set("id", "later", None).wait())),
                _ => assert!(sessions.count_sessions(None).wait().is_ok()),
            })
        });
        assert!(is_written(&future::block_on(first)));
        join(later);
        disk::with(|disk| {
            let first = disk.place(&set("id", b"first"));
            assert!(first.is_some());
            assert!(first < disk.place(&set("id", b"later")));
            assert!(first < disk.place(&Done::Count));
        });
    });
}

#[test]
fn a_request_that_is_given_up_frees_its_place() {
    check(|| {
        let sessions = open(durable());
        let gives_up = sessions.clone();
        let gives_up = thread::spawn(move || {
            // One more than there are permits.
            let mut answers = [0, 1, 2].map(|number| gives_up.set("given up", [number], None));
            for answer in &mut answers {
                poll_once(answer);
            }
        });
        let kept = sessions.clone();
        let kept = future::spawn(async move {
            for number in 0..2 {
                assert!(is_written(&kept.set("kept", [number], None).await));
            }
        });
        gives_up.join().unwrap();
        future::block_on(kept).unwrap();
        disk::with(|disk| {
            for number in 0..2 {
                assert_eq!(disk.count(&set("kept", &[number])), 1);
                assert!(disk.count(&set("given up", &[number])) <= 1);
            }
        });
        for number in 2..5 {
            let set = sessions.set("kept", [number], None);
            assert!(is_written(&future::block_on(set)));
        }
        assert_callers_work(|| read_as_thread(&sessions));
    });
}

#[test]
fn a_thread_that_waits_needs_no_permit() {
    check(|| {
        let sessions = open(durable());
        // The permits go to answers that this thread does not poll again before its own
        // request is answered.
        let mut tasks = [0, 1, 2, 3].map(|number| sessions.set("task", [number], None));
        for task in &mut tasks {
            poll_once(task);
        }
        assert!(is_written(&sessions.set("thread", "", None).wait()));
        for task in tasks {
            assert!(is_written(&task.wait()));
        }
    });
}

#[test]
fn garbage_is_collected_once_callers_have_done_their_requests() {
    check(|| {
        let sessions = open(relaxed());
        for read in [read_as_thread, read_as_task] {
            read(&sessions);
            disk::wait_until(|disk| {
                let last = |done| disk.done.iter().rposition(|(other, _)| *other == done);
                last(Done::Get("missing".to_owned())) < last(Done::Collect)
            });
        }
    });
}

#[test]
fn callers_work_again_after_a_collection() {
    check(|| {
        let sessions = open(Options {
            gc_frequency: 2,
            ..relaxed()
        });
        let tasks = [0, 1].map(|number| {
            let sessions = sessions.clone();
            future::spawn(async move {
                for request in 0..2 {
                    let payload = [number, request];
                    assert!(is_written(&sessions.set("id", payload, None).await));
                }
            })
        });
        for task in tasks {
            future::block_on(task).unwrap();
        }
        read_as_task(&sessions);
        disk::wait_until(|disk| disk.count(&Done::Collect) > 0);
        assert_callers_work(|| read_as_thread(&sessions));
    });
}

#[test]
fn callers_work_again_after_a_crowd() {
    check(|| {
        let sessions = open(Options {
            gc_frequency: 0,
            ..durable()
        });
        let tasks = [0, 1, 2, 3, 4].map(|number| {
            let sessions = sessions.clone();
            thread::spawn(move || assert!(is_written(&sessions.set("id", [number], None).wait())))
        });
        join(tasks);
        assert_callers_work(|| read_as_task(&sessions));
        assert_callers_work(|| read_as_thread(&sessions));
    });
}
