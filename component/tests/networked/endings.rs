//! Sessions that end while other connections rotate them.

use crate::engine::{Engine, Store};
use crate::fixture::{Database, NOW, SETUPS, create};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;

/// Ends the sessions of `alice` with `end` while 20 connections rotate them, ten times.
fn assert_none_escapes(end: impl Fn(&mut Store) -> u64) {
    for setup in SETUPS {
        let database = Database::new(setup);
        let mut store = database.open();
        for _ in 0..10 {
            let ids = [(); 20].map(|()| create(&mut store, NOW, Some("alice")));
            let (barrier, is_over) = (Barrier::new(ids.len() + 1), AtomicBool::new(false));
            thread::scope(|scope| {
                for mut id in ids {
                    let (database, barrier, is_over) = (&database, &barrier, &is_over);
                    scope.spawn(move || {
                        let mut store = database.open();
                        barrier.wait();
                        while !is_over.load(SeqCst) {
                            let Some(rotated) = store.rotate(NOW, &id, None).unwrap() else {
                                return;
                            };
                            id = rotated.id;
                        }
                    });
                }
                barrier.wait();
                let ended = end(&mut store);
                is_over.store(true, SeqCst);
                assert_eq!(ended, 20);
            });
            assert_eq!(store.count_sessions(NOW, None), Ok(0));
        }
    }
}

#[test]
fn a_session_that_is_rotated_does_not_escape_the_end_of_its_subject() {
    assert_none_escapes(|store| store.terminate_subject(NOW, "alice", None).unwrap());
}

#[test]
fn a_session_that_is_rotated_does_not_escape_the_end_of_all() {
    assert_none_escapes(|store| store.clear(NOW).unwrap());
}
