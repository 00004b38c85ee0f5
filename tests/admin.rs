//! Tests of `admin`: listing, ending sessions, statistics, check and backup.

use std::collections::BTreeSet;
use std::fs;

use wasi_sessions::{Entry, Error, NewSession, Options, Outcome, Request, Sessions};

use crate::fixture::{
    HOUR, Home, LIFE, START, create, create_for, data, listed, ms, session, store, store_with,
    written,
};

/// Starts this many sessions of a subject in one batch.
fn create_many(sessions: &Sessions, subject: &str, count: usize) {
    let request = Request::Create(NewSession::new(b"{}".to_vec()).ttl(LIFE).subject(subject));
    let replies = sessions.batch(vec![request; count]).wait().unwrap();
    assert!(replies.iter().all(Result::is_ok));
}

fn handles(entries: &[Entry]) -> BTreeSet<String> {
    let handles: BTreeSet<String> = entries.iter().map(|entry| entry.handle.clone()).collect();
    assert_eq!(handles.len(), entries.len(), "each session once");
    handles
}

#[test]
fn a_listing_shows_everything_but_the_payload() {
    let (home, sessions) = store();
    let created = sessions
        .create(NewSession::new("12345").ttl(LIFE).subject("alice"))
        .wait()
        .unwrap();
    home.advance(10);
    written(sessions.set(&created.id, "1234567", LIFE).wait().unwrap());
    let page = sessions.list_sessions(None, None, 10).wait().unwrap();
    assert_eq!(page.next, None);
    let [entry] = page.entries.as_slice() else {
        panic!("{page:?}");
    };
    assert_eq!(entry.subject.as_deref(), Some("alice"));
    assert_eq!((entry.version, entry.size), (2, 7));
    assert_eq!((entry.created, entry.updated), (START, START + 10));
    assert_eq!(entry.expires, START + 10 + HOUR);
}

#[test]
fn pages_show_each_session_once_while_others_start_and_end() {
    let (home, sessions) = store();
    create_many(&sessions, "alice", 30);
    create_many(&sessions, "bob", 30);
    let standing = handles(&listed(&sessions, Some("alice")));
    assert_eq!(standing.len(), 30);
    for subject in [None, Some("alice")] {
        let mut seen = vec![];
        let mut cursor = None;
        loop {
            let page = sessions.list_sessions(subject, cursor.as_deref(), 7);
            let page = page.wait().unwrap();
            assert!(page.entries.len() <= 7);
            // The last one seen ends; others start, expire and are collected.
            if let Some(bob) = page
                .entries
                .iter()
                .rfind(|e| e.subject.as_deref() == Some("bob"))
            {
                assert_eq!(sessions.terminate(&bob.handle).wait(), Ok(true));
            }
            seen.extend(page.entries);
            create_many(&sessions, "bob", 2);
            sessions
                .create(NewSession::new("{}").ttl(ms(1)).subject("bob"))
                .wait()
                .unwrap();
            home.advance(1);
            sessions.collect(100).wait().unwrap();
            match page.next {
                Some(next) => cursor = Some(next),
                None => break,
            }
        }
        let seen = handles(&seen);
        assert!(standing.is_subset(&seen), "{subject:?}");
    }
}

#[test]
fn a_page_has_1_to_1000_entries() {
    let (_home, sessions) = store();
    create_many(&sessions, "alice", 1001);
    for refused in [0, 1001, u32::MAX] {
        let page = sessions.list_sessions(None, None, refused).wait();
        assert!(matches!(page, Err(Error::InvalidArgument(_))), "{refused}");
    }
    for limit in [1, 999, 1000] {
        let page = sessions.list_sessions(None, None, limit).wait().unwrap();
        assert_eq!(page.entries.len(), limit as usize);
        assert!(page.next.is_some());
    }
    let page = sessions.list_sessions(None, None, 1000).wait().unwrap();
    let rest = sessions
        .list_sessions(None, page.next.as_deref(), 1)
        .wait()
        .unwrap();
    assert_eq!(
        (rest.entries.len(), rest.next),
        (1, None),
        "a full last page is the last"
    );
}

#[test]
fn terminate_ends_the_session_of_a_handle() {
    let (_home, sessions) = store();
    let ids = [create(&sessions, "0"), create(&sessions, "1")];
    for entry in listed(&sessions, None) {
        let before = sessions.count_sessions(None).wait().unwrap();
        let inspected = sessions.inspect(&entry.handle).wait().unwrap().unwrap();
        assert!(matches!(&inspected.data[..], b"0" | b"1"));
        assert_eq!(inspected.expires, entry.expires);
        assert_eq!(sessions.terminate(&entry.handle).wait(), Ok(true));
        assert_eq!(sessions.inspect(&entry.handle).wait(), Ok(None));
        assert_eq!(sessions.terminate(&entry.handle).wait(), Ok(false));
        assert_eq!(sessions.count_sessions(None).wait(), Ok(before - 1));
    }
    for id in ids {
        assert_eq!(sessions.set(&id, "late", LIFE).wait(), Ok(Outcome::Gone));
    }
}

