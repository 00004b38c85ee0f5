//! Tests of the limit of a subject's sessions while one of them is rotated.

use crate::engine::Engine;
use crate::fixture::{Database, NOW, SETUPS, create};
use std::sync::mpsc::channel;
use std::thread;

#[test]
fn a_session_that_is_rotated_does_not_escape_the_limit_of_its_subject() {
    for setup in SETUPS {
        let database = Database::with(setup, |options| options.max_per_subject = Some(1));
        let mut store = database.open();
        let (ids, received) = channel::<String>();
        let (done, ended) = channel();
        thread::scope(|scope| {
            let database = &database;
            scope.spawn(move || {
                let mut store = database.open();
                for id in received {
                    // Without a subject, so without the subject's lock.
                    let rotated = store.rotate(NOW, &id, None);
                    done.send(rotated.is_ok()).unwrap();
                }
            });
            for _ in 0..500 {
                ids.send(create(&mut store, NOW, Some("alice"))).unwrap();
                create(&mut store, NOW, Some("alice"));
                assert_eq!(ended.recv(), Ok(true));
                assert_eq!(store.count_sessions(NOW, Some("alice")), Ok(1));
            }
            drop(ids);
        });
    }
}
