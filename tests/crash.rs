//! Tests of a component that runs out of memory: one request fails, and the store recovers.

use wasi_sessions::{Error, NewSession, Options, Request, Sessions};

use crate::fixture::{Home, LIFE, create, data, ms, session, written};

/// The component's memory, in bytes: enough for ordinary requests, but not for large ones.
const MEMORY: usize = 16 << 20;

fn open(home: &Home) -> Sessions {
    let options = Options {
        max_data: 64 << 20,
        ..Options::default()
    };
    let builder = home.builder().options(options).memory_limit(MEMORY);
    builder.open().wait().unwrap()
}

/// Sends a request that needs more memory than there is.
fn crash(sessions: &Sessions) {
    let create = sessions.create(NewSession::new(vec![b'x'; 2 * MEMORY]).ttl(LIFE));
    assert_eq!(create.wait(), Err(Error::Crashed));
}

#[test]
fn the_request_in_flight_fails_and_later_ones_succeed() {
    let home = Home::new();
    let sessions = open(&home);
    let id = create(&sessions, "before");
    for round in 0..3 {
        crash(&sessions);
        assert_eq!(data(&sessions, &id).as_deref(), Some("before"));
        let set = written(sessions.set("other", "{}", LIFE).wait().unwrap());
        assert_eq!(set.version, round + 1);
    }
    crash(&sessions);
    assert_eq!(sessions.count_sessions(None).wait(), Ok(2));
    assert_eq!(sessions.check().wait(), Ok(vec![]));
}

#[test]
fn no_answered_write_is_lost() {
    let home = Home::new();
    let sessions = open(&home);
    let mut ids = vec![];
    for round in 0..20 {
        ids.push(create(&sessions, &round.to_string()));
        if round % 4 == 3 {
            crash(&sessions);
        }
    }
    let all_there = |sessions: &Sessions| {
        for (round, id) in ids.iter().enumerate() {
            assert_eq!(data(sessions, id), Some(round.to_string()));
        }
        assert_eq!(sessions.count_sessions(None).wait(), Ok(20));
    };
    all_there(&sessions);
    crash(&sessions);
    drop(sessions);
    all_there(&open(&home));
}

#[test]
fn a_crash_in_mid_transaction_rolls_it_back() {
    let home = Home::new();
    let sessions = open(&home);
    let large = sessions.create(NewSession::new(vec![b'x'; 1 << 20]).ttl(LIFE));
    let large = large.wait().unwrap().id;
    let before = session(&sessions, &large);

    // The writes come first; the memory is exhausted while the answers are collected.
    let mut requests = vec![
        Request::Set {
            id: "new".to_owned(),
            data: b"{}".to_vec(),
            ttl: LIFE,
        },
        Request::Touch {
            id: large.clone(),
            ttl: Some(ms(1)),
        },
    ];
    requests.extend(vec![Request::Get { id: large.clone() }; 2 * (MEMORY >> 20)]);
    assert_eq!(sessions.batch(requests).wait(), Err(Error::Crashed));
    assert_eq!(data(&sessions, "new"), None);
    assert_eq!(session(&sessions, &large), before);
    assert_eq!(sessions.check().wait(), Ok(vec![]));
}

#[test]
fn the_directory_stays_locked_from_a_crash_to_the_next_request() {
    let home = Home::new();
    let sessions = open(&home);
    crash(&sessions);
    let second = home.builder().open().wait();
    let in_use = Error::InUse {
        directory: home.path(),
    };
    assert_eq!(second.err(), Some(in_use));
    create(&sessions, "{}");
    crash(&sessions);
    // A store whose component has crashed closes normally.
    drop(sessions);
    assert_eq!(open(&home).count_sessions(None).wait(), Ok(1));
}

#[test]
fn requests_that_waited_behind_a_crash_are_done() {
    let home = Home::new();
    let sessions = open(&home);
    let id = create(&sessions, "{}");
    let waiting: Vec<_> = (0..8)
        .map(|number| {
            let (sessions, id) = (sessions.clone(), id.clone());
            std::thread::spawn(move || match number % 2 {
                0 => crash(&sessions),
                _ => assert_eq!(data(&sessions, &id).as_deref(), Some("{}")),
            })
        })
        .collect();
    for thread in waiting {
        thread.join().unwrap();
    }
}

#[test]
fn a_database_that_is_damaged_after_a_crash_fails_until_it_is_repaired() {
    let home = Home::new();
    let sessions = open(&home);
    let id = create(&sessions, "kept");
    drop(sessions);
    let sessions = open(&home);
    crash(&sessions);
    // The file can be overwritten because the component is not running and the WAL is empty.
    // Files that are replaced are tested in `replaced`.
    let whole = std::fs::read(home.database()).unwrap();
    std::fs::write(home.database(), "not a database").unwrap();
    for _ in 0..2 {
        assert!(matches!(sessions.get(&id).wait(), Err(Error::Corrupt(_))));
    }
    std::fs::write(home.database(), whole).unwrap();
    assert_eq!(data(&sessions, &id).as_deref(), Some("kept"));
}

#[test]
fn a_limit_that_is_too_small_to_start_is_an_error() {
    let home = Home::new();
    let opened = home.builder().memory_limit(1 << 16).open().wait();
    assert!(matches!(opened, Err(Error::Start(_))), "{opened:?}");
    drop(home.open());
}
