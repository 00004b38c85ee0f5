//! Tests of requests that wait for a connection: for how long, and what becomes of them when
//! the component crashes or the store is closed; and of connections that are not used.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use wasi_sessions::{Answer, Created, Database, Error, Options, Outcome, Sessions};

use super::server::{Server, options, over};
use crate::fixture::{create, data, listed};
use crate::proxy::{Network, Proxy};

on_each_server! {
    a_request_that_waits_too_long_for_a_connection_is_busy_and_nothing_was_done,
    connections_that_are_not_used_are_closed_but_for_one,
    a_crash_answers_the_requests_in_flight_and_those_that_wait,
    closing_waits_for_the_requests_that_wait_and_loses_none,
    a_caller_that_stops_polling_holds_no_connection,
    large_requests_that_succeed_one_by_one_do_not_crash_the_component_together,
}

/// The time limit of a test's waiting, much longer than it takes.
pub const PATIENCE: Duration = Duration::from_secs(300);

/// A request that was sent.
pub enum Sent<T> {
    Waits(Pin<Box<Answer<T>>>),
    Answered(Result<T, Error>),
}

/// Sends a request without waiting for its answer.
pub fn send<T>(answer: Answer<T>) -> Sent<T> {
    let mut sent = Sent::Waits(Box::pin(answer));
    waits(&mut sent);
    sent
}

/// Whether a request is not answered yet.
pub fn waits<T>(sent: &mut Sent<T>) -> bool {
    let Sent::Waits(answer) = sent else {
        return false;
    };
    let mut context = Context::from_waker(Waker::noop());
    match answer.as_mut().poll(&mut context) {
        Poll::Pending => true,
        Poll::Ready(answer) => {
            *sent = Sent::Answered(answer);
            false
        }
    }
}

/// Waits for the answer to a request.
pub fn answered<T>(sent: Sent<T>) -> Result<T, Error> {
    match sent {
        Sent::Waits(answer) => Pin::into_inner(answer).wait(),
        Sent::Answered(answer) => answer,
    }
}

