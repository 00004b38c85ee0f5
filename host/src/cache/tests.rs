//! Tests that the cache answers as the database would, with the real component.

mod clocks;
mod steps;
mod threads;
mod twins;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

use crate::owner::permits::Serving;
use crate::tests::{behind_one_another, ms, refuse};
use crate::{
    Builder, Durability, Error, NewSession, Options, Outcome, Reply, Request, Session, Sessions,
};

/// The time at which the clock of these tests starts.
const START: u64 = 1_700_000_000_000;

/// A directory in memory if the system has one, because these tests do not need a disk.
fn home() -> TempDir {
    let memory = Path::new("/dev/shm");
    match memory.is_dir() {
        true => tempfile::tempdir_in(memory).unwrap(),
        false => tempfile::tempdir().unwrap(),
    }
}

fn relaxed() -> Options {
    Options {
        durability: Durability::Relaxed,
        ..Options::default()
    }
}

fn builder(home: &TempDir) -> Builder {
    crate::tests::builder(home).options(relaxed())
}

/// A manual clock that counts how often it is read: outside the store once for each session
/// found in memory (`hits`), by the store once for each request (`requests`).
#[derive(Clone)]
struct Clock {
    now: Arc<AtomicU64>,
    hits: Arc<AtomicU64>,
    requests: Arc<AtomicU64>,
}

impl Clock {
    fn new() -> Self {
        Self {
            now: Arc::new(AtomicU64::new(START)),
            hits: Arc::default(),
            requests: Arc::default(),
        }
    }

    fn set(&self, now: u64) {
        self.now.store(now, Ordering::SeqCst);
    }

    fn hits(&self) -> u64 {
        self.hits.load(Ordering::SeqCst)
    }

    fn requests(&self) -> u64 {
        self.requests.load(Ordering::SeqCst)
    }

    fn read(&self) -> SystemTime {
        let count = match is_the_store() {
            true => &self.requests,
            false => &self.hits,
        };
        count.fetch_add(1, Ordering::SeqCst);
        SystemTime::UNIX_EPOCH + Duration::from_millis(self.now.load(Ordering::SeqCst))
    }

    fn given_to(&self, builder: Builder) -> Builder {
        let clock = self.clone();
        builder.clock(move || clock.read())
    }
}

fn is_the_store() -> bool {
    Serving::is_of_any()
}

fn get(sessions: &Sessions, id: &str) -> Option<Session> {
    sessions.get(id).wait().unwrap()
}

/// Creates a session and reads it once, so that the next read is from memory.
fn create_known(sessions: &Sessions, data: &str, subject: Option<&str>) -> String {
    let id = sessions
        .create(NewSession {
            subject: subject.map(str::to_owned),
            ..NewSession::new(data)
        })
        .wait()
        .unwrap()
        .id;
    assert!(get(sessions, &id).is_some());
    id
}

