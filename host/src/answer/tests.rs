//! Tests of waiting for answers wherever a thread can block, with the real component.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::task::{Context, Wake, Waker};
use std::thread;
use std::time::{Duration, SystemTime};

use tempfile::TempDir;
use tokio::runtime::{Builder as RuntimeBuilder, Runtime};
use tokio::task::{LocalSet, coop};

use crate::tests::{builder, home};
use crate::{Answer, Builder, Durability, Error, Options, Outcome, Sessions};

/// Far more requests in a row than a task's cooperative budget allows.
const MANY: usize = 300;

/// Runs `work` on another thread and returns its result; fails if it takes too
/// long.
fn in_time<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, finished) = mpsc::channel();
    thread::spawn(move || done.send(work()));
    let finished = finished.recv_timeout(Duration::from_secs(600));
    finished.expect("the work does not hang or panic")
}

fn runtimes() -> Vec<Runtime> {
    vec![
        RuntimeBuilder::new_current_thread().build().unwrap(),
        RuntimeBuilder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap(),
        RuntimeBuilder::new_multi_thread()
            .worker_threads(2)
            .build()
            .unwrap(),
    ]
}

/// Opens a store that does not wait for the disk.
fn open(home: &TempDir) -> Sessions {
    let options = Options {
        durability: Durability::Relaxed,
        ..Options::default()
    };
    builder(home).options(options).open().wait().unwrap()
}

/// Makes many requests of all kinds, one after the other, and waits for each.
fn wait_often(sessions: &Sessions) {
    for _ in 0..MANY {
        assert_eq!(sessions.get("missing").wait(), Ok(None));
        assert!(sessions.set("id", "{}", None).wait().is_ok());
        assert!(sessions.get("id").wait().unwrap().is_some());
        assert_eq!(sessions.count_sessions(None).wait(), Ok(1));
        assert_eq!(sessions.collect_all().wait(), Ok(0));
    }
}

#[test]
fn a_task_of_any_runtime_can_wait_often_without_yielding() {
    in_time(|| {
        let home = home();
        let sessions = open(&home);
        for runtime in runtimes() {
            runtime.block_on(async { wait_often(&sessions) });
            let cloned = sessions.clone();
            let spawned = runtime.spawn(async move { wait_often(&cloned) });
            runtime.block_on(spawned).unwrap();
            let cloned = sessions.clone();
            let blocking = runtime.spawn_blocking(move || wait_often(&cloned));
            runtime.block_on(blocking).unwrap();
            let local = LocalSet::new();
            local.block_on(&runtime, async { wait_often(&sessions) });
        }
        pollster::block_on(async { wait_often(&sessions) });
    });
}

#[test]
fn an_executor_nested_in_a_task_gets_answers() {
    in_time(|| {
        let home = home();
        let sessions = open(&home);
        let nested = async {
            pollster::block_on(async {
                for _ in 0..MANY {
                    assert_eq!(sessions.get("missing").await, Ok(None));
                    assert!(sessions.set("id", "{}", None).await.is_ok());
                    assert!(sessions.get("id").await.unwrap().is_some());
                }
                sessions.collect_all().await.unwrap();
                #[cfg(feature = "tower-sessions")]
                for id in 0..MANY as i128 {
                    use tower_sessions_core::{SessionStore, session::Id};
                    assert!(sessions.load(&Id(id)).await.unwrap().is_none());
                }
            });
        };
        runtimes()[0].block_on(nested);
    });
}

#[test]
fn a_destructor_can_wait_inside_of_a_task() {
    struct EndsSession(Sessions);
    impl Drop for EndsSession {
        fn drop(&mut self) {
            assert_eq!(self.0.destroy("missing").wait(), Ok(false));
        }
    }
    in_time(|| {
        let home = home();
        let sessions = builder(&home).open().wait().unwrap();
        runtimes()[0].block_on(async {
            for _ in 0..MANY {
                drop(EndsSession(sessions.clone()));
            }
        });
    });
}

#[test]
fn a_store_is_opened_and_closed_inside_of_a_task_that_has_used_up_its_budget() {
    in_time(|| {
        let home = home();
        runtimes()[0].block_on(async {
            while coop::has_budget_remaining() {
                coop::consume_budget().await;
            }
            for _ in 0..3 {
                let sessions = builder(&home).open().wait().unwrap();
                assert!(sessions.set("id", "{}", None).wait().is_ok());
                drop(sessions);
            }
        });
    });
}

#[test]
fn a_loop_of_reads_from_memory_lets_other_tasks_run() {
    let home = home();
    let sessions = builder(&home).open().wait().unwrap();
    let id = sessions.create("{}").wait().unwrap().id;
    assert!(sessions.get(&id).wait().unwrap().is_some());
    runtimes()[0].block_on(async {
        let other = tokio::spawn(async {});
        for _ in 0..1000 {
            assert!(sessions.get(&id).await.unwrap().is_some());
        }
        assert!(other.is_finished());
    });
}

#[test]
fn a_loop_of_requests_that_a_task_runs_itself_lets_other_tasks_run() {
    let home = home();
    let sessions = open(&home);
    runtimes()[0].block_on(async {
        assert!(is_written(set(&sessions, 0).await));
        let other = tokio::spawn(async {});
        for _ in 0..200 {
            assert_eq!(sessions.get("missing").await, Ok(None));
        }
        assert!(other.is_finished());
        let other = tokio::spawn(async {});
        for _ in 0..200 {
            assert!(is_written(set(&sessions, 0).await));
        }
        assert!(other.is_finished());
    });
}

