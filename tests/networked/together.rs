//! Tests of many callers at once: tasks and threads, reads beside writes, cancelled requests.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use wasi_sessions::{Database, Error, NewSession, Options, Outcome, Sessions, Stores};

use super::server::{Server, options, over};
use super::waiting::PATIENCE;
use crate::fixture::{LIFE, create, data, session};
use crate::guests::Guests;

on_each_server! {
    tasks_and_threads_use_a_store_at_once_over_a_few_connections,
    a_read_does_not_wait_for_writes_that_wait,
    writes_that_wait_share_a_transaction,
    a_lock_that_is_not_free_in_time_is_busy_and_nothing_was_done,
    a_cancelled_wait_does_not_cancel_the_request,
    guests_are_linked_with_a_store_on_a_server,
}

/// Increments the number in a session `times` times; retries after conflicts.
async fn count(sessions: &Sessions, id: &str, times: u64) {
    for _ in 0..times {
        loop {
            let found = sessions.get(id).await.unwrap().unwrap();
            let number: u64 = std::str::from_utf8(&found.data).unwrap().parse().unwrap();
            let next = (number + 1).to_string();
            let outcome = sessions.update(id, next, None, Some(found.version)).await;
            if let Outcome::Written(_) = outcome.unwrap() {
                break;
            }
        }
    }
}

fn tasks_and_threads_use_a_store_at_once_over_a_few_connections(server: &Server) {
    let database = Database::new(server.create("together"))
        .password(server.kind().password)
        .connections(3);
    let sessions = over(database).options(options()).open().wait().unwrap();
    assert_eq!(server.connections("together"), 1);
    let shared = Arc::new(create(&sessions, "0"));
    let runtime = Runtime::new().unwrap();
    let mut tasks = JoinSet::new();
    for number in 0..64 {
        let (sessions, shared) = (sessions.clone(), shared.clone());
        let task = async move {
            let id = sessions.create(NewSession::new("0").ttl(LIFE)).await;
            let id = id.unwrap().id;
            count(&sessions, &id, 10).await;
            if number % 8 == 0 {
                count(&sessions, &shared, 5).await;
            }
            let own = sessions.get(&id).await.unwrap().unwrap();
            assert_eq!((own.data, own.version), (b"10".to_vec(), 11));
        };
        tasks.spawn_on(task, runtime.handle());
    }
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let id = create(&sessions, "0");
                for number in 0..20 {
                    sessions.set(&id, number.to_string(), None).wait().unwrap();
                    assert_eq!(data(&sessions, &id), Some(number.to_string()));
                }
            });
        }
    });
    // The connections stay open for a while after that.
    let mut open = server.connections("together");
    runtime.block_on(async {
        while tasks.join_next().await.is_some() {
            open = open.max(server.connections("together"));
        }
    });
    assert_eq!(session(&sessions, &shared).data, b"40");
    assert!((2..=3).contains(&open), "{open}");
    drop(sessions);
    // The server notices a little later that a connection was closed.
    let started = Instant::now();
    while server.connections("together") > 0 {
        assert!(started.elapsed() < PATIENCE, "connections are left");
    }
}

fn a_read_does_not_wait_for_writes_that_wait(server: &Server) {
    let options = options();
    let table = options.table_name.clone();
    let sessions = server.builder().options(options).open().wait().unwrap();
    let ids = [(); 8].map(|()| create(&sessions, "before"));
    let lock = server.lock(&table);
    thread::scope(|scope| {
        let writes = ids
            .each_ref()
            .map(|id| scope.spawn(|| sessions.set(id, "after", None).wait()));
        for _ in 0..100 {
            for id in &ids {
                assert_eq!(data(&sessions, id).as_deref(), Some("before"));
            }
        }
        assert!(writes.iter().all(|write| !write.is_finished()));
        drop(lock);
        for write in writes {
            assert!(matches!(write.join().unwrap(), Ok(Outcome::Written(_))));
        }
    });
    assert_eq!(data(&sessions, &ids[7]).as_deref(), Some("after"));
}

fn writes_that_wait_share_a_transaction(server: &Server) {
    // The server counts the transactions of all its connections.
    let server = server.another();
    let options = options();
    let table = options.table_name.clone();
    let only = over(server.database().connections(1)).options(options);
    let sessions = only.open().wait().unwrap();
    let ids = [(); 20].map(|()| create(&sessions, "before"));
    let lock = server.lock(&table);
    let before = server.transactions();
    let mut context = Context::from_waker(Waker::noop());
    let writes = ids.each_ref().map(|id| {
        let mut write = sessions.set(id, "after", None);
        assert!(Pin::new(&mut write).poll(&mut context).is_pending());
        write
    });
    drop(lock);
    for write in writes {
        assert!(matches!(write.wait(), Ok(Outcome::Written(_))));
    }
    let transactions = server.transactions() - before;
    assert!(transactions < 10, "{transactions} for 20 writes");
    assert_eq!(data(&sessions, &ids[19]).as_deref(), Some("after"));
}

fn a_lock_that_is_not_free_in_time_is_busy_and_nothing_was_done(server: &Server) {
    let options = Options {
        sync_timeout: Duration::from_secs(10),
        ..options()
    };
    let table = options.table_name.clone();
    let sessions = server.builder().options(options).open().wait().unwrap();
    let id = create(&sessions, "before");
    let lock = server.lock(&table);
    assert_eq!(sessions.set(&id, "after", None).wait(), Err(Error::Busy));
    drop(lock);
    assert_eq!(data(&sessions, &id).as_deref(), Some("before"));
}

fn a_cancelled_wait_does_not_cancel_the_request(server: &Server) {
    let options = options();
    let table = options.table_name.clone();
    let sessions = server.open(options);
    let ids = [(); 20].map(|()| create(&sessions, "before"));
    let mut context = Context::from_waker(Waker::noop());
    let lock = server.lock(&table);
    for id in &ids {
        let mut set = Box::pin(sessions.set(id, "after", None));
        assert!(set.as_mut().poll(&mut context).is_pending());
    }
    drop(lock);
    let started = Instant::now();
    for id in &ids {
        while data(&sessions, id).as_deref() != Some("after") {
            assert!(started.elapsed() < PATIENCE, "the request was cancelled");
        }
    }
}

fn guests_are_linked_with_a_store_on_a_server(server: &Server) {
    let sessions = server.store();
    let id = create(&sessions, "linked");
    let guests = Guests::new(Stores::new().with("sessions.db", sessions.clone()));
    let runtime = Runtime::new().unwrap();
    runtime.block_on(async {
        let mut guest = guests.start().await;
        guest.open("sessions.db", "{\"gcStep\":100}").await.unwrap();
        for refused in ["access", "key", "tlsRoots"] {
            let options = format!("{{\"{refused}\":null}}");
            let words = guest.open("sessions.db", &options).await.unwrap_err();
            assert!(format!("{words:?}").contains(refused), "{words:?}");
        }
        let mut guest = guests.open().await;
        let (calls, store) = guest.calls();
        let found = calls.call_get(store, &id).await.unwrap().unwrap();
        assert_eq!(found.unwrap().data, b"linked");
    });
}
