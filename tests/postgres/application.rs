//! Tests of the connection whose socket belongs to the runtime of the application's tasks.

use std::future::poll_fn;
use std::task::Poll;
use std::time::{Duration, Instant};

use pollster::block_on;
use tokio::runtime::{Builder, Runtime};
use wasi_sessions::{Answer, Database, Options, Sessions};

use crate::fixture::{create, data};
use crate::networked::server::{POSTGRES, options, over};
use crate::networked::waiting::PATIENCE;

fn runtime(threads: usize) -> Runtime {
    let mut builder = Builder::new_multi_thread();
    let builder = builder.worker_threads(threads).enable_all();
    builder.build().unwrap()
}

fn open(url: &str, options: Options) -> Sessions {
    let database = Database::new(url).password(POSTGRES.kind().password);
    over(database).options(options).open().wait().unwrap()
}

/// A store in a new database, which a task of the runtime has asked until it had a connection
/// there; and a session.
fn used_by_a_task(runtime: &Runtime, database: &str, options: Options) -> (Sessions, String) {
    let sessions = open(&POSTGRES.create(database), options);
    let id = create(&sessions, "0");
    // One connection is the first one; a read on the other one comes from such a task.
    let reads = format!(
        "SELECT count(*) FROM pg_stat_activity
         WHERE datname = '{database}' AND query LIKE 'SELECT s.version%'"
    );
    let started = Instant::now();
    sessions.get(&id).wait().unwrap();
    while POSTGRES.sql(&reads) != "2" {
        let read = sessions.get(&id);
        runtime.block_on(runtime.spawn(read)).unwrap().unwrap();
        assert!(started.elapsed() < PATIENCE, "there is no connection");
    }
    (sessions, id)
}

/// Polls an answer once, which sends the request.
async fn send<T>(answer: &mut Answer<T>) {
    let sent = poll_fn(
        |context| match std::pin::Pin::new(&mut *answer).poll(context) {
            Poll::Pending => Poll::Ready(true),
            Poll::Ready(_) => Poll::Ready(false),
        },
    );
    assert!(sent.await, "answered at once");
}

#[test]
#[cfg_attr(not(postgres), ignore = "needs PostgreSQL in /usr/lib/postgresql")]
fn a_store_outlives_the_runtime_whose_tasks_used_it() {
    let first = runtime(2);
    let (sessions, id) = used_by_a_task(&first, "outlives", options());
    drop(first);
    sessions.set(&id, "1", None).wait().unwrap();
    let second = runtime(2);
    let set = sessions.set(&id, "2", None);
    second.block_on(second.spawn(set)).unwrap().unwrap();
    assert_eq!(data(&sessions, &id).as_deref(), Some("2"));
}

#[test]
#[cfg_attr(not(postgres), ignore = "needs PostgreSQL in /usr/lib/postgresql")]
fn every_thread_of_the_application_may_block_until_an_answer() {
    let application = runtime(1);
    let (sessions, id) = used_by_a_task(&application, "blocks", options());
    let task = application.spawn(async move {
        let mut sent = sessions.get(&id);
        send(&mut sent).await;
        // No thread is left that would see the answer to the first request.
        sessions.set(&id, "1", None).wait().unwrap();
        block_on(sessions.set(&id, "2", None)).unwrap();
        assert!(sent.await.unwrap().is_some());
        assert_eq!(sessions.get(&id).await.unwrap().unwrap().data, b"2");
    });
    application.block_on(task).unwrap();
}

#[test]
#[cfg_attr(not(postgres), ignore = "needs PostgreSQL in /usr/lib/postgresql")]
fn a_store_can_be_closed_on_the_only_thread_of_the_application() {
    let application = runtime(1);
    let options = Options {
        sync_timeout: Duration::from_secs(10),
        ..options()
    };
    let (sessions, id) = used_by_a_task(&application, "closed", options.clone());
    let task = application.spawn({
        let id = id.clone();
        async move {
            let mut sent = sessions.set(&id, "1", None);
            send(&mut sent).await;
            drop((sent, sessions));
        }
    });
    application.block_on(task).unwrap();
    assert_eq!(POSTGRES.connections("closed"), 0);
    let url = POSTGRES.url();
    let (server, _) = url.rsplit_once('/').unwrap();
    let sessions = open(&format!("{server}/closed"), options);
    assert_eq!(data(&sessions, &id).as_deref(), Some("1"));
}
