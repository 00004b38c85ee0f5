//! Encryption at rest: what the files contain, which keys are accepted, and how a key is
//! changed.

mod hostile;
mod keys;

use crate::engine::{Access, Engine, Error, Options};
use crate::fixture::{BOTH, Database, NOW, OpenStore, key};
use std::fs;
use wasi_sessions_rules::key::PreviousKey;

/// A database with rows that are sealed with the first key, or not sealed.
fn database(access: Access, is_sealed: bool) -> Database {
    Database::with(access, |options| {
        options.key = key(1).filter(|_| is_sealed);
        options.previous_key = None;
        options.gc_frequency = 0;
    })
}

/// Sets the keys in options. Each key is given as the byte that it consists of; 0 is no key.
fn with_keys(present: u8, previous: Option<u8>) -> impl Fn(&mut Options) {
    let key = |byte| key(byte).filter(|_| byte != 0);
    move |options| {
        options.key = key(present);
        options.previous_key =
            previous.map(|previous| key(previous).map_or(PreviousKey::None, PreviousKey::Key));
    }
}

/// Collects with steps of this size until nothing is left; returns how many.
fn collect_all(store: &mut OpenStore, limit: u64) -> u64 {
    let mut steps = 1;
    while store.collect(NOW, limit).unwrap().more {
        steps += 1;
        assert!(steps < 1000, "it does not end");
    }
    steps
}

/// Whether any file of the database contains these bytes.
fn is_in_files(database: &Database, bytes: &[u8]) -> bool {
    let files = fs::read_dir(database.file("")).unwrap();
    files
        .map(|file| fs::read(file.unwrap().path()).unwrap())
        .any(|file| file.windows(bytes.len()).any(|window| window == bytes))
}

/// Calls all kinds of functions with this payload and subject; returns the ids.
fn busy(store: &mut OpenStore, payload: &[u8], subject: &str) -> Vec<String> {
    let mut ids = vec!["an id that its caller chose".to_owned()];
    for number in 0..40 {
        let created = store.create(NOW, payload, None, Some(subject)).unwrap();
        ids.push(created.id.clone());
        let id = match number % 4 {
            0 => store.rotate(NOW, &created.id, None).unwrap().unwrap().id,
            1 => {
                store
                    .rotate(NOW, &created.id, Some(subject))
                    .unwrap()
                    .unwrap()
                    .id
            }
            _ => created.id,
        };
        ids.push(id.clone());
        store.set(NOW, &id, payload, None).unwrap();
        store.touch(NOW, &id, Some(1_000_000)).unwrap();
        store
            .update(NOW, &id, &payload.repeat(40), None, None)
            .unwrap();
        match number % 5 {
            0 => assert_eq!(store.destroy(NOW, &id), Ok(true)),
            1 => drop(store.touch(NOW, &id, Some(0)).unwrap()),
            _ => {}
        }
    }
    store.set(NOW, &ids[0], payload, None).unwrap();
    store.list_sessions(NOW, Some(subject), None, 1000).unwrap();
    store.collect(NOW, 7).unwrap();
    ids
}

#[test]
fn no_file_has_an_id_and_with_a_key_none_has_a_payload_or_a_subject() {
    let (payload, subject) = (b"{\"secret\":\"of the payload\"}", "the subject's name");
    for access in BOTH {
        for is_sealed in [false, true] {
            let database = database(access, is_sealed);
            let mut store = database.open();
            let ids = busy(&mut store, payload, subject);
            // While the store is open, with its write-ahead log, and after it was closed.
            for _ in 0..2 {
                for id in &ids {
                    assert!(!is_in_files(&database, id.as_bytes()), "{access:?}");
                }
                assert_eq!(is_in_files(&database, b"of the payload"), !is_sealed);
                assert_eq!(is_in_files(&database, subject.as_bytes()), !is_sealed);
                drop(std::mem::replace(&mut store, database.open()));
            }
        }
    }
}

#[test]
fn the_longest_payload_and_subject_are_counted_without_their_seals() {
    for access in BOTH {
        let database = Database::with(access, |options| {
            options.key = key(1);
            options.max_data = 10_000;
        });
        let mut store = database.open();
        let (payload, subject) = (vec![7; 10_000], "é".repeat(127) + "y");
        let id = store
            .create(NOW, &payload, None, Some(&subject))
            .unwrap()
            .id;
        let session = store.get(NOW, &id).unwrap().unwrap();
        assert_eq!(session.data, payload);
        assert_eq!(session.subject.as_deref(), Some(&*subject));
        let page = store.list_sessions(NOW, Some(&subject), None, 10).unwrap();
        let entry = &page.entries[0];
        assert_eq!(
            (entry.size, entry.subject.as_deref()),
            (10_000, Some(&*subject))
        );
        let refused = store.set(NOW, &id, &[7; 10_001], None);
        assert_eq!(refused, Err(Error::TooLarge(10_000)));
        store.set(NOW, &id, b"", None).unwrap();
        assert_eq!(store.get(NOW, &id).unwrap().unwrap().data, b"");
        assert_eq!(store.check(), Ok(vec![]));
    }
}

#[test]
fn a_backup_is_sealed_as_the_database_is() {
    for access in BOTH {
        let database = database(access, true);
        let mut store = database.open();
        let id = store.create(NOW, b"payload text", None, None).unwrap().id;
        let copy = database.file("copy.db");
        store.backup(&copy).unwrap();
        let bytes = fs::read(&copy).unwrap();
        assert!(!bytes.windows(12).any(|window| window == b"payload text"));
        drop(store);
        fs::rename(&copy, database.file("sessions.db")).unwrap();
        assert!(database.try_open(with_keys(2, None)).is_err());
        let session = database.open().get(NOW, &id).unwrap().unwrap();
        assert_eq!(session.data, b"payload text");
    }
}
