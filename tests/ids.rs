//! Tests of ids: generated from the host's randomness, stored only as hashes, never trusted.

use std::collections::HashSet;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

use wasi_sessions::{Error, NewSession, Outcome, Reply, Request, Sessions};

use crate::fixture::{Home, LIFE, create, data, listed, only_handle, session, store, written};

#[test]
fn an_id_is_256_bits_of_the_hosts_randomness() {
    let home = Home::new();
    let byte = Arc::new(AtomicU8::new(0));
    let random = byte.clone();
    let random = move |bytes: &mut [u8]| bytes.fill(random.load(Ordering::SeqCst));
    let sessions = home.builder().random(random).open().wait().unwrap();
    assert_eq!(create(&sessions, "{}"), "A".repeat(43));
    byte.store(0xff, Ordering::SeqCst);
    assert_eq!(create(&sessions, "{}"), "_".repeat(42) + "8");
}

#[test]
fn a_new_id_is_never_one_that_is_taken() {
    let home = Home::new();
    let calls = Arc::new(AtomicUsize::new(0));
    let count = calls.clone();
    // An id takes 32 bytes and each byte occurs 64 times, so each id is generated twice.
    let random = move |bytes: &mut [u8]| {
        for byte in bytes {
            *byte = (count.fetch_add(1, Ordering::SeqCst) / 64) as u8;
        }
    };
    let sessions = home.builder().random(random).open().wait().unwrap();
    calls.store(0, Ordering::SeqCst);
    let made: HashSet<String> = (0..20).map(|_| create(&sessions, "{}")).collect();
    assert_eq!(made.len(), 20);
    assert_eq!(sessions.count_sessions(None).wait(), Ok(20));
}

