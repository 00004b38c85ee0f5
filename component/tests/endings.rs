//! Ending sessions on purpose: rotation, log-out, and the tombstones that refuse late
//! writers.

use crate::engine::{CreateRequest, Engine, Outcome, Request, Session, Store};
use crate::fixture::{Database, NOW, SETUP, SETUPS, create, handle, is_live, started};

const TOMBSTONE: u64 = 60_000;

/// Whether writes under this id are refused from `now` to `until`, and reads return nothing.
fn is_refused_until(store: &mut Store, now: u64, id: &str, until: u64) -> bool {
    [now, until - 1].into_iter().all(|now| {
        store.get(now, id) == Ok(None)
            && store.touch(now, id, None) == Ok(None)
            && store.merge(now, id, "{}", None) == Ok(None)
            && store.rotate(now, id, None) == Ok(None)
            && store.set(now, id, b"late", None) == Ok(Outcome::Gone)
            && [None, Some(0), Some(1)]
                .into_iter()
                .all(|expected| store.update(now, id, b"late", None, expected) == Ok(Outcome::Gone))
            && store.destroy(now, id) == Ok(false)
            && store.terminate(now, &handle(id)) == Ok(false)
            && store.inspect(now, &handle(id)) == Ok(None)
            && store
                .list_sessions(now, None, None, 10)
                .unwrap()
                .entries
                .is_empty()
    }) && matches!(
        store.set(until, id, b"new", Some(0)),
        Ok(Outcome::Written(_))
    )
}

#[test]
fn every_deliberate_ending_leaves_a_tombstone() {
    for setup in SETUPS {
        let database = Database::with(setup, |options| options.max_per_subject = Some(1));
        type Ending = fn(&mut Store, &str) -> bool;
        let endings: [(&str, Ending); 6] = [
            ("destroy", |store, id| store.destroy(NOW, id) == Ok(true)),
            ("terminate", |store, id| {
                store.terminate(NOW, &handle(id)) == Ok(true)
            }),
            ("terminate-subject", |store, _| {
                store.terminate_subject(NOW, "alice", None) == Ok(1)
            }),
            ("clear", |store, _| store.clear(NOW) == Ok(1)),
            ("rotate", |store, id| {
                let moved = store.rotate(NOW, id, None).unwrap().unwrap();
                // Ended, so that it is not in the listing.
                store.touch(NOW, &moved.id, Some(0)) == Ok(Some(NOW))
            }),
            ("maxPerSubject", |store, _| {
                let newer = create(store, NOW, Some("alice"));
                store.touch(NOW, &newer, Some(0)) == Ok(Some(NOW))
            }),
        ];
        for (name, end) in endings {
            let mut store = database.open();
            let id = create(&mut store, NOW, Some("alice"));
            assert!(end(&mut store, &id), "{name}");
            assert!(
                is_refused_until(&mut store, NOW, &id, NOW + TOMBSTONE),
                "{name}"
            );
            store.collect(u64::MAX, 10).unwrap();
        }
    }
}

#[test]
fn ending_a_missing_session_leaves_no_tombstone() {
    for setup in SETUPS {
        let mut store = Database::new(setup).open();
        assert_eq!(store.destroy(NOW, "mine"), Ok(false));
        assert_eq!(store.terminate(NOW, &handle("mine")), Ok(false));
        assert_eq!(store.terminate_subject(NOW, "alice", None), Ok(0));
        assert_eq!(store.clear(NOW), Ok(0));
        assert_eq!(store.stats(u64::MAX).unwrap().expired, 0);
        let outcome = store.set(NOW, "mine", b"", None).unwrap();
        assert!(matches!(outcome, Outcome::Written(_)));
    }
}

#[test]
fn ending_an_expired_session_leaves_no_tombstone() {
    for setup in SETUPS {
        let mut store = Database::new(setup).open();
        let id = store.create(NOW, b"", Some(10), Some("alice")).unwrap().id;
        let late = NOW + 10;
        assert_eq!(store.destroy(late, &id), Ok(false));
        assert_eq!(store.terminate(late, &handle(&id)), Ok(false));
        assert_eq!(store.terminate_subject(late, "alice", None), Ok(0));
        assert_eq!(store.clear(late), Ok(0));
        let outcome = store.set(late, &id, b"", None).unwrap();
        assert!(matches!(outcome, Outcome::Written(_)));
    }
}

#[test]
fn ending_a_session_again_does_not_prolong_its_tombstone() {
    for setup in SETUPS {
        let mut store = Database::new(setup).open();
        let id = create(&mut store, NOW, Some("alice"));
        assert_eq!(store.destroy(NOW, &id), Ok(true));
        let later = NOW + 30_000;
        assert_eq!(store.destroy(later, &id), Ok(false));
        assert_eq!(store.terminate(later, &handle(&id)), Ok(false));
        assert_eq!(store.terminate_subject(later, "alice", None), Ok(0));
        assert_eq!(store.clear(later), Ok(0));
        assert!(is_refused_until(&mut store, later, &id, NOW + TOMBSTONE));
    }
}

#[test]
fn a_tombstone_of_0_refuses_no_write() {
    let mut store = Database::with(SETUP, |options| options.tombstone = 0).open();
    let id = create(&mut store, NOW, None);
    assert_eq!(store.destroy(NOW, &id), Ok(true));
    store.set(NOW, &id, b"new", None).unwrap();
    assert_eq!(store.get(NOW, &id), Ok(Some(started("new", None, NOW))));
}

