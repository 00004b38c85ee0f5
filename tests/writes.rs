//! Tests of writes: a request is done completely or not at all, and is in the files once it
//! is answered.

use std::fs;

use wasi_sessions::{Durability, Error, NewSession, Options, Outcome, Reply, Request, Sessions};

use crate::fixture::{
    Home, LIFE, create, create_for, data, ms, session, store, store_with, written,
};

fn set(id: &str, data: &str) -> Request {
    Request::Set {
        id: id.to_owned(),
        data: data.into(),
        ttl: LIFE,
    }
}

fn get(id: &str) -> Request {
    Request::Get { id: id.to_owned() }
}

#[test]
fn a_batch_has_a_reply_for_each_request_in_order() {
    let (_home, sessions) = store();
    let requests = vec![
        set("a", r#"{"n":1}"#),
        get("a"),
        Request::Update {
            id: "a".into(),
            data: b"{}".to_vec(),
            ttl: LIFE,
            expected: Some(7),
        },
        Request::Merge {
            id: "a".into(),
            patch: r#"{"m":2}"#.into(),
            ttl: LIFE,
        },
        Request::Touch {
            id: "a".into(),
            ttl: Some(ms(5)),
        },
        Request::Rotate {
            id: "a".into(),
            subject: Some("alice".into()),
        },
        Request::Destroy { id: "a".into() },
        Request::Create(NewSession::new(b"{}".to_vec()).ttl(LIFE)),
        get("missing"),
    ];
    let replies = sessions.batch(requests).wait().unwrap();
    let replies: Vec<Reply> = replies.into_iter().map(Result::unwrap).collect();
    use Reply::{Created, Destroyed, Expires, Outcome as Out, Rotated, Session};
    assert!(
        matches!(
            replies.as_slice(),
            [
                Out(Outcome::Written(_)),
                Session(Some(_)),
                Out(Outcome::Stale(_)),
                Session(Some(merged)),
                Expires(Some(_)),
                Rotated(Some(_)),
                Destroyed(false),
                Created(_),
                Session(None),
            ] if merged.data == br#"{"n":1,"m":2}"#
        ),
        "{replies:?}"
    );
    assert_eq!(sessions.batch(vec![]).wait(), Ok(vec![]));
}

#[test]
fn in_a_batch_a_requests_own_failure_is_its_own_reply() {
    let (_home, sessions) = store_with(Options {
        max_data: 10,
        ..Options::default()
    });
    let too_long_id = "x".repeat(256);
    let requests = vec![
        set("a", "first"),
        set(&too_long_id, "{}"),
        set("b", "far too large"),
        Request::Create(NewSession::new(vec![]).ttl(LIFE).subject(String::new())),
        Request::Merge {
            id: "a".into(),
            patch: "{}".into(),
            ttl: LIFE,
        },
        set("a", "second"),
    ];
    let replies = sessions.batch(requests).wait().unwrap();
    assert!(matches!(
        replies[0],
        Ok(Reply::Outcome(Outcome::Written(_)))
    ));
    assert!(matches!(replies[1], Err(Error::InvalidArgument(_))));
    assert_eq!(replies[2], Err(Error::TooLarge(10)));
    assert!(matches!(replies[3], Err(Error::InvalidArgument(_))));
    assert!(matches!(replies[4], Err(Error::InvalidArgument(_))));
    assert!(matches!(
        replies[5],
        Ok(Reply::Outcome(Outcome::Written(_)))
    ));
    assert_eq!(data(&sessions, "a").as_deref(), Some("second"));
    assert_eq!(sessions.count_sessions(None).wait(), Ok(1));
}

#[test]
fn a_failed_batch_changes_nothing() {
    let home = Home::new();
    let sessions = home.open();
    let standing = create(&sessions, "standing");
    let before = session(&sessions, &standing);
    drop(sessions);
    home.sabotage("BEFORE INSERT ON Sessions WHEN NEW.data = CAST('poison' AS BLOB)");

    let sessions = home.open();
    let requests = vec![
        set("a", "{}"),
        set(&standing, "overwritten"),
        set("b", "poison"),
        Request::Destroy {
            id: standing.clone(),
        },
    ];
    assert!(matches!(
        sessions.batch(requests).wait(),
        Err(Error::Other(_))
    ));
    assert_eq!(data(&sessions, "a"), None);
    assert_eq!(session(&sessions, &standing), before);
    assert_eq!(sessions.count_sessions(None).wait(), Ok(1));

    // The store itself still works.
    written(sessions.set("a", "{}", LIFE).wait().unwrap());
    assert_eq!(sessions.check().wait(), Ok(vec![]));
}

#[test]
fn a_failed_rotation_changes_nothing() {
    let home = Home::new();
    let sessions = home.open();
    let id = create(&sessions, "{}");
    let before = session(&sessions, &id);
    drop(sessions);
    home.sabotage("BEFORE INSERT ON Sessions WHEN NEW.subject = 'refused'");

    let sessions = home.open();
    let rotation = sessions.rotate(&id, Some("refused")).wait();
    assert!(matches!(rotation, Err(Error::Other(_))));
    assert_eq!(session(&sessions, &id), before);
    written(sessions.set(&id, "{}", LIFE).wait().unwrap());
}

#[test]
fn a_create_that_cannot_end_the_oldest_changes_nothing() {
    let home = Home::new();
    let options = Options {
        max_per_subject: Some(1),
        ..Options::default()
    };
    let sessions = home.open_with(options.clone());
    let first = create_for(&sessions, "alice");
    drop(sessions);
    home.sabotage("BEFORE UPDATE OF ended ON Sessions");

    let sessions = home.open_with(options);
    let second = sessions
        .create(NewSession::new("{}").ttl(LIFE).subject("alice"))
        .wait();
    assert!(matches!(second, Err(Error::Other(_))));
    assert!(data(&sessions, &first).is_some());
    assert_eq!(sessions.count_sessions(None).wait(), Ok(1));
    assert!(sessions.clear().wait().is_err());
    assert!(data(&sessions, &first).is_some());
}

#[test]
fn a_refused_request_changes_nothing() {
    let (home, sessions) = store_with(Options {
        max_data: 20,
        ..Options::default()
    });
    let id = create_for(&sessions, "alice");
    let before = session(&sessions, &id);
    home.advance(10);
    let large = "x".repeat(21);
    let too_long = "x".repeat(256);
    assert_eq!(
        sessions.set(&id, large.as_str(), LIFE).wait(),
        Err(Error::TooLarge(20))
    );
    for expected in [None, Some(1), Some(0)] {
        let update = sessions.update(&id, large.as_str(), LIFE, expected);
        assert_eq!(update.wait(), Err(Error::TooLarge(20)));
    }
    let patch = r#"{"name":"0123456789abc"}"#;
    assert_eq!(
        sessions.merge(&id, patch, LIFE).wait(),
        Err(Error::TooLarge(20))
    );
    assert!(sessions.merge(&id, "{", LIFE).wait().is_err());
    assert!(sessions.rotate(&id, Some("")).wait().is_err());
    assert!(sessions.rotate(&id, Some(&too_long)).wait().is_err());
    assert!(
        sessions
            .create(NewSession::new("{}").ttl(LIFE).subject(&too_long))
            .wait()
            .is_err()
    );
    assert_eq!(
        sessions.create(NewSession::new(large).ttl(LIFE)).wait(),
        Err(Error::TooLarge(20))
    );
    assert_eq!(session(&sessions, &id), before);
    assert_eq!(sessions.count_sessions(None).wait(), Ok(1));

    // A merge whose result is too large, although neither part is.
    for patch in [r#"{"a":123456}"#, r#"{"b":123456}"#] {
        let merge = sessions.merge(&id, patch, LIFE).wait();
        assert_eq!(merge.is_ok(), patch.contains('a'), "{patch}");
    }
    assert_eq!(data(&sessions, &id).as_deref(), Some(r#"{"a":123456}"#));
}

#[test]
fn answered_writes_are_in_the_files_whenever_the_process_ends() {
    for durability in [Durability::Full, Durability::Relaxed] {
        let (home, sessions) = store_with(Options {
            durability,
            ..Options::default()
        });
        let mut answered = vec![];
        for round in 0..10 {
            answered.push(create(&sessions, &round.to_string()));
            if round == 5 {
                assert_eq!(sessions.destroy(&answered[0]).wait(), Ok(true));
            }
            // The files as a process leaves them that is killed at this moment.
            let killed = copy(&home);
            let recovered = killed.open();
            for (number, id) in answered.iter().enumerate() {
                let ended = number == 0 && round >= 5;
                let expected = (!ended).then(|| number.to_string());
                assert_eq!(data(&recovered, id), expected);
            }
            assert_eq!(recovered.check().wait(), Ok(vec![]));
        }
        drop(sessions);
    }
}

/// A copy of the home, with the clock at the same moment.
fn copy(home: &Home) -> Home {
    let copy = Home::new();
    copy.set_clock(home.now());
    fs::create_dir(copy.path()).unwrap();
    for file in fs::read_dir(home.path()).unwrap() {
        let file = file.unwrap();
        if file.file_type().unwrap().is_dir() {
            // The lock of the open store.
            continue;
        }
        fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
    }
    copy
}

#[test]
fn everything_is_kept_across_a_restart() {
    let (home, sessions) = store();
    let id = create_for(&sessions, "alice");
    let rotated = sessions
        .rotate(&id, Some("bob"))
        .wait()
        .unwrap()
        .unwrap()
        .id;
    written(sessions.set(&rotated, "written", LIFE).wait().unwrap());
    let before = session(&sessions, &rotated);
    let handles = |sessions: &Sessions| sessions.list_sessions(None, None, 10).wait().unwrap();
    let listing = handles(&sessions);
    drop(sessions);

    let mut files: Vec<_> = fs::read_dir(home.path())
        .unwrap()
        .map(|file| file.unwrap().file_name())
        .collect();
    files.sort();
    let expected = ["sessions.db", "sessions.db-reserve"];
    assert_eq!(files, expected, "a clean end leaves no log");

    let sessions = home.open();
    assert_eq!(session(&sessions, &rotated), before);
    assert_eq!(handles(&sessions), listing);
    assert_eq!(sessions.set(&id, "late", LIFE).wait(), Ok(Outcome::Gone));
}
