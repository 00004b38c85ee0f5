//! Tests of a native host and instances on one directory: one of them at a time has the
//! database, whichever is killed or stopped.

use std::thread;

use wasi_sessions::{Error, NewSession, Options};

use super::*;
use crate::command::Writer;
use crate::fixture::{LIFE, create};

#[test]
fn instances_are_busy_while_a_native_host_has_the_database() {
    let place = Place::new();
    let cookie = place.first_visit();
    let sessions = place.open();
    let id = create(&sessions, "kept");
    assert_eq!(place.visit(Some(&cookie)).status, 503);
    assert_eq!(visits(&sessions, &cookie), 1);
    assert_eq!(data(&sessions, &id).as_deref(), Some("kept"));
    drop(sessions);
    assert!(!place.lock().exists());
    assert_eq!(place.visit(Some(&cookie)).visits(), 2);
    assert_eq!(data(&place.open(), &id).as_deref(), Some("kept"));
}

#[test]
fn a_native_host_and_instances_take_turns_and_lose_nothing() {
    let place = Place::new();
    let cookie = place.first_visit();
    let builder = || place.builder().open().wait();
    let create_in_turn = || loop {
        match builder() {
            Ok(sessions) => break create(&sessions, "{}"),
            Err(Error::InUse { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    };
    let ids: Vec<String> = thread::scope(|scope| {
        let host = scope.spawn(|| (0..8).map(|_| create_in_turn()).collect());
        let answers = place.visit_patiently(&[Some(cookie.as_str()); AT_ONCE as usize]);
        let counted: BTreeSet<u64> = answers.iter().map(Answer::visits).collect();
        assert_eq!(counted, (2..AT_ONCE + 2).collect());
        host.join().unwrap()
    });
    let sessions = place.open();
    assert_eq!(visits(&sessions, &cookie), AT_ONCE + 1);
    for id in &ids {
        assert_eq!(data(&sessions, id).as_deref(), Some("{}"));
    }
    assert_eq!(sessions.check().wait(), Ok(vec![]));
}

#[test]
fn the_lock_of_a_killed_host_delays_instances_but_not_the_next_host() {
    let place = Place::new();
    let cookie = place.first_visit();
    for _ in 0..2 {
        let mut writer = Writer::start(&place.home);
        writer.answered_lines(3);
        writer.kill();
        assert!(place.lock().exists());
        let impatient = Options {
            sync_timeout: Duration::ZERO,
            ..Options::default()
        };
        let opened = place.builder().options(impatient).open().wait();
        assert_eq!(visits(&opened.unwrap(), &cookie), 1);
    }
    let mut writer = Writer::start(&place.home);
    writer.answered_lines(3);
    writer.kill();
    assert_eq!(place.visit(Some(&cookie)).status, 503);
    assert!(place.let_the_lock_grow_old());
    assert_eq!(place.visit(Some(&cookie)).visits(), 2);
    let sessions = place.open();
    assert!(sessions.count_sessions(None).wait().unwrap() >= 10);
    assert_eq!(sessions.check().wait(), Ok(vec![]));
}

#[test]
fn a_host_whose_lock_was_taken_over_writes_no_more() {
    let place = Place::new();
    let cookie = place.first_visit();
    let sessions = place.open();
    let id = create(&sessions, "kept");
    // As if the host had been stopped for so long. It may renew the lock before the visit.
    let next = loop {
        assert!(place.let_the_lock_grow_old());
        let answer = place.visit(Some(&cookie));
        if answer.status == 200 {
            break answer;
        }
    };
    assert_eq!(next.visits(), 2);
    let lost = Error::LockLost {
        database: place.path().join("sessions.db"),
    };
    assert_eq!(sessions.check().wait(), Err(lost.clone()));
    assert_eq!(sessions.set(&id, "lost", LIFE).wait(), Err(lost.clone()));
    let started = sessions.create(NewSession::new("{}")).wait();
    assert_eq!(started.err(), Some(lost));

    // Closing changes nothing, either.
    assert_eq!(place.visit(Some(&cookie)).visits(), 3);
    drop(sessions);
    let sessions = place.open();
    assert_eq!(visits(&sessions, &cookie), 3);
    assert_eq!(data(&sessions, &id).as_deref(), Some("kept"));
    assert_eq!(sessions.check().wait(), Ok(vec![]));
}