#[test]
fn an_id_is_43_characters_and_never_the_same() {
    let (_home, sessions) = store();
    let request = Request::Create(NewSession::new(b"{}".to_vec()).ttl(LIFE));
    let replies = sessions.batch(vec![request; 500]).wait().unwrap();
    let ids: HashSet<String> = replies
        .into_iter()
        .map(|reply| match reply {
            Ok(Reply::Created(created)) => created.id,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(ids.len(), 500);
    for id in ids {
        assert_eq!(id.len(), 43);
        let base64url = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        assert!(id.bytes().all(base64url), "{id}");
    }
}

#[test]
fn an_id_chosen_by_the_caller_is_1_to_255_bytes_of_any_text() {
    let (_home, sessions) = store();
    for id in [
        "x",
        &"x".repeat(255),
        &"é".repeat(127),
        "\0",
        " ",
        "a\nb",
        "'; DROP TABLE Sessions; --",
        "\" OR 1=1",
        "%",
        "../../etc/passwd",
        "日本語",
        "\u{10ffff}",
    ] {
        let started = written(sessions.set(id, id, LIFE).wait().unwrap());
        assert_eq!(started.version, 1, "{id:?}");
        assert_eq!(data(&sessions, id).as_deref(), Some(id));
    }
    // All are different sessions.
    assert_eq!(sessions.count_sessions(None).wait(), Ok(12));
    assert_eq!(data(&sessions, "X"), None);
}

#[test]
fn an_invalid_id_is_missing_and_refused_only_to_start_a_session() {
    let (_home, sessions) = store();
    for id in ["", &"x".repeat(256), &"é".repeat(128)] {
        assert_eq!(sessions.get(id).wait(), Ok(None));
        assert_eq!(sessions.touch(id, LIFE).wait(), Ok(None));
        assert_eq!(sessions.merge(id, "{}", LIFE).wait(), Ok(None));
        assert_eq!(sessions.rotate(id, None).wait(), Ok(None));
        assert_eq!(sessions.rotate(id, Some("alice")).wait(), Ok(None));
        assert_eq!(sessions.destroy(id).wait(), Ok(false));
        for expected in [None, Some(1)] {
            let update = sessions.update(id, "{}", LIFE, expected).wait();
            assert_eq!(update, Ok(Outcome::Gone));
        }
        let ended = sessions.terminate_subject("alice", Some(id)).wait();
        assert_eq!(ended, Ok(0));

        for refused in [
            sessions.set(id, "{}", LIFE).wait(),
            sessions.update(id, "{}", LIFE, Some(0)).wait(),
        ] {
            assert!(matches!(refused, Err(Error::InvalidArgument(_))));
        }
    }
    assert_eq!(sessions.count_sessions(None).wait(), Ok(0));
}

#[test]
fn no_file_of_the_store_holds_an_id() {
    let (home, sessions) = store();
    let brought = "an id that a caller brought";
    written(sessions.set(brought, "{}", LIFE).wait().unwrap());
    let first = create(&sessions, "a payload to be found");
    let rotated = sessions.rotate(&first, Some("alice"));
    let rotated = rotated.wait().unwrap().unwrap().id;
    let ended = create(&sessions, "{}");
    assert_eq!(sessions.destroy(&ended).wait(), Ok(true));

    let nowhere = |home: &Home| {
        let files = all_bytes(home);
        assert!(contains(&files, b"a payload to be found"));
        for id in [brought, &first, &rotated, &ended] {
            assert!(!contains(&files, id.as_bytes()));
        }
    };
    nowhere(&home);
    drop(sessions);
    nowhere(&home);
}

#[test]
fn a_handle_is_not_an_id_and_an_id_is_not_a_handle() {
    let (_home, sessions) = store();
    let id = create(&sessions, "{}");
    let handle = only_handle(&sessions);
    assert_eq!(handle.len(), 64);
    assert!(
        handle
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    );
    assert_eq!(sessions.get(&handle).wait(), Ok(None));
    assert_eq!(sessions.destroy(&handle).wait(), Ok(false));
    assert_eq!(sessions.terminate(&id).wait(), Ok(false));

    // An id has the same handle in every store.
    let (_other_home, other) = store();
    written(other.set(&id, "{}", LIFE).wait().unwrap());
    assert_eq!(only_handle(&other), handle);
}

#[test]
fn an_invented_handle_or_cursor_finds_nothing() {
    let (_home, sessions) = store();
    let id = create(&sessions, "{}");
    let handle = only_handle(&sessions);
    for foreign in [
        "",
        "x",
        &handle.to_uppercase(),
        &handle[..62],
        &format!("{handle}00"),
        &"0".repeat(64),
        "'; DROP TABLE Sessions; --",
    ] {
        assert_eq!(sessions.inspect(foreign).wait(), Ok(None), "{foreign}");
        assert_eq!(sessions.terminate(foreign).wait(), Ok(false), "{foreign}");
    }
    for foreign in ["", "x", &handle[..62], "é"] {
        let page = sessions.list_sessions(None, Some(foreign), 10).wait();
        assert!(matches!(page, Err(Error::InvalidArgument(_))), "{foreign}");
    }
    assert_eq!(session(&sessions, &id).version, 1);
}

#[test]
fn subjects_and_payloads_are_stored_unchanged() {
    let (_home, sessions) = store();
    for text in ["a", &"x".repeat(255), "\0", "'\"; --", "ünï", "a\r\nb"] {
        let created = sessions
            .create(NewSession::new(text).ttl(LIFE).subject(text))
            .wait()
            .unwrap();
        let found = session(&sessions, &created.id);
        assert_eq!(found.subject.as_deref(), Some(text));
        assert_eq!(found.data, text.as_bytes());
        assert_eq!(sessions.count_sessions(Some(text)).wait(), Ok(1));
        assert_eq!(
            listed(&sessions, Some(text))[0].subject.as_deref(),
            Some(text)
        );
    }
    let every_byte: Vec<u8> = (0..=255).cycle().take(70_000).collect();
    let id = bytes(&sessions, &every_byte);
    assert!(session(&sessions, &id).data == every_byte);
    let empty = bytes(&sessions, b"");
    assert_eq!(session(&sessions, &empty).data, b"");
}

fn bytes(sessions: &Sessions, payload: &[u8]) -> String {
    sessions
        .create(NewSession::new(payload).ttl(LIFE))
        .wait()
        .unwrap()
        .id
}

/// The concatenated content of all files in the store's directory.
fn all_bytes(home: &Home) -> Vec<u8> {
    let files = fs::read_dir(home.path()).unwrap();
    files
        .map(|file| file.unwrap().path())
        .filter(|path| path.is_file())
        .flat_map(|path| fs::read(path).unwrap())
        .collect()
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack
        .windows(needle.len())
        .any(|window| window == needle)
}
