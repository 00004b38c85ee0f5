//! Tests of handles and answers on any thread and runtime, many at once, and dropped at any
//! moment.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::thread;

use tokio::task::JoinSet;
use wasi_sessions::{
    Answer, Builder, Durability, Error, NewSession, Options, Reply, Request, Sessions,
};

use crate::fixture::{Home, LIFE, START, create, data, moment, store};

/// A builder with relaxed durability, since tests of the queue need no other.
fn relaxed(home: &Home) -> Builder {
    home.builder().options(Options {
        durability: Durability::Relaxed,
        ..Options::default()
    })
}

/// Polls an answer once, without waiting.
fn poll_once<T>(answer: &mut Answer<T>) -> Poll<Result<T, Error>> {
    pin!(answer).poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn handles_can_be_shared_and_answers_sent_between_threads() {
    fn anywhere<T: Clone + Send + Sync + 'static>() {}
    fn sent<T: Send + 'static>() {}
    anywhere::<Sessions>();
    sent::<Answer<Sessions>>();
    sent::<Builder>();
}

#[test]
fn plain_threads_wait_for_their_answers() {
    let (_home, sessions) = store();
    let threads: Vec<_> = (0..8)
        .map(|number| {
            let sessions = sessions.clone();
            thread::spawn(move || {
                let id = create(&sessions, &number.to_string());
                assert_eq!(data(&sessions, &id), Some(number.to_string()));
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(sessions.count_sessions(None).wait(), Ok(8));
}

async fn use_a_store() {
    let home = Home::new();
    let sessions = home.builder().open().await.unwrap();
    let id = sessions
        .create(NewSession::new("{}").ttl(LIFE))
        .await
        .unwrap()
        .id;
    let (one, other) = tokio::join!(sessions.get(&id), sessions.get(&id));
    assert_eq!(one.unwrap(), other.unwrap());
    // The store can also be closed inside the runtime.
    drop(sessions);
    let sessions = home.builder().open().await.unwrap();
    assert!(sessions.get(&id).await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runtime_of_many_threads_awaits_answers() {
    tokio::spawn(use_a_store()).await.unwrap();
}

#[tokio::test(flavor = "current_thread")]
async fn a_runtime_of_one_thread_awaits_answers() {
    use_a_store().await;
}

#[test]
fn a_store_outlives_the_runtime_that_opened_it() {
    let home = Home::new();
    let open = async { home.builder().open().await.unwrap() };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let sessions = runtime.block_on(open);
    drop(runtime);
    let id = create(&sessions, "{}");
    assert_eq!(data(&sessions, &id).as_deref(), Some("{}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_requests_at_once_are_all_answered() {
    let home = Home::new();
    let sessions = relaxed(&home).open().await.unwrap();
    let mut tasks = JoinSet::new();
    for number in 0..5000 {
        let sessions = sessions.clone();
        tasks.spawn(async move {
            let payload = number.to_string();
            let id = sessions
                .create(NewSession::new(payload.as_str()).ttl(LIFE))
                .await
                .unwrap()
                .id;
            let session = sessions.get(&id).await.unwrap().unwrap();
            assert_eq!(session.data, payload.as_bytes());
        });
    }
    assert_eq!(tasks.join_all().await.len(), 5000);
    assert_eq!(sessions.count_sessions(None).await, Ok(5000));
}

#[test]
fn requests_that_wait_when_the_last_handle_is_dropped_are_answered() {
    let home = Home::new();
    let sessions = relaxed(&home).open().wait().unwrap();
    // More than the queue holds. Some may be answered at the first poll.
    let waiting: Vec<_> = (0..3000)
        .map(|_| sessions.create(NewSession::new("{}").ttl(LIFE)))
        .filter_map(|mut answer| match poll_once(&mut answer) {
            Poll::Pending => Some(answer),
            Poll::Ready(answered) => answered.map(|_| None).unwrap(),
        })
        .collect();
    assert!(!waiting.is_empty());
    drop(sessions);
    for answer in waiting {
        answer.wait().unwrap();
    }
    let sessions = home.open();
    assert_eq!(sessions.count_sessions(None).wait(), Ok(3000));
    assert_eq!(sessions.check().wait(), Ok(vec![]));
}

#[test]
fn an_answer_keeps_the_store_open_until_it_is_complete_or_dropped() {
    let (home, sessions) = store();
    let (asked, dropped) = (sessions.count_sessions(None), sessions.stats());
    drop(sessions);
    let second = || home.builder().open().wait();
    assert!(matches!(second(), Err(Error::InUse { .. })));
    assert_eq!(asked.wait(), Ok(0));
    assert!(matches!(second(), Err(Error::InUse { .. })));
    drop(dropped);
    second().unwrap();
}

#[test]
fn a_request_is_not_sent_before_its_answer_is_polled_or_waited_for() {
    let (_home, sessions) = store();
    drop(sessions.set("dropped", "{}", LIFE));
    let late = sessions.set("late", "{}", LIFE);
    assert_eq!(sessions.count_sessions(None).wait(), Ok(0));
    late.wait().unwrap();
    assert_eq!(sessions.count_sessions(None).wait(), Ok(1));
}

#[test]
fn a_queued_request_is_done_although_its_answer_is_dropped() {
    let (home, sessions) = store();
    let mut answer = sessions.set("first", "{}", LIFE);
    let _ = poll_once(&mut answer);
    drop(answer);
    assert_eq!(data(&sessions, "first").as_deref(), Some("{}"));

    // Also if no other handle of the store is left.
    let mut answer = sessions.set("last", "{}", LIFE);
    let _ = poll_once(&mut answer);
    drop(sessions);
    drop(answer);
    assert_eq!(data(&home.open(), "last").as_deref(), Some("{}"));
}

#[test]
fn thousands_of_dropped_answers_harm_no_other_request() {
    let home = Home::new();
    let sessions = relaxed(&home).open().wait().unwrap();
    let other = sessions.clone();
    let steady = thread::spawn(move || {
        for number in 0..200 {
            let id = create(&other, &number.to_string());
            assert_eq!(data(&other, &id), Some(number.to_string()));
        }
    });
    for _ in 0..5 {
        let mut answers: Vec<_> = (0..2000).map(|_| sessions.get("missing")).collect();
        for answer in &mut answers {
            let _ = poll_once(answer);
        }
        // Dropped in reverse order.
        while let Some(answer) = answers.pop() {
            drop(answer);
        }
    }
    steady.join().unwrap();
    assert_eq!(sessions.count_sessions(None).wait(), Ok(200));
}

#[test]
fn a_dropped_opening_releases_the_directory_once_it_has_ended() {
    let home = Home::new();
    drop(home.builder().open());
    assert!(!home.path().exists());

    let mut opening = home.builder().open();
    // It is under way, or done, on another thread.
    drop(poll_once(&mut opening));
    drop(opening);
    loop {
        match home.builder().open().wait() {
            Ok(sessions) => return drop(create(&sessions, "{}")),
            Err(error) => assert!(matches!(error, Error::InUse { .. }), "{error:?}"),
        }
        thread::yield_now();
    }
}

#[test]
fn a_clock_that_panics_closes_the_store_and_releases_its_directory() {
    let home = Home::new();
    let broken = Arc::new(AtomicBool::new(false));
    let breaks = broken.clone();
    let clock = move || {
        assert!(!breaks.load(Ordering::SeqCst), "this clock is broken");
        moment(START)
    };
    let sessions = home.builder().clock(clock).open().wait().unwrap();
    let id = create(&sessions, "kept");
    broken.store(true, Ordering::SeqCst);
    for _ in 0..3 {
        assert_eq!(sessions.get(&id).wait(), Err(Error::Closed));
    }
    drop(sessions);
    assert_eq!(data(&home.open(), &id).as_deref(), Some("kept"));
}

#[test]
fn an_answer_may_be_as_large_as_memory_allows() {
    let home = Home::new();
    let options = Options {
        max_data: 16 << 20,
        ..Options::default()
    };
    let builder = home.builder().options(options).memory_limit(1 << 30);
    let sessions = builder.open().wait().unwrap();
    let large = sessions.create(NewSession::new(vec![b'x'; 16 << 20]).ttl(LIFE));
    let get = Request::Get {
        id: large.wait().unwrap().id,
    };
    // 160 MiB in one answer.
    let replies = sessions.batch(vec![get; 10]).wait().unwrap();
    for reply in replies {
        assert!(
            matches!(reply, Ok(Reply::Session(Some(session))) if session.data.len() == 16 << 20)
        );
    }
}