#[test]
fn a_tombstone_keeps_neither_payload_nor_subject() {
    let database = Database::new(SETUP);
    let mut store = database.open();
    let id = create(&mut store, NOW, Some("alice"));
    store.destroy(NOW, &id).unwrap();
    drop(store);
    let count = "SELECT count(*) FROM Sessions WHERE length(data) = 0 AND subject IS NULL";
    assert_eq!(database.number(count), 1);
}

#[test]
fn a_tombstone_outlives_the_life_of_its_session() {
    let mut store = Database::new(SETUP).open();
    let id = store.create(NOW, b"", Some(10), None).unwrap().id;
    store.destroy(NOW, &id).unwrap();
    assert!(is_refused_until(&mut store, NOW, &id, NOW + TOMBSTONE));
}

#[test]
fn rotation_keeps_data_and_times_and_ends_the_old_id() {
    for setup in SETUPS {
        let mut store = Database::new(setup).open();
        let id = store.create(NOW, b"data", None, Some("alice")).unwrap().id;
        let moved = store.rotate(NOW + 5, &id, None).unwrap().unwrap();
        assert_ne!(moved.id, id);
        let expected = started("data", Some("alice"), NOW);
        assert_eq!((moved.version, moved.expires), (1, expected.expires));
        assert_eq!(store.get(NOW + 5, &moved.id), Ok(Some(expected)));
        assert_eq!(store.get(NOW + 5, &id), Ok(None));
        assert_eq!(store.set(NOW + 5, &id, b"late", None), Ok(Outcome::Gone));
        assert_eq!(store.count_sessions(NOW + 5, Some("alice")), Ok(1));
    }
}

#[test]
fn rotation_with_a_subject_binds_it_and_counts_as_a_write() {
    for setup in SETUPS {
        let mut store = Database::new(setup).open();
        let mut id = create(&mut store, NOW, None);
        for (step, subject) in [(1, "alice"), (2, "bob"), (3, "bob")] {
            let now = NOW + step;
            let moved = store.rotate(now, &id, Some(subject)).unwrap().unwrap();
            assert_eq!(moved.version, 1 + step);
            let expected = Session {
                version: 1 + step,
                updated: now,
                ..started("{}", Some(subject), NOW)
            };
            assert_eq!(store.get(now, &moved.id), Ok(Some(expected)));
            id = moved.id;
        }
        assert_eq!(store.count_sessions(NOW, Some("alice")), Ok(0));
        assert_eq!(store.count_sessions(NOW, Some("bob")), Ok(1));
    }
}

#[test]
fn a_handle_that_is_in_no_listing_names_no_session() {
    let mut store = Database::new(SETUP).open();
    let id = create(&mut store, NOW, None);
    let name = handle(&id);
    for other in ["", "x", &name.to_uppercase(), &name[1..], &id, &handle("y")] {
        assert_eq!(store.terminate(NOW, other), Ok(false));
    }
    // A handle is not an id: it gives no access to a session.
    assert_eq!(store.get(NOW, &name), Ok(None));
    assert!(is_live(&mut store, NOW, &id));
}

#[test]
fn clear_ends_every_session_of_its_own_table_only() {
    for setup in SETUPS {
        let database = Database::new(setup);
        let mut store = database.open();
        create(&mut store, NOW, Some("alice"));
        create(&mut store, NOW, None);
        drop(store);
        let mut other = database.open_with(|options| options.table_name = "Other".into());
        let id = create(&mut other, NOW, None);
        drop(other);
        let mut store = database.open();
        assert_eq!(store.clear(NOW), Ok(2));
        assert_eq!(store.count_sessions(NOW, None), Ok(0));
        drop(store);
        let mut other = database.open_with(|options| options.table_name = "Other".into());
        assert!(is_live(&mut other, NOW, &id));
    }
}

#[test]
fn more_sessions_than_one_read_returns_end_together() {
    for setup in SETUPS {
        let mut store = Database::new(setup).open();
        let create_for = |subject: Option<&str>| {
            Request::Create(CreateRequest {
                data: b"{}".into(),
                ttl: None,
                subject: subject.map(str::to_owned),
            })
        };
        for subject in [Some("alice"), Some("bob"), None] {
            store.batch(NOW, &vec![create_for(subject); 600]).unwrap();
        }
        let own = create(&mut store, NOW, Some("alice"));
        let ended = store.terminate_subject(NOW, "alice", Some(&own));
        assert_eq!(ended, Ok(600));
        assert_eq!(store.count_sessions(NOW, None), Ok(1201));
        assert!(is_live(&mut store, NOW, &own));
        assert_eq!(store.clear(NOW), Ok(1201));
        assert_eq!(store.count_sessions(NOW, None), Ok(0));
        // Each session has left a tombstone.
        assert_eq!(store.stats(NOW + TOMBSTONE).unwrap().expired, 1801);
    }
}

#[test]
fn ending_many_that_fails_half_way_ends_none() {
    for setup in SETUPS {
        let database = Database::with(setup, |options| options.max_per_subject = Some(1000));
        let mut store = database.open();
        let request = Request::Create(CreateRequest {
            data: b"{}".into(),
            ttl: None,
            subject: Some("alice".into()),
        });
        for moment in 0..6 {
            store
                .batch(NOW + moment, &vec![request.clone(); 100])
                .unwrap();
        }
        drop(store);
        database.fail("BEFORE UPDATE", &format!("OLD.created = {}", NOW + 3));
        let mut store = database.open_with(|options| options.max_per_subject = Some(1));
        assert!(store.clear(NOW).is_err());
        assert!(store.terminate_subject(NOW, "alice", None).is_err());
        assert!(store.create(NOW, b"", None, Some("alice")).is_err());
        assert_eq!(store.count_sessions(NOW, Some("alice")), Ok(600));
        assert_eq!(store.stats(u64::MAX).unwrap().expired, 600);
    }
}
