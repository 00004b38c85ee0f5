//! Tests of concurrency: create, update and set; versions that prevent lost updates; and
//! tombstones against late writes.

use wasi_sessions::{NewSession, Options, Outcome, Sessions};

use crate::fixture::{
    Home, LIFE, READ_CACHES, create, create_for, data, ms, only_handle, session, store, store_with,
    written,
};

#[test]
fn create_update_and_set_treat_missing_sessions_differently() {
    let (_home, sessions) = store();
    // `create` always starts a session.
    let (first, second) = (create(&sessions, "{}"), create(&sessions, "{}"));
    assert_ne!(first, second);

    // `update` never does, except with 0 expected.
    for expected in [None, Some(1), Some(7), Some(u64::MAX)] {
        let update = sessions.update("missing", "{}", LIFE, expected);
        assert_eq!(update.wait(), Ok(Outcome::Gone));
    }
    assert_eq!(sessions.get("missing").wait(), Ok(None));

    // `set` starts a session if there is none.
    for version in 1..4 {
        let set = sessions.set("brought", "{}", LIFE).wait().unwrap();
        assert_eq!(written(set).version, version);
    }
}

#[test]
fn a_stale_update_is_refused_and_answered_with_the_stored_session() {
    let (home, sessions) = store();
    let id = create_for(&sessions, "alice");
    home.advance(5);
    let faster = sessions.update(&id, "faster", Some(ms(100)), Some(1));
    assert_eq!(written(faster.wait().unwrap()).version, 2);

    for expected in [1, 3, u64::MAX, 0] {
        let slower = sessions.update(&id, "slower", LIFE, Some(expected));
        let stored = session(&sessions, &id);
        assert_eq!(slower.wait(), Ok(Outcome::Stale(stored)), "{expected}");
    }
    let stored = session(&sessions, &id);
    assert_eq!(stored.data, b"faster");
    assert_eq!((stored.version, stored.updated), (2, home.now()));
    assert_eq!(
        stored.expires,
        home.now() + 100,
        "a stale write renews nothing"
    );

    let again = sessions.update(&id, "slower", LIFE, Some(stored.version));
    assert_eq!(written(again.wait().unwrap()).version, 3);
    let blind = sessions.update(&id, "whatever", LIFE, None);
    assert_eq!(written(blind.wait().unwrap()).version, 4);
}

#[test]
fn a_destroyed_id_is_refused_as_long_as_its_tombstone_lasts() {
    for tombstone in [0, 1, 60_000] {
        let (home, sessions) = store_with(Options {
            tombstone: ms(tombstone),
            ..Options::default()
        });
        let id = create(&sessions, "{}");
        assert_eq!(sessions.destroy(&id).wait(), Ok(true));
        assert_eq!(data(&sessions, &id), None);
        if tombstone > 0 {
            refused(&sessions, &id);
            home.advance(tombstone - 1);
            refused(&sessions, &id);
            home.advance(1);
        }
        let set = sessions.set(&id, "{}", LIFE).wait().unwrap();
        assert_eq!(written(set).version, 1, "{tombstone}");
    }
}

#[test]
fn a_rotated_id_is_refused_as_long_as_its_tombstone_lasts() {
    let (home, sessions) = store();
    let id = create(&sessions, "{}");
    let new = sessions.rotate(&id, Some("alice")).wait().unwrap().unwrap();
    refused(&sessions, &id);
    home.advance(59_999);
    refused(&sessions, &id);
    home.advance(1);
    let insert = sessions.update(&id, "{}", LIFE, Some(0)).wait().unwrap();
    assert_eq!(written(insert).version, 1);
    assert_eq!(session(&sessions, &new.id).version, 2);
}

