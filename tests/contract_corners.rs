//! Tests of corner cases of the contract: combinations of spans, versions, ids, limits and
//! functions.

use wasi_sessions::{Error, NewSession, Options, Outcome, Request, Sessions};

use crate::fixture::{
    END_OF_TIME, HOUR, Home, LIFE, START, create, create_for, data, listed, ms, session, store,
    store_with, written,
};

const DAY: u64 = 86_400_000;

#[test]
fn a_max_age_loses_its_fraction_and_counts_only_as_a_positive_number() {
    let (_home, sessions) = store();
    for (max_age, life) in [
        ("1500", 1500),
        ("1500.9", 1500),
        ("1.5e3", 1500),
        ("1", 1),
        ("1e300", END_OF_TIME - START),
        ("18446744073709551615", END_OF_TIME - START),
        ("9007199254740993", 9_007_199_254_740_993),
        ("0", DAY),
        ("0.9", DAY),
        ("-1", DAY),
        ("-1e300", DAY),
        ("\"1500\"", DAY),
        ("null", DAY),
        ("true", DAY),
        ("[1500]", DAY),
        ("{\"maxAge\":1500}", DAY),
    ] {
        let payload = format!(r#"{{"cookie":{{"maxAge":{max_age}}}}}"#);
        let created = sessions.create(payload).wait().unwrap();
        assert_eq!(created.expires, START + life, "{max_age}");
    }
    for elsewhere in [
        r#"{"maxAge":1500}"#,
        r#"{"session":{"cookie":{"maxAge":1500}}}"#,
        r#"[{"cookie":{"maxAge":1500}}]"#,
        r#"{"cookie":{"maxAge":1500}} x"#,
        r#"{"cookie":{"maxage":1500}}"#,
    ] {
        let created = sessions.create(elsewhere).wait().unwrap();
        assert_eq!(created.expires, START + DAY, "{elsewhere}");
    }
}

#[test]
fn a_touch_that_gains_less_than_the_renewal_step_writes_nothing() {
    let (home, sessions) = store();
    let id = sessions
        .create(NewSession::new("{}").ttl(ms(10_000)))
        .wait()
        .unwrap()
        .id;
    let expires = START + 10_000;
    home.advance(999);
    assert_eq!(
        sessions.touch(&id, Some(ms(10_000))).wait(),
        Ok(Some(expires))
    );
    assert_eq!(session(&sessions, &id).expires, expires);
    home.advance(1);
    assert_eq!(
        sessions.touch(&id, Some(ms(10_000))).wait(),
        Ok(Some(expires + 1000))
    );
    assert_eq!(session(&sessions, &id).expires, expires + 1000);
}

#[test]
fn a_touch_to_an_earlier_expiry_is_always_written() {
    let (home, sessions) = store();
    let id = sessions
        .create(NewSession::new("{}").ttl(ms(10_000)))
        .wait()
        .unwrap()
        .id;
    assert_eq!(
        sessions.touch(&id, Some(ms(9_999))).wait(),
        Ok(Some(START + 9_999))
    );
    assert_eq!(session(&sessions, &id).expires, START + 9_999);
    home.set_clock(START + 9_999);
    assert_eq!(sessions.get(&id).wait(), Ok(None));
}

#[test]
fn a_touch_changes_neither_version_nor_updated() {
    let (home, sessions) = store_with(Options {
        renewal_step: ms(0),
        ..Options::default()
    });
    let id = create_for(&sessions, "alice");
    let before = session(&sessions, &id);
    home.advance(1);
    let expires = home.now() + HOUR;
    assert_eq!(sessions.touch(&id, LIFE).wait(), Ok(Some(expires)));
    let after = session(&sessions, &id);
    assert_eq!(after.expires, before.expires + 1);
    assert_eq!(
        (after.version, after.updated),
        (before.version, before.updated)
    );
    assert_eq!((after.data, after.subject), (before.data, before.subject));
}

#[test]
fn a_rotation_keeps_everything_and_binding_a_subject_is_a_write() {
    let (home, sessions) = store();
    let id = create(&sessions, "cart");
    let before = session(&sessions, &id);
    home.advance(5);

    let unbound = sessions.rotate(&id, None).wait().unwrap().unwrap();
    assert_eq!((unbound.version, unbound.expires), (1, before.expires));
    assert_eq!(session(&sessions, &unbound.id), before);

    let bound = sessions.rotate(&unbound.id, Some("alice"));
    let bound = bound.wait().unwrap().unwrap();
    assert_eq!((bound.version, bound.expires), (2, before.expires));
    let after = session(&sessions, &bound.id);
    assert_eq!(after.subject.as_deref(), Some("alice"));
    assert_eq!((after.version, after.updated), (2, home.now()));
    assert_eq!(
        (after.created, after.expires),
        (before.created, before.expires)
    );
    assert_eq!(after.data, before.data);

    // A rotation without a subject keeps the bound one.
    let again = sessions.rotate(&bound.id, None).wait().unwrap().unwrap();
    assert_eq!(session(&sessions, &again.id), after);
    let other = sessions
        .rotate(&again.id, Some("bob"))
        .wait()
        .unwrap()
        .unwrap();
    assert_eq!(
        session(&sessions, &other.id).subject.as_deref(),
        Some("bob")
    );
    assert_eq!(sessions.count_sessions(Some("alice")).wait(), Ok(0));
}

#[test]
fn update_with_expected_0_inserts_if_absent() {
    let (home, sessions) = store();
    let insert = |data: &str| {
        sessions
            .update("brought", data, Some(ms(100)), Some(0))
            .wait()
    };
    assert_eq!(written(insert("one").unwrap()).version, 1);
    let stored = session(&sessions, "brought");
    assert_eq!(insert("two"), Ok(Outcome::Stale(stored)));
    home.advance(100);
    assert_eq!(written(insert("three").unwrap()).version, 1);
    assert_eq!(sessions.destroy("brought").wait(), Ok(true));
    assert_eq!(insert("four"), Ok(Outcome::Gone));
    let impossible = sessions.update("", "{}", LIFE, Some(0)).wait();
    assert!(matches!(impossible, Err(Error::InvalidArgument(_))));
}

#[test]
fn merge_does_not_change_members_that_the_patch_does_not_name() {
    let (home, sessions) = store();
    let payload = r#"{"z":1.10,"big":12345678901234567890,"a":{"y":1e2,"x":[ 1 ]},"s":"\u00e9"}"#;
    let id = create(&sessions, payload);
    home.advance(1);
    let patch = r#"{"a":{"n":null,"y":null,"new":{"deep":null,"kept":0}},"t":"日本"}"#;
    let merged = sessions
        .merge(&id, patch, Some(ms(77)))
        .wait()
        .unwrap()
        .unwrap();
    let expected = r#"{"z":1.10,"big":12345678901234567890,"a":{"x":[ 1 ],"new":{"kept":0}},"s":"\u00e9","t":"日本"}"#;
    assert_eq!(String::from_utf8(merged.data.clone()).unwrap(), expected);
    assert_eq!((merged.version, merged.updated), (2, home.now()));
    assert_eq!(merged.expires, home.now() + 77);
    assert_eq!(session(&sessions, &id), merged);
}

#[test]
fn json_nested_deeper_than_128_does_not_count_as_json() {
    let (_home, sessions) = store();
    let nested = |depth: usize| {
        let inner = "[".repeat(depth - 1) + &"]".repeat(depth - 1);
        format!(r#"{{"deep":{inner},"cookie":{{"maxAge":1500}}}}"#)
    };
    for (depth, life) in [(128, 1500), (129, DAY), (100_000, DAY)] {
        let created = sessions.create(nested(depth)).wait().unwrap();
        assert_eq!(created.expires, START + life, "{depth}");
        let merged = sessions.merge(&created.id, "{}", LIFE).wait();
        assert_eq!(merged.is_ok(), depth == 128, "payload of {depth}");
    }
    let id = create(&sessions, "{}");
    assert!(sessions.merge(&id, &nested(128), LIFE).wait().is_ok());
    for not_json in [&nested(129), &nested(100_000), "", "{", "x", "{'a':1}"] {
        let merged = sessions.merge(&id, not_json, LIFE).wait();
        assert!(matches!(merged, Err(Error::InvalidArgument(_))));
    }
    for not_json in [&b"x"[..], b"", b"{\"a\":\"\xff\"}"] {
        let id = sessions
            .create(NewSession::new(not_json).ttl(LIFE))
            .wait()
            .unwrap()
            .id;
        let merged = sessions.merge(&id, "{}", LIFE).wait();
        assert!(matches!(merged, Err(Error::InvalidArgument(_))));
        assert_eq!(session(&sessions, &id).data, not_json);
    }
}

#[test]
fn an_invalid_subject_is_refused_and_a_filter_for_it_finds_nothing() {
    let (_home, sessions) = store();
    let id = create(&sessions, "{}");
    for subject in ["", &"x".repeat(256), &"é".repeat(128)] {
        let created = sessions
            .create(NewSession::new("{}").ttl(LIFE).subject(subject))
            .wait();
        assert!(matches!(created, Err(Error::InvalidArgument(_))));
        let rotated = sessions.rotate(&id, Some(subject)).wait();
        assert!(matches!(rotated, Err(Error::InvalidArgument(_))));
        assert_eq!(listed(&sessions, Some(subject)), []);
        assert_eq!(sessions.count_sessions(Some(subject)).wait(), Ok(0));
        assert_eq!(sessions.terminate_subject(subject, None).wait(), Ok(0));
    }
    assert_eq!(session(&sessions, &id).subject, None);
}

#[test]
fn a_changed_absolute_lifetime_shortens_nothing_until_the_next_write_or_touch() {
    let home = Home::new();
    let sessions = home.open();
    let [read, written_to, touched] = [(); 3].map(|()| create(&sessions, "{}"));
    let expires = session(&sessions, &read).expires;
    drop(sessions);

    let sessions = home.open_with(Options {
        absolute_lifetime: Some(ms(5000)),
        ..Options::default()
    });
    home.advance(1000);
    assert_eq!(session(&sessions, &read).expires, expires);
    let write = written(sessions.set(&written_to, "{}", LIFE).wait().unwrap());
    assert_eq!(write.expires, START + 5000);
    assert_eq!(
        sessions.touch(&touched, LIFE).wait(),
        Ok(Some(START + 5000))
    );
    home.advance(4000);
    assert_eq!(data(&sessions, &read).as_deref(), Some("{}"));
    assert_eq!(data(&sessions, &written_to), None);
    assert_eq!(data(&sessions, &touched), None);
}

#[test]
fn max_per_subject_ends_those_created_longest_ago_and_never_the_new_one() {
    let (home, sessions) = store_with(Options {
        max_per_subject: Some(2),
        ..Options::default()
    });
    let there = |ids: &[&String]| -> Vec<bool> {
        ids.iter().map(|id| data(&sessions, id).is_some()).collect()
    };
    let old = create_for(&sessions, "alice");
    home.advance(1);
    let middle = create_for(&sessions, "alice");
    // A write does not change a session's age.
    home.advance(1);
    written(sessions.set(&old, "{}", LIFE).wait().unwrap());
    let other = create_for(&sessions, "bob");
    let new = create_for(&sessions, "alice");
    assert_eq!(
        there(&[&old, &middle, &new, &other]),
        [false, true, true, true]
    );

    // A rotation keeps the age; the rotated session is not ended although it is the oldest.
    let visitor = create(&sessions, "{}");
    home.set_clock(START - 1000);
    let ancient = create(&sessions, "{}");
    home.set_clock(START + 10);
    let bound = sessions.rotate(&ancient, Some("alice"));
    let bound = bound.wait().unwrap().unwrap().id;
    assert_eq!(
        there(&[&middle, &new, &bound, &visitor]),
        [false, true, true, true]
    );

    // Neither sessions without a subject nor `set` are limited.
    for _ in 0..5 {
        create(&sessions, "{}");
    }
    assert_eq!(sessions.count_sessions(Some("alice")).wait(), Ok(2));
    assert_eq!(sessions.count_sessions(None).wait(), Ok(9));
}

#[test]
fn many_sessions_created_at_one_moment_leave_the_newest_up_to_the_limit() {
    let (_home, sessions) = store_with(Options {
        max_per_subject: Some(1),
        ..Options::default()
    });
    for _ in 0..20 {
        let id = create_for(&sessions, "alice");
        assert!(data(&sessions, &id).is_some());
        assert_eq!(sessions.count_sessions(Some("alice")).wait(), Ok(1));
    }
}

#[test]
fn an_expired_or_ended_session_does_not_count_for_its_subject() {
    let (home, sessions) = store_with(Options {
        max_per_subject: Some(2),
        ..Options::default()
    });
    let kept = create_for(&sessions, "alice");
    home.advance(1);
    sessions
        .create(NewSession::new("{}").ttl(ms(10)).subject("alice"))
        .wait()
        .unwrap();
    home.advance(10);
    let second = create_for(&sessions, "alice");
    assert_eq!(sessions.destroy(&second).wait(), Ok(true));
    create_for(&sessions, "alice");
    assert!(data(&sessions, &kept).is_some());
}

#[test]
fn a_request_that_writes_nothing_does_not_change_the_files() {
    let (home, sessions) = store();
    let id = create(&sessions, "{}");
    let files = || -> Vec<Vec<u8>> {
        let read = |suffix| std::fs::read(home.path().join(format!("sessions.db{suffix}")));
        ["", "-wal"].map(|suffix| read(suffix).unwrap()).into()
    };
    let before = files();
    let quiet: [fn(&Sessions, &str); 5] = [
        |sessions, id| drop(sessions.get(id).wait().unwrap()),
        |sessions, id| assert!(sessions.touch(id, LIFE).wait().is_ok()),
        |sessions, id| drop(sessions.update(id, "x", LIFE, Some(9)).wait().unwrap()),
        |sessions, _| drop(sessions.list_sessions(None, None, 10).wait().unwrap()),
        |sessions, id| {
            drop(sessions.batch(vec![Request::Get { id: id.into() }]).wait());
        },
    ];
    for request in quiet {
        home.advance(1);
        request(&sessions, &id);
        assert!(files() == before);
    }
}
