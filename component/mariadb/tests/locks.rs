//! What waits for the locks of others, and for how long.

use crate::engine::{Engine, Error, Outcome, Request, SetRequest, Store};
use crate::fixture::{Database, NOW, SETUP, SETUPS, create, is_live};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;

#[test]
fn a_session_that_stays_locked_is_busy_and_the_connection_goes_on() {
    let [ordinary, unusual] = SETUPS;
    for (setup, limit) in [(ordinary, 700), (unusual, 700), (ordinary, 3000)] {
        let database = Database::with(setup, |options| options.gc_frequency = 0);
        let mut store = database.open();
        store.set(NOW, "mine", b"", None).unwrap();
        let lock = "UPDATE Sessions SET updated = updated + 1";
        let other = database.server().begin(&database.name, lock);
        let mut hurried = database.open_with(|options| options.sync_timeout = limit);
        let id = database.number(
            "SELECT MAX(id) FROM information_schema.processlist
             WHERE user = 'tester' AND db = DATABASE()",
        );
        for _ in 0..2 {
            assert_eq!(hurried.set(NOW, "mine", b"", None), Err(Error::Busy));
            // Reads do not wait for locks.
            assert_eq!(hurried.get(NOW, "mine").unwrap().unwrap().version, 1);
            let set = Request::Set(SetRequest {
                id: "new".into(),
                data: vec![],
                ttl: None,
            });
            let again = Request::Set(SetRequest {
                id: "mine".into(),
                data: vec![],
                ttl: None,
            });
            assert_eq!(hurried.batch(NOW, &[set, again]), Err(Error::Busy));
            assert!(!is_live(&mut hurried, NOW, "new"));
        }
        let still = format!("SELECT COUNT(*) FROM information_schema.processlist WHERE id = {id}");
        assert_eq!(database.number(&still), 1);
        // Its rows are left to the other.
        let collected = hurried.collect(u64::MAX, 9).unwrap();
        assert_eq!((collected.removed, collected.more), (0, true));
        drop(other);
        assert!(matches!(
            store.set(NOW, "mine", b"", None),
            Ok(Outcome::Written(_))
        ));
        assert_eq!(store.get(NOW, "mine").unwrap().unwrap().version, 2);
    }
}

/// Ends sessions of `alice` with `end` while 20 connections rotate them, several times over.
fn assert_none_escapes(end: impl Fn(&mut Store)) {
    let database = Database::with(SETUP, |options| options.gc_frequency = 0);
    let mut store = database.open();
    for _ in 0..10 {
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..20 {
                let mut id = create(&mut store, NOW, Some("alice"));
                let (database, is_over) = (&database, &is_over);
                scope.spawn(move || {
                    let mut store = database.open();
                    while !is_over.load(SeqCst) {
                        match store.rotate(NOW, &id, None).unwrap() {
                            Some(created) => id = created.id,
                            None => return,
                        }
                    }
                });
            }
            end(&mut store);
            is_over.store(true, SeqCst);
        });
        assert_eq!(store.count_sessions(NOW, None), Ok(0));
    }
}

#[test]
fn a_session_that_is_rotated_does_not_escape_the_end_of_its_subject() {
    assert_none_escapes(|store| {
        store.terminate_subject(NOW, "alice", None).unwrap();
    });
}

#[test]
fn a_session_that_is_rotated_does_not_escape_the_end_of_all() {
    assert_none_escapes(|store| {
        store.clear(NOW).unwrap();
    });
}
