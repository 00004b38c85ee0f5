//! Creating, reading and writing sessions, and how versions prevent lost updates.

use crate::engine::{Engine, Error, Outcome, Session, Written};
use crate::fixture::{Database, NOW, SETUP, SETUPS, create, is_live, started};

const DAY: u64 = 86_400_000;

fn written(version: u64, now: u64) -> Result<Outcome, Error> {
    Ok(Outcome::Written(Written {
        version,
        updated: now,
        expires: now + DAY,
    }))
}

fn is_refused<T>(answer: Result<T, Error>, argument: &str) -> bool {
    matches!(answer, Err(Error::InvalidArgument(words)) if words.contains(argument))
}

#[test]
fn a_created_session_is_read_back_byte_for_byte() {
    for setup in SETUPS {
        let mut store = Database::new(setup).open();
        let payloads = ["{}", "", "Zażółć gęślą jaźń, 日本語, 🎉", "\0", " { } "];
        for payload in payloads {
            let created = store
                .create(NOW, payload.as_bytes(), None, Some("älice"))
                .unwrap();
            assert_eq!((created.id.len(), created.version), (43, 1));
            let session = store.get(NOW, &created.id).unwrap();
            assert_eq!(session, Some(started(payload, Some("älice"), NOW)));
        }
        let bytes: Vec<u8> = (0..=255).collect();
        let id = store.create(NOW, &bytes, None, None).unwrap().id;
        assert_eq!(store.get(NOW, &id).unwrap().unwrap().data, bytes);
    }
}

#[test]
fn a_missing_session_is_none_and_no_error() {
    for setup in SETUPS {
        let mut store = Database::new(setup).open();
        for id in ["missing", "", &"x".repeat(256), "\0", "'; --"] {
            assert_eq!(store.get(NOW, id), Ok(None));
            assert_eq!(store.touch(NOW, id, None), Ok(None));
            assert_eq!(store.merge(NOW, id, "{}", None), Ok(None));
            assert_eq!(store.rotate(NOW, id, Some("alice")), Ok(None));
            assert_eq!(store.destroy(NOW, id), Ok(false));
            for expected in [None, Some(1)] {
                let outcome = store.update(NOW, id, b"", None, expected);
                assert_eq!(outcome, Ok(Outcome::Gone));
            }
        }
    }
}

#[test]
fn set_writes_whether_or_not_the_session_exists() {
    for setup in SETUPS {
        let mut store = Database::new(setup).open();
        assert_eq!(store.set(NOW, "mine", b"a", None), written(1, NOW));
        assert_eq!(store.get(NOW, "mine"), Ok(Some(started("a", None, NOW))));
        assert_eq!(store.set(NOW + 5, "mine", b"b", None), written(2, NOW + 5));
        let expected = Session {
            version: 2,
            created: NOW,
            ..started("b", None, NOW + 5)
        };
        assert_eq!(store.get(NOW + 5, "mine"), Ok(Some(expected)));
    }
}

#[test]
fn a_write_keeps_the_subject() {
    let mut store = Database::new(SETUP).open();
    let id = create(&mut store, NOW, Some("alice"));
    store.set(NOW, &id, b"a", None).unwrap();
    store.update(NOW, &id, b"b", None, None).unwrap();
    let session = store.get(NOW, &id).unwrap().unwrap();
    assert_eq!(session.subject.as_deref(), Some("alice"));
    assert_eq!(session.version, 3);
}

#[test]
fn only_set_and_an_update_of_version_0_refuse_an_id_that_cannot_exist() {
    let mut store = Database::new(SETUP).open();
    for id in ["", &"x".repeat(256), &"é".repeat(128)] {
        assert!(is_refused(store.set(NOW, id, b"", None), "id"));
        assert!(is_refused(store.update(NOW, id, b"", None, Some(0)), "id"));
    }
    for id in ["x", &"x".repeat(255), &format!("x{}", "é".repeat(127))] {
        assert_eq!(store.set(NOW, id, b"", None), written(1, NOW));
    }
}

#[test]
fn an_update_with_the_wrong_version_returns_the_live_session() {
    for setup in SETUPS {
        let mut store = Database::new(setup).open();
        let id = create(&mut store, NOW, None);
        assert_eq!(store.update(NOW, &id, b"1", None, Some(1)), written(2, NOW));
        let standing = Session {
            version: 2,
            ..started("1", None, NOW)
        };
        for expected in [0, 1, 3, u64::MAX] {
            let outcome = store.update(NOW + 1, &id, b"2", None, Some(expected));
            assert_eq!(outcome, Ok(Outcome::Stale(standing.clone())));
        }
        assert_eq!(store.get(NOW + 1, &id), Ok(Some(standing)));
        assert_eq!(store.update(NOW, &id, b"2", None, Some(2)), written(3, NOW));
        assert_eq!(store.update(NOW, &id, b"3", None, None), written(4, NOW));
    }
}