/// A store whose thread is blocked in its clock.
struct HeldUp {
    sessions: Sessions,
    clock: Arc<Mutex<()>>,
}

impl HeldUp {
    fn open(builder: Builder) -> Self {
        let clock = Arc::new(Mutex::new(()));
        let held_up = clock.clone();
        let builder = builder.clock(move || {
            drop(held_up.lock());
            SystemTime::now()
        });
        let sessions = builder.open().wait().unwrap();
        Self { sessions, clock }
    }

    /// Queues requests, each polled once with its waker, and then unblocks the
    /// store.
    fn queue<T>(&self, requests: Vec<(Answer<T>, &Waker)>) -> Vec<Answer<T>> {
        let _hold = self.clock.lock().unwrap();
        let queued = |(mut answer, waker): (Answer<T>, &Waker)| {
            let mut context = Context::from_waker(waker);
            assert!(Pin::new(&mut answer).poll(&mut context).is_pending());
            answer
        };
        requests.into_iter().map(queued).collect()
    }
}

fn set(sessions: &Sessions, number: usize) -> Answer<Outcome> {
    sessions.set(&number.to_string(), "{}", None)
}

fn is_written(outcome: Result<Outcome, Error>) -> bool {
    matches!(outcome, Ok(Outcome::Written(_)))
}

#[test]
fn a_thread_can_wait_while_its_tasks_wait_for_permits_of_the_queue() {
    in_time(|| {
        let home = home();
        let store = HeldUp::open(builder(&home));
        let sessions = &store.sessions;
        runtimes()[0].block_on(async {
            let requests = (0..3000).map(|number| (set(sessions, number), Waker::noop()));
            let mut answers = store.queue(requests.collect());
            assert_eq!(sessions.get("missing").wait(), Ok(None));
            assert!(is_written(answers.pop().unwrap().wait()));
            for answer in answers {
                assert!(is_written(answer.await));
            }
        });
    });
}

/// A waker that panics, with a payload that panics again when it is dropped.
struct Panics;

impl Wake for Panics {
    fn wake(self: Arc<Self>) {
        struct Thrown;
        impl Drop for Thrown {
            fn drop(&mut self) {
                panic!("what a waker threw, in a test");
            }
        }
        std::panic::panic_any(Thrown);
    }
}

#[test]
fn a_waker_that_panics_does_not_disturb_other_callers() {
    in_time(|| {
        let home = home();
        let store = HeldUp::open(builder(&home));
        let sessions = &store.sessions;
        let panics = Waker::from(Arc::new(Panics));
        let waker = |number: usize| match number % 3 {
            0 => &panics,
            _ => Waker::noop(),
        };

        // Requests in one group, and requests that wait for a permit of the queue.
        for count in [5, 1200] {
            let requests = (0..count).map(|number| (set(sessions, number), waker(number)));
            for answer in store.queue(requests.collect()) {
                assert!(is_written(answer.wait()));
            }
        }
        let others = (0..5).map(|number| (sessions.count_sessions(None), waker(number)));
        for answer in store.queue(others.collect()) {
            assert_eq!(answer.wait(), Ok(1200));
        }
        // Some callers miss their answers.
        let requests = (0..5).map(|number| (set(sessions, number), waker(number)));
        drop(store.queue(requests.collect()));
        assert_eq!(sessions.check().wait(), Ok(vec![]));
    });
}

#[test]
fn a_closing_store_answers_all_callers_whatever_their_wakers_do() {
    in_time(|| {
        let home = home();
        let broken = Arc::new(AtomicBool::new(false));
        let clock = broken.clone();
        let held_up = Arc::new(Mutex::new(()));
        let holding = held_up.clone();
        let breaking = builder(&home).clock(move || {
            drop(holding.lock());
            if clock.load(Ordering::SeqCst) {
                panic!("a clock that panics, in a test");
            }
            SystemTime::now()
        });
        let sessions = breaking.open().wait().unwrap();
        let store = HeldUp {
            sessions,
            clock: held_up,
        };
        let panics = Waker::from(Arc::new(Panics));
        broken.store(true, Ordering::SeqCst);
        let requests = (0..1200).map(|number| (set(&store.sessions, number), &panics));
        for answer in store.queue(requests.collect()) {
            assert_eq!(answer.wait(), Err(Error::Closed));
        }
        builder(&home).open().wait().unwrap();
    });
}

#[test]
fn a_clock_cannot_wait_for_its_own_store() {
    for inside_of_a_runtime in [false, true] {
        in_time(move || {
            let home = home();
            let asked = Arc::new(Mutex::new(None));
            let answered = Arc::new(OnceLock::new());
            let (ask, answer) = (asked.clone(), answered.clone());
            let builder = builder(&home).clock(move || {
                let sessions: Option<Sessions> = ask.lock().unwrap().take();
                if let Some(sessions) = sessions {
                    let _ = answer.set(sessions.get("missing").wait());
                }
                SystemTime::now()
            });
            let sessions = builder.open().wait().unwrap();
            *asked.lock().unwrap() = Some(sessions.clone());
            let runtime = &runtimes()[0];
            let _runtime = inside_of_a_runtime.then(|| runtime.enter());
            assert_eq!(sessions.get("missing").wait(), Ok(None));
            assert!(matches!(answered.get(), Some(Err(Error::Other(_)))));
        });
    }
}