#[test]
fn terminate_subject_ends_all_sessions_of_a_subject_except_one() {
    let (_home, sessions) = store();
    create_many(&sessions, "alice", 5);
    let own = create_for(&sessions, "alice");
    let other = create_for(&sessions, "bob");
    let without_subject = create(&sessions, "{}");
    assert_eq!(
        sessions.terminate_subject("alice", Some(&own)).wait(),
        Ok(5)
    );
    assert_eq!(
        sessions.terminate_subject("alice", Some(&own)).wait(),
        Ok(0)
    );
    assert_eq!(listed(&sessions, Some("alice")).len(), 1);

    // An exception that is missing or of another subject has no effect.
    for except in ["missing", &other] {
        let id = create_for(&sessions, "alice");
        let ended = sessions.terminate_subject("alice", Some(except)).wait();
        assert!(matches!(ended, Ok(1..=2)), "{ended:?}");
        assert_eq!(data(&sessions, &id), None);
    }
    assert_eq!(data(&sessions, &own), None);
    assert_eq!(sessions.terminate_subject("ALICE", None).wait(), Ok(0));
    for id in [other, without_subject] {
        assert!(data(&sessions, &id).is_some());
    }
}

#[test]
fn clear_ends_every_session() {
    let (_home, sessions) = store();
    create_many(&sessions, "alice", 5);
    let id = create(&sessions, "{}");
    assert_eq!(sessions.clear().wait(), Ok(6));
    assert_eq!(sessions.clear().wait(), Ok(0));
    assert_eq!(sessions.count_sessions(None).wait(), Ok(0));
    assert_eq!(sessions.set(&id, "late", LIFE).wait(), Ok(Outcome::Gone));
}

#[test]
fn stats_count_rows_and_name_the_store() {
    let (home, sessions) = store_with(Options {
        model_name: "Visits ünd more".to_owned(),
        ..Options::default()
    });
    create_many(&sessions, "alice", 3);
    sessions
        .create(NewSession::new("{}").ttl(ms(1)))
        .wait()
        .unwrap();
    home.advance(1);
    let stats = sessions.stats().wait().unwrap();
    assert_eq!(stats.name, "Visits ünd more");
    assert!(stats.engine.starts_with("SQLite 3."), "{}", stats.engine);
    assert_eq!((stats.live, stats.expired, stats.collected), (3, 1, 0));
    assert!(stats.size > 0 && stats.size.is_multiple_of(512));

    sessions.collect(10).wait().unwrap();
    let size = sessions.stats().wait().unwrap().size;
    drop(sessions);
    assert_eq!(fs::metadata(home.database()).unwrap().len(), size);
    // `collected` counts rows since the store was opened.
    assert_eq!(home.open().stats().wait().unwrap().collected, 0);
}

#[test]
fn a_backup_is_a_complete_store_and_the_original_stays_usable() {
    let (home, sessions) = store();
    let id = create_for(&sessions, "alice");
    let ended = create(&sessions, "{}");
    assert_eq!(sessions.destroy(&ended).wait(), Ok(true));
    let before = session(&sessions, &id);

    let copied = Home::new();
    fs::create_dir(copied.path()).unwrap();
    sessions.backup(copied.database()).wait().unwrap();
    written(sessions.set(&id, "later", LIFE).wait().unwrap());
    let left: BTreeSet<_> = fs::read_dir(home.path())
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(left.iter().all(|name| !name.contains("backup")), "{left:?}");

    let copy = copied.open();
    assert_eq!(session(&copy, &id), before);
    assert_eq!(copy.set(&ended, "late", LIFE).wait(), Ok(Outcome::Gone));
    assert_eq!(copy.check().wait(), Ok(vec![]));
    // The copy collects like the original.
    copied.advance(HOUR);
    assert_eq!(copy.collect(10).wait().unwrap().removed, 2);
}

#[test]
fn a_backup_never_overwrites_and_leaves_nothing_after_a_failure() {
    let (home, sessions) = store();
    create(&sessions, "{}");
    let taken = home.beside("taken");
    fs::write(&taken, "precious").unwrap();
    for existing in [taken.clone(), home.path(), home.database()] {
        let backup = sessions.backup(&existing).wait();
        assert!(
            matches!(backup, Err(Error::InvalidArgument(_))),
            "{backup:?}"
        );
    }
    assert_eq!(fs::read(&taken).unwrap(), b"precious");

    let missing = home.beside("missing").join("copy.db");
    assert!(sessions.backup(&missing).wait().is_err());
    assert!(!home.beside("missing").exists());
    for directory in [home.path(), home.beside("")] {
        for file in fs::read_dir(directory).unwrap() {
            let name = file.unwrap().file_name().into_string().unwrap();
            assert!(!name.contains("backup"), "{name}");
        }
    }
    assert_eq!(sessions.check().wait(), Ok(vec![]));
}