#[test]
fn an_update_of_version_0_creates_a_session_only_if_none_exists() {
    for setup in SETUPS {
        let mut store = Database::new(setup).open();
        let start = |now| (now, "mine", b"a".as_slice(), None::<u64>, Some(0));
        let (now, id, data, ttl, expected) = start(NOW);
        assert_eq!(store.update(now, id, data, ttl, expected), written(1, NOW));
        let standing = started("a", None, NOW);
        let again = store.update(now, id, b"b", ttl, expected);
        assert_eq!(again, Ok(Outcome::Stale(standing)));

        store.destroy(NOW, id).unwrap();
        let ended = store.update(NOW, id, data, ttl, expected);
        assert_eq!(ended, Ok(Outcome::Gone));
        let late = NOW + 60_000;
        assert_eq!(
            store.update(late, id, data, ttl, expected),
            written(1, late)
        );
    }
}

#[test]
fn a_merge_changes_what_the_patch_names_and_counts_as_a_write() {
    for setup in SETUPS {
        let mut store = Database::new(setup).open();
        let data = r#"{"z":1.10,"big":12345678901234567890123,"a":{"y":1e2,"x":null},"old":1}"#;
        let created = store.create(NOW, data.as_bytes(), None, Some("alice"));
        let id = created.unwrap().id;
        let patch = r#"{"a":{"n":[2]},"old":null,"absent":null}"#;
        let merged = store.merge(NOW + 1, &id, patch, None).unwrap();
        let data = r#"{"z":1.10,"big":12345678901234567890123,"a":{"y":1e2,"x":null,"n":[2]}}"#;
        let expected = Session {
            version: 2,
            created: NOW,
            ..started(data, Some("alice"), NOW + 1)
        };
        assert_eq!(merged.as_ref(), Some(&expected));
        assert_eq!(store.get(NOW + 1, &id), Ok(merged));
    }
}

#[test]
fn a_merge_of_anything_but_json_is_refused_and_changes_nothing() {
    let mut store = Database::new(SETUP).open();
    let deep = "[".repeat(129) + &"]".repeat(129);
    let object = create(&mut store, NOW, None);
    for patch in ["", "x", "{", "{}{}", deep.as_str()] {
        assert!(is_refused(store.merge(NOW, &object, patch, None), "patch"));
        // The patch is checked first, whether or not the session exists.
        assert!(is_refused(
            store.merge(NOW, "missing", patch, None),
            "patch"
        ));
    }
    for payload in ["", "x", deep.as_str()] {
        let id = store
            .create(NOW, payload.as_bytes(), None, None)
            .unwrap()
            .id;
        assert!(is_refused(store.merge(NOW, &id, "{}", None), "payload"));
        let session = store.get(NOW, &id).unwrap();
        assert_eq!(session, Some(started(payload, None, NOW)));
    }
    let id = store.create(NOW, b"\xff", None, None).unwrap().id;
    assert!(is_refused(store.merge(NOW, &id, "{}", None), "payload"));
}

#[test]
fn a_payload_over_the_limit_is_refused_and_changes_nothing() {
    for setup in SETUPS {
        let mut store = Database::with(setup, |options| options.max_data = 20).open();
        let (most, more) = ([b'7'; 20], [b'7'; 21]);
        let too_large = Error::TooLarge(20);
        let id = store.create(NOW, &most, None, None).unwrap().id;
        store.set(NOW, "mine", &most, None).unwrap();
        let before = store.stats(NOW).unwrap();

        let created = store.create(NOW, &more, None, None);
        assert_eq!(created, Err(too_large.clone()));
        for id in [id.as_str(), "mine", "missing"] {
            assert_eq!(store.set(NOW, id, &more, None), Err(too_large.clone()));
            let updated = store.update(NOW, id, &more, None, None);
            assert_eq!(updated, Err(too_large.clone()));
            let long = "7".repeat(21);
            assert_eq!(store.merge(NOW, id, &long, None), Err(too_large.clone()));
        }
        let patch = r#"{"long":"12345"}"#;
        store.set(NOW, "mine", br#"{"a":1}"#, None).unwrap();
        let merged = store.merge(NOW, "mine", patch, None);
        assert_eq!(merged, Err(too_large));
        let unchanged = store.get(NOW, "mine").unwrap().unwrap();
        assert_eq!(
            (unchanged.version, unchanged.data),
            (2, br#"{"a":1}"#.into())
        );
        assert_eq!(store.stats(NOW).unwrap(), before);
        assert!(is_live(&mut store, NOW, &id));
    }
}

#[test]
fn a_refused_request_ends_renews_and_counts_nothing() {
    let database = Database::with(SETUP, |options| {
        options.max_per_subject = Some(1);
        options.max_data = 5;
    });
    let mut store = database.open();
    let id = create(&mut store, NOW, Some("alice"));
    let before = store.get(NOW, &id).unwrap();
    assert!(store.create(NOW, b"123456", None, Some("alice")).is_err());
    assert!(is_refused(
        store.create(NOW, b"", None, Some("")),
        "subject"
    ));
    assert!(is_refused(store.rotate(NOW, &id, Some("")), "subject"));
    assert!(store.set(NOW + 1, &id, b"123456", None).is_err());
    assert!(store.merge(NOW + 1, &id, "x", None).is_err());
    assert_eq!(store.get(NOW + 1, &id), Ok(before));
}
