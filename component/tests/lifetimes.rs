//! The life of a session, and what renews it.

use crate::engine::{END_OF_TIME, Engine, Outcome, Session, Store};
use crate::fixture::{Database, NOW, SETUP, SETUPS, create, is_live, started};

const DAY: u64 = 86_400_000;

/// When a new session with this payload and ttl expires.
fn expiry(store: &mut Store, data: &str, ttl: Option<u64>) -> u64 {
    store
        .create(NOW, data.as_bytes(), ttl, None)
        .unwrap()
        .expires
}

fn expires(outcome: Outcome) -> u64 {
    match outcome {
        Outcome::Written(written) => written.expires,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_session_exists_until_the_moment_it_expires() {
    for setup in SETUPS {
        let mut store = Database::new(setup).open();
        let id = store
            .create(NOW, b"{}", Some(100), Some("alice"))
            .unwrap()
            .id;
        for (now, live) in [(NOW, 1), (NOW + 99, 1), (NOW + 100, 0)] {
            assert_eq!(is_live(&mut store, now, &id), live == 1);
            assert_eq!(store.count_sessions(now, None), Ok(live));
            assert_eq!(store.count_sessions(now, Some("alice")), Ok(live));
            assert_eq!(store.stats(now).unwrap().live, live);
            let page = store.list_sessions(now, Some("alice"), None, 10).unwrap();
            assert_eq!(page.entries.len() as u64, live);
        }
        let late = NOW + 100;
        assert_eq!(store.touch(late, &id, None), Ok(None));
        assert_eq!(store.merge(late, &id, "{}", None), Ok(None));
        assert_eq!(store.rotate(late, &id, None), Ok(None));
        assert_eq!(store.update(late, &id, b"", None, None), Ok(Outcome::Gone));
        assert_eq!(store.destroy(late, &id), Ok(false));
        assert_eq!(store.terminate_subject(late, "alice", None), Ok(0));
        assert_eq!(store.clear(late), Ok(0));
    }
}

#[test]
fn a_life_is_the_ttl_else_the_max_age_else_the_default() {
    let mut store = Database::new(SETUP).open();
    let max_age = |value: &str| format!(r#"{{"cookie":{{"maxAge":{value}}}}}"#);
    for (data, ttl, life) in [
        (max_age("5000"), Some(7), 7),
        (max_age("5000"), None, 5000),
        (max_age("5000.9"), None, 5000),
        (max_age("5e3"), None, 5000),
        (max_age("0"), None, DAY),
        (max_age("-5"), None, DAY),
        (max_age("\"5000\""), None, DAY),
        (max_age("null"), None, DAY),
        ("{}".into(), None, DAY),
        ("not JSON".into(), None, DAY),
        (String::new(), None, DAY),
        (String::new(), Some(1), 1),
    ] {
        assert_eq!(expiry(&mut store, &data, ttl), NOW + life, "{data}");
    }
}

#[test]
fn a_ttl_of_0_ends_the_session_immediately() {
    for setup in SETUPS {
        let mut store = Database::new(setup).open();
        let created = store.create(NOW, b"{}", Some(0), None).unwrap();
        assert_eq!(created.expires, NOW);
        assert!(!is_live(&mut store, NOW, &created.id));

        let id = create(&mut store, NOW, None);
        assert_eq!(store.touch(NOW, &id, Some(0)), Ok(Some(NOW)));
        assert!(!is_live(&mut store, NOW, &id));

        let id = create(&mut store, NOW, None);
        assert_eq!(expires(store.set(NOW, &id, b"{}", Some(0)).unwrap()), NOW);
        assert!(!is_live(&mut store, NOW, &id));
        // The session expired and was not ended, so the id is not refused.
        assert_eq!(
            expires(store.set(NOW, &id, b"{}", None).unwrap()),
            NOW + DAY
        );
    }
}

#[test]
fn every_write_renews_with_the_life_of_the_written_payload() {
    let mut store = Database::new(SETUP).open();
    let id = store.create(NOW, b"{}", Some(100), None).unwrap().id;
    let later = NOW + 50;
    let forever = br#"{"cookie":{"maxAge":9000}}"#;
    let written = store.update(later, &id, forever, None, Some(1)).unwrap();
    assert_eq!(expires(written), later + 9000);
    assert_eq!(
        expires(store.set(later, &id, b"{}", Some(5)).unwrap()),
        later + 5
    );
    let patch = r#"{"cookie":{"maxAge":700}}"#;
    let merged = store.merge(later, &id, patch, None).unwrap().unwrap();
    assert_eq!(merged.expires, later + 700);
    assert_eq!(
        store.touch(later + 1, &id, Some(9000)),
        Ok(Some(later + 9001))
    );
    assert_eq!(store.touch(later + 2, &id, None), Ok(Some(later + 702)));
}

#[test]
fn overwriting_an_expired_session_creates_a_new_one() {
    for setup in SETUPS {
        let mut store = Database::new(setup).open();
        let id = store
            .create(NOW, b"{}", Some(100), Some("alice"))
            .unwrap()
            .id;
        store.set(NOW + 1, &id, b"{}", Some(100)).unwrap();
        let late = NOW + 101;
        store.set(late, &id, b"new", None).unwrap();
        assert_eq!(store.get(late, &id), Ok(Some(started("new", None, late))));
        assert_eq!(store.count_sessions(late, Some("alice")), Ok(0));
    }
}

#[test]
fn no_renewal_goes_past_the_absolute_lifetime() {
    for setup in SETUPS {
        let database = Database::with(setup, |options| options.absolute_lifetime = Some(1000));
        let mut store = database.open();
        let limit = NOW + 1000;
        let created = store.create(NOW, b"{}", None, None).unwrap();
        let id = created.id;
        assert_eq!(created.expires, limit);
        let later = NOW + 600;
        assert_eq!(
            expires(store.set(later, &id, b"{}", Some(DAY)).unwrap()),
            limit
        );
        let updated = store.update(later, &id, b"{}", None, None).unwrap();
        assert_eq!(expires(updated), limit);
        let merged = store.merge(later, &id, "{}", Some(DAY)).unwrap().unwrap();
        assert_eq!(merged.expires, limit);
        assert_eq!(store.touch(later, &id, None), Ok(Some(limit)));
        let rotated = store.rotate(later, &id, Some("alice")).unwrap().unwrap();
        assert_eq!(rotated.expires, limit);
        assert_eq!(store.touch(later, &rotated.id, Some(500)), Ok(Some(limit)));
        assert!(!is_live(&mut store, limit, &rotated.id));
    }
}

#[test]
fn a_renewal_caps_the_life_of_a_session_created_by_a_clock_that_was_ahead() {
    type Renewal = fn(&mut Store, u64, &str) -> u64;
    let renewals: [Renewal; 4] = [
        |store, now, id| store.touch(now, id, None).unwrap().unwrap(),
        |store, now, id| expires(store.set(now, id, b"{}", None).unwrap()),
        |store, now, id| expires(store.update(now, id, b"{}", None, None).unwrap()),
        |store, now, id| store.merge(now, id, "{}", None).unwrap().unwrap().expires,
    ];
    let ahead = NOW + 1000 * DAY;
    for setup in SETUPS {
        for renew in renewals {
            let database = Database::with(setup, |options| options.absolute_lifetime = Some(1000));
            let mut store = database.open();
            let first = store.create(ahead, b"{}", None, Some("alice")).unwrap();
            let rotated = store.rotate(NOW, &first.id, None).unwrap().unwrap();
            // Neither a read nor a rotation renews.
            assert_eq!(rotated.expires, ahead + 1000);
            let id = rotated.id;
            for now in [NOW, NOW + 600, NOW + 999] {
                assert_eq!(renew(&mut store, now, &id), NOW + 1000);
                let session = store.get(now, &id).unwrap().unwrap();
                assert_eq!((session.created, session.expires), (NOW, NOW + 1000));
            }
            assert!(!is_live(&mut store, NOW + 1000, &id));
        }
    }
}

#[test]
fn another_absolute_lifetime_counts_from_the_next_write_or_touch() {
    let database = Database::new(SETUP);
    let mut store = database.open();
    let touched = create(&mut store, NOW, None);
    let written = create(&mut store, NOW, None);
    drop(store);
    let mut store = database.open_with(|options| options.absolute_lifetime = Some(1000));
    let later = NOW + 5000;
    assert!(is_live(&mut store, later, &touched));
    let rotated = store.rotate(later, &touched, None).unwrap().unwrap();
    assert_eq!(rotated.expires, NOW + DAY);
    assert_eq!(store.touch(later, &rotated.id, None), Ok(Some(NOW + 1000)));
    assert!(!is_live(&mut store, later, &rotated.id));
    assert_eq!(
        expires(store.set(later, &written, b"", None).unwrap()),
        NOW + 1000
    );
    assert!(!is_live(&mut store, later, &written));
}

#[test]
fn a_touch_that_gains_less_than_the_renewal_step_writes_nothing() {
    for setup in SETUPS {
        let database = Database::with(setup, |options| options.renewal_step = 100);
        let mut store = database.open();
        let id = store.create(NOW, b"{}", Some(1000), None).unwrap().id;
        let before = store.get(NOW, &id).unwrap().unwrap();
        for (now, ttl, expires) in [
            (NOW + 99, 1000, NOW + 1000),
            (NOW + 100, 1000, NOW + 1100),
            (NOW + 100, 1000, NOW + 1100),
            // An earlier expiry is always written, however small the difference.
            (NOW + 100, 999, NOW + 1099),
            (NOW + 100, 300, NOW + 400),
            (NOW + 100, 399, NOW + 400),
        ] {
            assert_eq!(store.touch(now, &id, Some(ttl)), Ok(Some(expires)));
            let expected = Session {
                expires,
                ..before.clone()
            };
            assert_eq!(store.get(now, &id), Ok(Some(expected)));
        }
    }
}

#[test]
fn a_touch_without_a_renewal_step_always_counts() {
    let database = Database::with(SETUP, |options| options.renewal_step = 0);
    let mut store = database.open();
    let id = store.create(NOW, b"{}", Some(1000), None).unwrap().id;
    assert_eq!(store.touch(NOW + 1, &id, Some(1000)), Ok(Some(NOW + 1001)));
}

#[test]
fn a_touch_without_a_ttl_uses_the_max_age_of_the_payload() {
    let mut store = Database::new(SETUP).open();
    let data = br#"{"cookie":{"maxAge":5000}}"#;
    let id = store.create(NOW, data, None, None).unwrap().id;
    assert_eq!(store.touch(NOW + 2000, &id, None), Ok(Some(NOW + 7000)));
}

#[test]
fn times_saturate_at_2_to_the_63_minus_1() {
    for setup in SETUPS {
        let mut store = Database::new(setup).open();
        for (now, ttl, expires) in [
            (NOW, u64::MAX, END_OF_TIME),
            (0, END_OF_TIME, END_OF_TIME),
            (1, END_OF_TIME, END_OF_TIME),
            (END_OF_TIME - 1, 1, END_OF_TIME),
            (END_OF_TIME - 1, u64::MAX, END_OF_TIME),
            (END_OF_TIME, 1, END_OF_TIME),
            (u64::MAX, 0, END_OF_TIME),
            (u64::MAX, u64::MAX, END_OF_TIME),
        ] {
            let created = store.create(now, b"{}", Some(ttl), None).unwrap();
            assert_eq!(created.expires, expires);
            assert_eq!(is_live(&mut store, now, &created.id), now < expires);
            store.destroy(now, &created.id).unwrap();
        }
        let everything = store.stats(u64::MAX).unwrap();
        assert_eq!((everything.live, everything.expired), (0, 8));
        assert_eq!(store.collect(u64::MAX, u64::MAX).unwrap().removed, 8);
    }
}

#[test]
fn a_session_of_the_last_moment_keeps_its_times() {
    let mut store = Database::new(SETUP).open();
    let now = END_OF_TIME - 1;
    store.set(now, "last", b"{}", Some(u64::MAX)).unwrap();
    let expected = Session {
        data: b"{}".into(),
        subject: None,
        version: 1,
        created: now,
        updated: now,
        expires: END_OF_TIME,
    };
    assert_eq!(store.get(now, "last"), Ok(Some(expected)));
    assert!(is_live(&mut store, 0, "last"));
    assert!(!is_live(&mut store, u64::MAX, "last"));
}

#[test]
fn the_largest_options_do_not_overflow() {
    for setup in SETUPS {
        let database = Database::with(setup, |options| {
            options.browser_session_lifetime = END_OF_TIME;
            options.absolute_lifetime = Some(END_OF_TIME);
            options.renewal_step = END_OF_TIME;
            options.tombstone = END_OF_TIME;
            options.gc_frequency = END_OF_TIME;
        });
        let mut store = database.open();
        let id = create(&mut store, NOW, Some("alice"));
        assert_eq!(store.touch(NOW + 1, &id, None), Ok(Some(END_OF_TIME)));
        assert_eq!(store.touch(NOW + 1, &id, Some(5)), Ok(Some(NOW + 6)));
        assert_eq!(store.destroy(NOW + 1, &id), Ok(true));
        assert_eq!(
            store.set(END_OF_TIME - 1, &id, b"", None),
            Ok(Outcome::Gone)
        );
    }
}

#[test]
fn a_clock_that_steps_back_does_not_bring_collected_sessions_back() {
    for setup in SETUPS {
        let mut store = Database::new(setup).open();
        let expired = store.create(NOW, b"{}", Some(100), None).unwrap().id;
        let ended = create(&mut store, NOW, None);
        store.destroy(NOW, &ended).unwrap();
        let lasting = create(&mut store, NOW, None);
        assert_eq!(store.collect(NOW + 70_000, 10).unwrap().removed, 2);
        for now in [NOW, 0] {
            assert!(!is_live(&mut store, now, &expired));
            assert!(!is_live(&mut store, now, &ended));
            assert!(is_live(&mut store, now, &lasting));
        }
        assert_eq!(expires(store.set(0, &ended, b"", Some(5)).unwrap()), 5);
        // The clock has not yet reached the time at which this one was created.
        let written = store.set(NOW - 500, &lasting, b"", Some(1000)).unwrap();
        assert_eq!(expires(written), NOW + 500);
        assert_eq!(store.check(), Ok(vec![]));
    }
}