fn a_request_that_waits_too_long_for_a_connection_is_busy_and_nothing_was_done(server: &Server) {
    const COUNT: usize = 20;
    let limit = Duration::from_secs(10);
    let proxy = Proxy::start(server.address().port());
    let port = |port: u16| format!(":{port}/");
    let through = server
        .url()
        .replace(&port(server.address().port()), &port(proxy.port));
    let options = options();
    let direct = server.open(options.clone());
    let database = Database::new(through)
        .password(server.kind().password)
        .connections(1);
    let sessions = over(database)
        .options(Options {
            sync_timeout: limit,
            ..options
        })
        .open()
        .wait()
        .unwrap();
    for _ in 0..COUNT {
        create(&direct, "kept");
    }
    let handles: Vec<String> = listed(&direct, None)
        .into_iter()
        .map(|entry| entry.handle)
        .collect();
    proxy.set(Network::SwallowsAnswers);
    let started = Instant::now();
    let waiting: Vec<_> = handles
        .iter()
        .map(|handle| send(sessions.terminate(handle)))
        .collect();
    let ended: Vec<_> = waiting.into_iter().map(answered).collect();
    // One after the other would take twenty times as long as one.
    assert!(started.elapsed() < 5 * limit, "{:?}", started.elapsed());
    let mut busy = 0;
    for (handle, ended) in handles.iter().zip(ended) {
        match ended {
            Err(Error::Busy) => {
                busy += 1;
                assert!(direct.inspect(handle).wait().unwrap().is_some());
            }
            Err(Error::UnknownOutcome(_)) => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(busy >= COUNT - 2, "{busy}");
    proxy.set(Network::Works);
    let last = handles.last().unwrap();
    assert_eq!(sessions.terminate(last).wait(), Ok(true));
}

fn connections_that_are_not_used_are_closed_but_for_one(server: &Server) {
    let database = Database::new(server.create("unused")).password(server.kind().password);
    let sessions = over(database).open().wait().unwrap();
    let id = create(&sessions, "kept");
    assert_eq!(server.connections("unused"), 1);
    let started = Instant::now();
    while server.connections("unused") == 1 {
        assert!(started.elapsed() < PATIENCE, "no connection was opened");
        // A fast server may answer each before the next one is sent.
        let calls: Vec<_> = (0..8).map(|_| send(sessions.stats())).collect();
        for call in calls {
            answered(call).unwrap();
        }
    }
    while server.connections("unused") > 1 {
        // One that is used does not keep the others open.
        assert_eq!(data(&sessions, &id).as_deref(), Some("kept"));
        assert!(started.elapsed() < PATIENCE, "connections are left");
    }
    assert_eq!(data(&sessions, &id).as_deref(), Some("kept"));
    assert_eq!(server.connections("unused"), 1);
}

/// A store with one connection, whose component crashes at a payload of [`OVERLONG`] bytes.
pub fn small(database: Database, options: Options) -> Sessions {
    over(database.connections(1))
        .memory_limit(16 << 20)
        .options(Options {
            max_data: 64 << 20,
            ..options
        })
        .open()
        .wait()
        .unwrap()
}

pub const OVERLONG: usize = 32 << 20;

fn a_crash_answers_the_requests_in_flight_and_those_that_wait(server: &Server) {
    let options = options();
    let table = options.table_name.clone();
    let sessions = small(server.database(), options);
    let id = create(&sessions, "before");
    let lock = server.lock(&table);
    let blocked = send(sessions.set(&id, "after", None));
    let create = |number: usize| match number {
        5 => send(sessions.create(vec![0; OVERLONG])),
        _ => send(sessions.create("{}")),
    };
    let creates: Vec<_> = (0..10).map(create).collect();
    let counts: Vec<_> = (0..3)
        .map(|_| send(sessions.count_sessions(None)))
        .collect();
    drop(lock);
    answered(blocked).unwrap();
    let created: Vec<Result<Created, Error>> = creates.into_iter().map(answered).collect();
    assert_eq!(created[5], Err(Error::Crashed));
    let mut others = created.iter().filter(|created| created.is_err());
    assert!(others.all(|failed| *failed == Err(Error::Crashed)));
    for count in counts {
        answered(count).unwrap();
    }
    assert_eq!(data(&sessions, &id).as_deref(), Some("after"));
}

fn closing_waits_for_the_requests_that_wait_and_loses_none(server: &Server) {
    let options = options();
    let table = options.table_name.clone();
    let sessions = over(server.database().connections(1)).options(options.clone());
    let sessions = sessions.open().wait().unwrap();
    let ids = [(); 20].map(|()| create(&sessions, "before"));
    let lock = server.lock(&table);
    for id in &ids {
        drop(send(sessions.set(id, "after", None)));
    }
    let closing = thread::spawn(move || drop(sessions));
    assert!(!closing.is_finished());
    drop(lock);
    closing.join().unwrap();
    let sessions = server.open(options);
    for id in &ids {
        assert_eq!(data(&sessions, id).as_deref(), Some("after"));
    }
}

fn a_caller_that_stops_polling_holds_no_connection(server: &Server) {
    let sessions = over(server.database().connections(1)).options(options());
    let sessions = sessions.open().wait().unwrap();
    let id = create(&sessions, "0");
    for number in 1..20 {
        let write = send(sessions.set(&id, number.to_string(), None));
        assert_eq!(data(&sessions, &id), Some(number.to_string()));
        assert!(matches!(answered(write), Ok(Outcome::Written(_))));
    }
}

fn large_requests_that_succeed_one_by_one_do_not_crash_the_component_together(server: &Server) {
    const COUNT: usize = 100;
    let options = options();
    let table = options.table_name.clone();
    let sessions = over(server.database().connections(1))
        .memory_limit(128 << 20)
        .options(options)
        .open()
        .wait()
        .unwrap();
    let blocker = create(&sessions, "before");
    // While the only connection waits for a lock, requests gather.
    let block = || {
        let lock = server.lock(&table);
        (lock, send(sessions.set(&blocker, "after", None)))
    };
    let large = vec![7; 1 << 20];

    let (lock, blocked) = block();
    let create = |_| send(sessions.create(large.clone()));
    let created: Vec<_> = (0..COUNT).map(create).collect();
    drop(lock);
    answered(blocked).unwrap();
    let ids: Vec<String> = created
        .into_iter()
        .map(|created| answered(created).unwrap().id)
        .collect();

    // The writes have an answer as large as the session, too.
    let (lock, blocked) = block();
    let reads: Vec<_> = ids.iter().map(|id| send(sessions.get(id))).collect();
    let update = |id: &String| send(sessions.update(id, "{}", None, Some(9)));
    let stale: Vec<_> = ids.iter().map(update).collect();
    drop(lock);
    answered(blocked).unwrap();
    for read in reads {
        assert!(answered(read).unwrap().unwrap().data == large);
    }
    for stale in stale {
        let outcome = answered(stale).unwrap();
        assert!(matches!(outcome, Outcome::Stale(session) if session.data == large));
    }
}
