//! Subjects: binding one, ending all of its sessions, and how many it may have.

use crate::engine::{Engine, Error, Store};
use crate::fixture::{Database, NOW, OpenStore, SETUP, SETUPS, Setup, create, handle, is_live};

/// A store in which a subject may have at most this many sessions.
fn limited(setup: Setup, most: u64) -> OpenStore {
    Database::with(setup, |options| options.max_per_subject = Some(most)).open()
}

fn live<'a>(store: &mut Store, now: u64, ids: &[&'a String]) -> Vec<&'a String> {
    let mut ids = ids.to_vec();
    ids.retain(|id| is_live(store, now, id));
    ids
}

#[test]
fn a_subject_is_1_to_255_bytes_long() {
    let mut store = Database::new(SETUP).open();
    let id = create(&mut store, NOW, None);
    for good in ["a", &"y".repeat(255), "a b", "\0", "%", "'"] {
        create(&mut store, NOW, Some(good));
        assert_eq!(store.count_sessions(NOW, Some(good)), Ok(1));
        let page = store.list_sessions(NOW, Some(good), None, 10).unwrap();
        assert_eq!(page.entries[0].subject.as_deref(), Some(good));
        assert_eq!(store.terminate_subject(NOW, good, None), Ok(1));
    }
    for bad in ["", &"y".repeat(256), &"é".repeat(128)] {
        let created = store.create(NOW, b"", None, Some(bad));
        assert!(matches!(created, Err(Error::InvalidArgument(_))));
        let rotated = store.rotate(NOW, &id, Some(bad));
        assert!(matches!(rotated, Err(Error::InvalidArgument(_))));
        assert!(is_live(&mut store, NOW, &id));
        assert_eq!(store.count_sessions(NOW, Some(bad)), Ok(0));
        let page = store.list_sessions(NOW, Some(bad), None, 10).unwrap();
        assert_eq!((page.entries.len(), page.next), (0, None));
        assert_eq!(store.terminate_subject(NOW, bad, None), Ok(0));
    }
}

#[test]
fn subjects_differ_by_every_byte() {
    let mut store = Database::new(SETUP).open();
    for subject in ["alice", "Alice", "alice ", "alice\0", "é", "e\u{301}"] {
        create(&mut store, NOW, Some(subject));
    }
    assert_eq!(store.count_sessions(NOW, Some("alice")), Ok(1));
    assert_eq!(store.terminate_subject(NOW, "é", None), Ok(1));
    assert_eq!(store.count_sessions(NOW, None), Ok(5));
}

#[test]
fn terminate_subject_ends_all_sessions_of_one_subject_except_one() {
    for setup in SETUPS {
        let mut store = Database::new(setup).open();
        let alices: Vec<String> = (0..4)
            .map(|_| create(&mut store, NOW, Some("alice")))
            .collect();
        let bobs = create(&mut store, NOW, Some("bob"));
        let unbound = create(&mut store, NOW, None);

        let ended = store.terminate_subject(NOW, "alice", Some(&alices[2]));
        assert_eq!(ended, Ok(3));
        let all: Vec<&String> = alices.iter().chain([&bobs, &unbound]).collect();
        let left = live(&mut store, NOW, &all);
        assert_eq!(left, [&alices[2], &bobs, &unbound]);

        // An id of another subject's session, a handle instead of an id, and an id that
        // cannot exist spare no session.
        let first_handle = handle(&alices[2]);
        let long = "x".repeat(256);
        for except in [bobs.as_str(), &first_handle, "", &long] {
            let id = create(&mut store, NOW, Some("carol"));
            let ended = store.terminate_subject(NOW, "carol", Some(except));
            assert_eq!(ended, Ok(1));
            assert!(!is_live(&mut store, NOW, &id));
        }
        assert_eq!(store.terminate_subject(NOW, "alice", None), Ok(1));
        assert_eq!(store.terminate_subject(NOW, "alice", None), Ok(0));
    }
}

#[test]
fn over_max_per_subject_the_sessions_created_longest_ago_end() {
    for setup in SETUPS {
        let mut store = limited(setup, 2);
        let first = create(&mut store, NOW, Some("alice"));
        let second = create(&mut store, NOW + 1, Some("alice"));
        // Renewed and written last, and still created first.
        store.set(NOW + 2, &first, b"", None).unwrap();
        store.touch(NOW + 50_000, &first, None).unwrap();
        let others = [
            create(&mut store, NOW + 2, Some("bob")),
            create(&mut store, NOW + 2, None),
            create(&mut store, NOW + 2, None),
            create(&mut store, NOW + 2, None),
        ];
        let third = create(&mut store, NOW + 3, Some("alice"));
        let all = [&first, &second, &third];
        assert_eq!(live(&mut store, NOW + 3, &all), [&second, &third]);
        let others: Vec<&String> = others.iter().collect();
        assert_eq!(live(&mut store, NOW + 3, &others), others);
    }
}

