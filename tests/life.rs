//! Tests of a session's life, and of what renews it.

use std::time::Duration;

use wasi_sessions::{NewSession, Options, Sessions};

use crate::fixture::{LIFE, START, create, data, ms, session, store, store_with, written};

const DAY: u64 = 86_400_000;

/// A function that starts or renews a session with a `ttl`, and returns its new expiry.
type Renewal = (&'static str, fn(&Sessions, &str, Option<Duration>) -> u64);

const RENEWALS: [Renewal; 5] = [
    ("set", |sessions, id, ttl| {
        written(sessions.set(id, "{}", ttl).wait().unwrap()).expires
    }),
    ("update", |sessions, id, ttl| {
        written(sessions.update(id, "{}", ttl, None).wait().unwrap()).expires
    }),
    ("update of a version", |sessions, id, ttl| {
        let version = session(sessions, id).version;
        let update = sessions.update(id, "{}", ttl, Some(version));
        written(update.wait().unwrap()).expires
    }),
    ("merge", |sessions, id, ttl| {
        let merged = sessions.merge(id, "{}", ttl).wait().unwrap();
        merged.unwrap().expires
    }),
    ("touch", |sessions, id, ttl| {
        sessions.touch(id, ttl).wait().unwrap().unwrap()
    }),
];

#[test]
fn a_ttl_that_is_given_counts_from_now() {
    let (home, sessions) = store();
    let created = sessions
        .create(NewSession::new("{}").ttl(ms(5000)))
        .wait()
        .unwrap();
    assert_eq!(created.expires, START + 5000);
    for (what, renew) in RENEWALS {
        home.advance(2000);
        assert_eq!(
            renew(&sessions, &created.id, Some(ms(5000))),
            home.now() + 5000,
            "{what}"
        );
        assert_eq!(session(&sessions, &created.id).expires, home.now() + 5000);
    }
    let set = sessions.set("brought", "{}", Some(ms(7))).wait().unwrap();
    assert_eq!(written(set).expires, home.now() + 7);
    let inserted = sessions.update("new", "{}", Some(ms(7)), Some(0));
    assert_eq!(written(inserted.wait().unwrap()).expires, home.now() + 7);
}

#[test]
fn a_ttl_of_0_ends_a_session_at_once_and_leaves_no_tombstone() {
    let (home, sessions) = store();
    for (what, renew) in RENEWALS {
        let id = create(&sessions, "{}");
        assert_eq!(renew(&sessions, &id, Some(ms(0))), home.now(), "{what}");
        assert_eq!(sessions.get(&id).wait(), Ok(None), "{what}");
        let again = sessions.set(&id, "{}", LIFE).wait().unwrap();
        assert_eq!(written(again).version, 1, "{what}");
    }
    let stillborn = sessions
        .create(NewSession::new("{}").ttl(ms(0)))
        .wait()
        .unwrap();
    assert_eq!(sessions.get(&stillborn.id).wait(), Ok(None));
}

#[test]
fn a_ttl_is_rounded_up_to_whole_milliseconds_so_that_none_above_zero_ends_a_session() {
    let (_home, sessions) = store();
    for (nanoseconds, milliseconds) in [(1, 1), (999_999, 1), (1_000_001, 2), (2_000_000, 2)] {
        let ttl = Duration::from_nanos(nanoseconds);
        let created = sessions.create(NewSession::new("{}").ttl(ttl)).wait();
        let created = created.unwrap();
        assert_eq!(created.expires, START + milliseconds, "{ttl:?}");
        assert!(sessions.get(&created.id).wait().unwrap().is_some());
        for (what, renew) in RENEWALS {
            let id = create(&sessions, "{}");
            let expires = renew(&sessions, &id, Some(ttl));
            assert_eq!(expires, START + milliseconds, "{what} {ttl:?}");
            assert!(sessions.get(&id).wait().unwrap().is_some());
        }
    }
}

#[test]
fn without_a_ttl_the_max_age_of_the_payload_counts() {
    let (_home, sessions) = store();
    let payload = r#"{"user":1,"cookie":{"path":"/","maxAge":1500}}"#;
    let created = sessions.create(payload).wait().unwrap();
    assert_eq!(created.expires, START + 1500);
    let set = sessions.set("brought", payload, None).wait().unwrap();
    assert_eq!(written(set).expires, START + 1500);
    let update = sessions.update("brought", payload, None, None);
    assert_eq!(written(update.wait().unwrap()).expires, START + 1500);

    // An explicit ttl takes precedence.
    let set = sessions
        .set("brought", payload, Some(ms(99)))
        .wait()
        .unwrap();
    assert_eq!(written(set).expires, START + 99);

    // A touch uses the stored payload, a merge the resulting one.
    assert_eq!(
        sessions.touch(&created.id, None).wait(),
        Ok(Some(START + 1500))
    );
    let merge = sessions.merge("brought", r#"{"cookie":{"maxAge":2500}}"#, None);
    assert_eq!(merge.wait().unwrap().unwrap().expires, START + 2500);
}

#[test]
fn without_a_ttl_and_a_max_age_the_default_counts() {
    let (_home, sessions) = store();
    for payload in [
        "{}",
        "not JSON",
        "",
        r#"{"cookie":{}}"#,
        r#"{"cookie":{"maxAge":null}}"#,
    ] {
        let created = sessions.create(payload).wait().unwrap();
        assert_eq!(created.expires, START + DAY, "{payload}");
    }
    let bytes = sessions.create([0xff, 0x00]).wait().unwrap();
    assert_eq!(bytes.expires, START + DAY);

    let (_home, sessions) = store_with(Options {
        browser_session_lifetime: ms(42),
        ..Options::default()
    });
    let created = sessions.create("{}").wait().unwrap();
    assert_eq!(created.expires, START + 42);
}

#[test]
fn no_renewal_exceeds_the_absolute_lifetime() {
    let (home, sessions) = store_with(Options {
        absolute_lifetime: Some(ms(10_000)),
        ..Options::default()
    });
    let created = sessions
        .create(NewSession::new("{}").ttl(ms(u64::MAX)))
        .wait()
        .unwrap();
    assert_eq!(created.expires, START + 10_000);
    let long = sessions.create("{}").wait().unwrap();
    assert_eq!(long.expires, START + 10_000);
    for (what, renew) in RENEWALS {
        home.advance(1000);
        let expires = renew(&sessions, &created.id, Some(ms(20_000)));
        assert_eq!(expires, START + 10_000, "{what}");
    }

    // A rotation keeps the age, and so the limit.
    let rotated = sessions.rotate(&created.id, Some("alice"));
    let rotated = rotated.wait().unwrap().unwrap();
    assert_eq!(rotated.expires, START + 10_000);
    let touched = sessions.touch(&rotated.id, Some(ms(20_000))).wait();
    assert_eq!(touched, Ok(Some(START + 10_000)));

    home.set_clock(START + 9_999);
    assert!(data(&sessions, &rotated.id).is_some());
    home.advance(1);
    assert_eq!(sessions.get(&rotated.id).wait(), Ok(None));
}

#[test]
fn writing_over_an_expired_session_starts_a_new_one() {
    for insert in [false, true] {
        let (home, sessions) = store();
        let old = sessions.create(NewSession::new("old").ttl(ms(1000)).subject("alice"));
        let id = old.wait().unwrap().id;
        sessions.set(&id, "older", Some(ms(1000))).wait().unwrap();
        home.advance(1000);

        let new = match insert {
            true => sessions.update(&id, "new", LIFE, Some(0)),
            false => sessions.set(&id, "new", LIFE),
        };
        assert_eq!(written(new.wait().unwrap()).version, 1);
        let new = session(&sessions, &id);
        assert_eq!(
            (new.version, new.created, new.updated),
            (1, home.now(), home.now())
        );
        assert_eq!((new.subject, new.data), (None, b"new".to_vec()));
        assert_eq!(sessions.count_sessions(Some("alice")).wait(), Ok(0));
    }
}

#[test]
fn a_write_answers_with_the_version_and_expiry_that_a_get_shows() {
    let (home, sessions) = store();
    let id = sessions
        .create(NewSession::new("1").ttl(LIFE).subject("alice"))
        .wait()
        .unwrap()
        .id;
    for version in 2..5 {
        home.advance(10);
        let write = written(sessions.set(&id, version.to_string(), LIFE).wait().unwrap());
        let read = session(&sessions, &id);
        assert_eq!((write.version, write.expires), (read.version, read.expires));
        assert_eq!(read.version, version);
        assert_eq!(read.data, version.to_string().as_bytes());
        assert_eq!((read.created, read.updated), (START, home.now()));
        assert_eq!(read.subject.as_deref(), Some("alice"));
    }
}