#[test]
fn repeated_reads_and_reads_after_a_touch_or_a_write_are_from_memory() {
    let home = home();
    let clock = Clock::new();
    let sessions = clock.given_to(builder(&home)).open().wait().unwrap();
    let id = sessions
        .create(NewSession::new("{}").subject("alice"))
        .wait()
        .unwrap()
        .id;
    let first = get(&sessions, &id);
    assert_eq!(clock.hits(), 0);
    assert_eq!(get(&sessions, &id), first);
    assert_eq!(clock.hits(), 1);
    let expires = sessions.touch(&id, Some(ms(500))).wait().unwrap().unwrap();
    assert_eq!(get(&sessions, &id).unwrap().expires, expires);
    assert_eq!(clock.hits(), 2);
    assert_eq!(get(&sessions, &id), stored(&sessions, &id));

    type Write = fn(&Sessions, &str) -> bool;
    let writes: [Write; 3] = [
        |sessions, id| sessions.set(id, r#"{"a":1}"#, None).wait().is_ok(),
        |sessions, id| sessions.update(id, "{}", Some(ms(7)), None).wait().is_ok(),
        |sessions, id| sessions.merge(id, r#"{"b":2}"#, None).wait().is_ok(),
    ];
    for (time, write) in (START + 2..).zip(writes) {
        clock.set(time);
        assert!(write(&sessions, &id));
        let before = clock.hits();
        let known = get(&sessions, &id);
        assert_eq!(clock.hits(), before + 1);
        assert_eq!(known, stored(&sessions, &id));
        let known = known.unwrap();
        assert_eq!((known.created, known.updated), (START, time));
        assert_eq!(known.subject.as_deref(), Some("alice"));
    }
}

/// The session from the database, read in a batch, which is never answered from memory.
fn stored(sessions: &Sessions, id: &str) -> Option<Session> {
    let replies = sessions
        .batch(vec![Request::Get { id: id.to_owned() }])
        .wait();
    match replies.unwrap().pop() {
        Some(Ok(Reply::Session(session))) => session,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_session_that_a_batch_writes_twice_or_ends_is_not_read_from_memory() {
    let home = home();
    let clock = Clock::new();
    let sessions = clock.given_to(builder(&home)).open().wait().unwrap();
    let set = |id: &str, data: &str| Request::Set {
        id: id.to_owned(),
        data: data.into(),
        ttl: None,
    };
    let cases: [fn(&str) -> Request; 4] = [
        |id| Request::Set {
            id: id.to_owned(),
            data: "2".into(),
            ttl: None,
        },
        |id| Request::Merge {
            id: id.to_owned(),
            patch: "3".to_owned(),
            ttl: Some(ms(9)),
        },
        |id| Request::Destroy { id: id.to_owned() },
        |id| Request::Rotate {
            id: id.to_owned(),
            subject: None,
        },
    ];
    for case in cases {
        let id = create_known(&sessions, "0", None);
        let batch = vec![set(&id, "1"), case(&id), Request::Get { id: id.clone() }];
        assert!(
            sessions
                .batch(batch)
                .wait()
                .unwrap()
                .iter()
                .all(Result::is_ok)
        );
        assert_eq!(get(&sessions, &id), stored(&sessions, &id));
    }

    // A write at the moment of the expiry starts a new session.
    let id = create_known(&sessions, "0", Some("alice"));
    sessions.touch(&id, Some(ms(5))).wait().unwrap();
    clock.set(START + 5);
    sessions.set(&id, "1", None).wait().unwrap();
    let known = get(&sessions, &id);
    assert_eq!(known, stored(&sessions, &id));
    assert_eq!(known.unwrap().subject, None);
}

#[test]
fn a_cache_of_any_size_works() {
    for bytes in [0, 1, 1023, 4096, usize::MAX] {
        let home = home();
        let sessions = builder(&home).read_cache(bytes).open().wait().unwrap();
        let ids: Vec<String> = (0..30)
            .map(|number| create_known(&sessions, &"x".repeat(number * 100), None))
            .collect();
        for (number, id) in ids.iter().enumerate() {
            assert_eq!(get(&sessions, id).unwrap().data.len(), number * 100);
        }
    }
}

#[test]
fn a_closed_store_answers_nothing_from_memory() {
    let home = home();
    let broken = Arc::new(AtomicBool::new(false));
    let clock = broken.clone();
    let now = move || {
        if is_the_store() && clock.load(Ordering::SeqCst) {
            panic!("a clock that panics, in a test");
        }
        SystemTime::now()
    };
    let closed = builder(&home).clock(now).open().wait().unwrap();
    let id = create_known(&closed, "{}", None);
    broken.store(true, Ordering::SeqCst);
    assert_eq!(closed.stats().wait(), Err(Error::Closed));

    // The directory is free only after the panicking thread has closed the store.
    let sessions = loop {
        match builder(&home).open().wait() {
            Err(Error::InUse { .. }) => thread::yield_now(),
            opened => break opened.unwrap(),
        }
    };
    assert_eq!(sessions.destroy(&id).wait(), Ok(true));
    assert_eq!(closed.get(&id).wait(), Err(Error::Closed));
}

#[test]
fn a_crash_clears_the_cache() {
    let home = home();
    let clock = Clock::new();
    let options = Options {
        max_data: 64 << 20,
        ..relaxed()
    };
    let small = builder(&home).memory_limit(8 << 20).options(options);
    let sessions = clock.given_to(small).open().wait().unwrap();
    let id = create_known(&sessions, "{}", None);
    let crashed = sessions.create(vec![0; 16 << 20]).wait();
    assert_eq!(crashed, Err(Error::Crashed));
    assert!(get(&sessions, &id).is_some());
    assert_eq!(clock.hits(), 0);
}

#[test]
fn a_transaction_that_is_rolled_back_changes_nothing_in_memory() {
    let home = home();
    refuse(&home, "UPDATE");

    let sessions = builder(&home).open().wait().unwrap();
    let touched = create_known(&sessions, "touched", None);
    let set = create_known(&sessions, "set", None);
    let before = [get(&sessions, &touched), get(&sessions, &set)];
    let failed = sessions.batch(vec![
        Request::Touch {
            id: touched.clone(),
            ttl: Some(ms(9)),
        },
        Request::Set {
            id: set.clone(),
            data: "undone".into(),
            ttl: None,
        },
        Request::Get { id: set.clone() },
        Request::Set {
            id: set.clone(),
            data: "!".into(),
            ttl: None,
        },
    ]);
    assert!(matches!(failed.wait(), Err(Error::Other(_))));
    for _ in 0..2 {
        assert_eq!([get(&sessions, &touched), get(&sessions, &set)], before);
    }
    drop(sessions);

    // If one request of a group fails, the others are kept.
    let mut handle = None;
    let (replies, _) = behind_one_another(builder(&home), |sessions| {
        handle = Some(sessions.clone());
        assert_eq!([get(sessions, &touched), get(sessions, &set)], before);
        let requests = [
            Request::Touch {
                id: touched.clone(),
                ttl: Some(ms(1_000_000_000)),
            },
            Request::Set {
                id: set.clone(),
                data: "!".into(),
                ttl: None,
            },
            Request::Get { id: set.clone() },
        ];
        requests.map(|request| sessions.batch(vec![request])).into()
    });
    let sessions = handle.unwrap();
    let [session, other] = before.map(Option::unwrap);
    let expires = get(&sessions, &touched).unwrap().expires;
    assert!(expires > session.expires);
    assert_eq!(replies[0], Ok(vec![Ok(Reply::Expires(Some(expires)))]));
    assert!(matches!(replies[1], Err(Error::Other(_))));
    assert_eq!(get(&sessions, &set), Some(other));
}

#[test]
fn an_expired_id_that_randomness_repeats_is_a_new_session() {
    let home = home();
    let clock = Clock::new();
    let zeroes = builder(&home).random(|bytes| bytes.fill(0));
    let sessions = clock.given_to(zeroes).open().wait().unwrap();
    let first = sessions
        .create(NewSession::new("first").ttl(ms(10)))
        .wait()
        .unwrap();
    assert!(get(&sessions, &first.id).is_some());
    clock.set(START + 10);
    let second = sessions
        .create(NewSession::new("second").ttl(ms(10)))
        .wait()
        .unwrap();
    assert_eq!(first.id, second.id);
    sessions.touch(&second.id, Some(ms(20))).wait().unwrap();
    for _ in 0..2 {
        assert_eq!(get(&sessions, &second.id).unwrap().data, b"second");
    }
}

#[test]
fn a_log_in_invalidates_the_sessions_it_ends_and_no_others() {
    let home = home();
    let clock = Clock::new();
    let one_each = Options {
        max_per_subject: Some(1),
        ..relaxed()
    };
    let bounded = builder(&home).options(one_each);
    let sessions = clock.given_to(bounded).open().wait().unwrap();
    let bob = create_known(&sessions, "{}", Some("bob"));
    let nobody = create_known(&sessions, "{}", None);
    let first = create_known(&sessions, "{}", Some("alice"));
    let visitor = create_known(&sessions, "{}", None);
    let login = sessions.rotate(&visitor, Some("alice")).wait().unwrap();
    assert_eq!(get(&sessions, &first), None);
    assert_eq!(sessions.set(&first, "{}", None).wait(), Ok(Outcome::Gone));
    let second = login.unwrap().id;
    assert!(get(&sessions, &second).is_some());

    // A session that is read or touched may be ended later in the same transaction.
    let replies = sessions.batch(vec![
        Request::Get { id: second.clone() },
        Request::Touch {
            id: second.clone(),
            ttl: Some(ms(5)),
        },
        Request::Create(NewSession::new(vec![]).subject("alice")),
    ]);
    assert!(replies.wait().unwrap().iter().all(Result::is_ok));
    assert_eq!(get(&sessions, &second), None);

    let before = clock.hits();
    assert!(get(&sessions, &nobody).is_some());
    assert_eq!(clock.hits(), before + 1);
    assert!(get(&sessions, &bob).is_some());
}