#[test]
fn max_per_subject_never_ends_the_session_being_created() {
    let mut store = limited(SETUP, 1);
    let newer = create(&mut store, NOW, Some("alice"));
    // The clock stepped back, so this one was created first.
    let older = create(&mut store, NOW - 100, Some("alice"));
    assert_eq!(live(&mut store, NOW, &[&newer, &older]), [&older]);
}

#[test]
fn a_session_that_expires_at_once_takes_no_place_but_the_limit_applies() {
    for setup in SETUPS {
        let mut store = limited(setup, 2);
        let ended = create(&mut store, NOW, Some("alice"));
        let ids = [
            create(&mut store, NOW + 1, Some("alice")),
            create(&mut store, NOW + 2, Some("alice")),
        ];
        let all = [&ended, &ids[0], &ids[1]];
        store.create(NOW + 3, b"", Some(0), Some("alice")).unwrap();
        assert_eq!(live(&mut store, NOW + 3, &all), [&ids[0], &ids[1]]);
        // One expires, another is created, and the clock steps back: three are live.
        store.touch(NOW + 3, &ids[0], Some(10)).unwrap();
        let third = create(&mut store, NOW + 13, Some("alice"));
        let all = [&ids[0], &ids[1], &third];
        assert_eq!(live(&mut store, NOW + 12, &all), all);
        store.create(NOW + 12, b"", Some(0), Some("alice")).unwrap();
        assert_eq!(live(&mut store, NOW + 12, &all), [&ids[1], &third]);
    }
}

#[test]
fn max_per_subject_never_ends_the_session_being_rotated() {
    for setup in SETUPS {
        let mut store = limited(setup, 2);
        let oldest = create(&mut store, NOW, None);
        let second = create(&mut store, NOW + 1, Some("alice"));
        let third = create(&mut store, NOW + 2, Some("alice"));
        let moved = store.rotate(NOW + 3, &oldest, Some("alice"));
        let moved = moved.unwrap().unwrap().id;
        let all = [&oldest, &second, &third, &moved];
        assert_eq!(live(&mut store, NOW + 3, &all), [&third, &moved]);
        // Logging in again does not add a session.
        let again = store.rotate(NOW + 4, &moved, Some("alice"));
        let again = again.unwrap().unwrap().id;
        assert_eq!(
            live(&mut store, NOW + 4, &[&third, &again]),
            [&third, &again]
        );
        // Neither does a rotation without a subject.
        let quiet = store.rotate(NOW + 5, &third, None).unwrap().unwrap().id;
        assert_eq!(
            live(&mut store, NOW + 5, &[&quiet, &again]),
            [&quiet, &again]
        );
    }
}

#[test]
fn expired_and_ended_sessions_do_not_count() {
    let mut store = limited(SETUP, 2);
    let lasting = create(&mut store, NOW, Some("alice"));
    store.create(NOW + 1, b"", Some(1), Some("alice")).unwrap();
    let ended = create(&mut store, NOW + 2, Some("alice"));
    store.destroy(NOW + 2, &ended).unwrap();
    let newest = create(&mut store, NOW + 3, Some("alice"));
    let both = [&lasting, &newest];
    assert_eq!(live(&mut store, NOW + 3, &both), both);
    // A session that is created with a life of 0 does not count either.
    store.create(NOW + 4, b"", Some(0), Some("alice")).unwrap();
    assert_eq!(live(&mut store, NOW + 4, &both), both);
}

#[test]
fn a_lower_max_per_subject_applies_from_the_next_session_on() {
    let database = Database::new(SETUP);
    let mut store = database.open();
    let ids: Vec<String> = (0..5)
        .map(|n| create(&mut store, NOW + n, Some("alice")))
        .collect();
    drop(store);
    let mut store = database.open_with(|options| options.max_per_subject = Some(2));
    assert_eq!(store.count_sessions(NOW, Some("alice")), Ok(5));
    let newest = create(&mut store, NOW + 9, Some("alice"));
    let all: Vec<&String> = ids.iter().chain([&newest]).collect();
    assert_eq!(live(&mut store, NOW + 9, &all), [&ids[4], &newest]);
}

#[test]
fn a_much_lower_max_per_subject_keeps_those_created_last() {
    let database = Database::new(SETUP);
    let mut store = database.open();
    let ids: Vec<String> = (0..700)
        .map(|n| create(&mut store, NOW + n, Some("alice")))
        .collect();
    drop(store);
    let mut store = database.open_with(|options| options.max_per_subject = Some(300));
    let newest = create(&mut store, NOW, Some("alice"));
    let kept: Vec<&String> = ids[401..].iter().chain([&newest]).collect();
    let all: Vec<&String> = ids.iter().chain([&newest]).collect();
    assert_eq!(live(&mut store, NOW + 700, &all), kept);
}