#[test]
fn every_deliberate_ending_leaves_a_tombstone() {
    type Ending = (&'static str, fn(&Home, &Sessions, &str));
    let endings: [Ending; 7] = [
        ("destroy", |_, sessions, id| {
            assert_eq!(sessions.destroy(id).wait(), Ok(true));
        }),
        ("rotate", |_, sessions, id| {
            assert!(sessions.rotate(id, None).wait().unwrap().is_some());
        }),
        ("terminate", |_, sessions, _| {
            let handle = only_handle(sessions);
            assert_eq!(sessions.terminate(&handle).wait(), Ok(true));
        }),
        ("terminate-subject", |_, sessions, _| {
            assert_eq!(sessions.terminate_subject("alice", None).wait(), Ok(1));
        }),
        ("clear", |_, sessions, _| {
            assert_eq!(sessions.clear().wait(), Ok(1));
        }),
        ("maxPerSubject at create", |home, sessions, _| {
            home.advance(1);
            create_for(sessions, "alice");
        }),
        ("maxPerSubject at rotate", |home, sessions, _| {
            home.advance(1);
            let id = create(sessions, "{}");
            assert!(
                sessions
                    .rotate(&id, Some("alice"))
                    .wait()
                    .unwrap()
                    .is_some()
            );
        }),
    ];
    let all = READ_CACHES.map(|bytes| endings.map(|(what, end)| (bytes, what, end)));
    for (bytes, what, end) in all.into_iter().flatten() {
        let home = Home::new();
        let options = Options {
            max_per_subject: Some(1),
            ..Options::default()
        };
        let sessions = home.open_with_read_cache(bytes, options);
        let id = create_for(&sessions, "alice");
        assert_eq!(data(&sessions, &id).as_deref(), Some("{}"));
        end(&home, &sessions, &id);
        assert_eq!(data(&sessions, &id), None, "{what}");
        refused(&sessions, &id);
        home.advance(60_000);
        let set = sessions.set(&id, "{}", LIFE).wait().unwrap();
        assert_eq!(written(set).version, 1, "{what}");
    }
}

#[test]
fn ending_a_missing_or_expired_session_leaves_no_tombstone() {
    let (home, sessions) = store();
    let id = sessions.create(NewSession::new("{}").ttl(ms(10)).subject("alice"));
    let id = id.wait().unwrap().id;
    home.advance(10);
    for id in ["missing", &id] {
        assert_eq!(sessions.destroy(id).wait(), Ok(false));
        assert_eq!(sessions.rotate(id, None).wait(), Ok(None));
        assert_eq!(sessions.terminate_subject("alice", None).wait(), Ok(0));
        assert_eq!(sessions.clear().wait(), Ok(0));
        let set = sessions.set(id, "{}", LIFE).wait().unwrap();
        assert_eq!(written(set).version, 1);
        assert_eq!(sessions.destroy(id).wait(), Ok(true));
    }
}

#[test]
fn ending_a_session_again_does_not_extend_its_tombstone() {
    let (home, sessions) = store();
    let id = create_for(&sessions, "alice");
    let handle = only_handle(&sessions);
    assert_eq!(sessions.destroy(&id).wait(), Ok(true));
    home.advance(59_999);
    assert_eq!(sessions.destroy(&id).wait(), Ok(false));
    assert_eq!(sessions.terminate(&handle).wait(), Ok(false));
    assert_eq!(sessions.terminate_subject("alice", None).wait(), Ok(0));
    assert_eq!(sessions.clear().wait(), Ok(0));
    refused(&sessions, &id);
    home.advance(1);
    written(sessions.set(&id, "{}", LIFE).wait().unwrap());
}

#[test]
fn a_tombstone_survives_a_restart_and_a_collection() {
    let (home, sessions) = store();
    let id = create(&sessions, "{}");
    assert_eq!(sessions.destroy(&id).wait(), Ok(true));
    drop(sessions);
    let sessions = home.open();
    home.advance(59_999);
    assert_eq!(sessions.collect(100).wait().unwrap().removed, 0);
    refused(&sessions, &id);
    home.advance(1);
    assert_eq!(sessions.collect(100).wait().unwrap().removed, 1);
}

/// Checks that requests for an ended id are refused.
fn refused(sessions: &Sessions, id: &str) {
    assert_eq!(sessions.get(id).wait(), Ok(None));
    assert_eq!(sessions.touch(id, LIFE).wait(), Ok(None));
    assert_eq!(sessions.merge(id, "{}", LIFE).wait(), Ok(None));
    assert_eq!(sessions.rotate(id, None).wait(), Ok(None));
    assert_eq!(sessions.rotate(id, Some("alice")).wait(), Ok(None));
    assert_eq!(sessions.set(id, "{}", LIFE).wait(), Ok(Outcome::Gone));
    for expected in [None, Some(0), Some(1), Some(2)] {
        let update = sessions.update(id, "{}", LIFE, expected);
        assert_eq!(update.wait(), Ok(Outcome::Gone));
    }
    assert_eq!(sessions.destroy(id).wait(), Ok(false));
}
