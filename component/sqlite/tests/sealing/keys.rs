//! Keys: right, wrong and missing ones, and the change from one to another.

use super::{collect_all, database, is_in_files, with_keys};
use crate::engine::{Access, Engine, Error, Options};
use crate::fixture::{BOTH, Database, NOW, OpenStore, create, is_live};
use std::fs;

/// The message with which these keys are refused. Asserts that the refusal changes nothing.
fn refusal(database: &Database, keys: impl Fn(&mut Options)) -> String {
    let before = fs::read(database.file("sessions.db")).unwrap();
    let mut refusal = None;
    for sync in [true, false] {
        let opened = database.try_open(|options| {
            keys(options);
            options.sync = sync;
        });
        let Err(Error::InvalidArgument(words)) = opened.map(drop) else {
            panic!("opened");
        };
        assert!(fs::read(database.file("sessions.db")).unwrap() == before);
        refusal = Some(words);
    }
    refusal.unwrap()
}

/// Creates sessions of two subjects and of none; returns their ids.
fn fill(store: &mut OpenStore, count: usize) -> Vec<String> {
    let subjects = [None, Some("alice"), Some("bob")];
    (0..count)
        .map(|number| {
            let data = format!("payload {number}");
            let subject = subjects[number % 3];
            store
                .create(NOW, data.as_bytes(), None, subject)
                .unwrap()
                .id
        })
        .collect()
}

/// Asserts that all these sessions have their payloads and subjects.
fn assert_filled(store: &mut OpenStore, ids: &[String]) {
    for (number, id) in ids.iter().enumerate() {
        let session = store.get(NOW, id).unwrap().unwrap();
        assert_eq!(session.data, format!("payload {number}").as_bytes());
        let subject = [None, Some("alice"), Some("bob")][number % 3];
        assert_eq!(session.subject.as_deref(), subject);
    }
}

#[test]
fn a_wrong_or_missing_key_is_refused_and_changes_nothing() {
    for access in BOTH {
        let database = database(access, true);
        let id = create(&mut database.open(), NOW, None);
        for (present, previous, words) in [
            (0, None, "`key` is missing"),
            (0, Some(0), "`key` is missing"),
            (0, Some(2), "`key` is missing"),
            (2, None, "`key` is not the key of table `Sessions`"),
            (2, Some(0), "`key` is not the key of table `Sessions`"),
            (2, Some(3), "`key` is not the key of table `Sessions`"),
        ] {
            let refused = refusal(&database, with_keys(present, previous));
            assert!(refused.contains(words), "{refused}");
        }
        assert!(is_live(&mut database.open(), NOW, &id));
        // A previous key that is not needed is accepted.
        for previous in [0, 1, 2] {
            let mut store = database.open_with(with_keys(1, Some(previous)));
            assert!(is_live(&mut store, NOW, &id));
            assert!(!store.collect(NOW, 10).unwrap().more);
        }
    }
}

#[test]
fn a_table_that_is_not_sealed_is_refused_until_the_previous_key_is_none() {
    for access in BOTH {
        let database = database(access, false);
        let id = create(&mut database.open(), NOW, None);
        for previous in [None, Some(1), Some(2)] {
            let before = fs::read(database.file("sessions.db")).unwrap();
            let refused = database.try_open(with_keys(1, previous)).map(drop);
            let Err(Error::InvalidArgument(words)) = refused else {
                panic!("opened");
            };
            assert!(words.contains("`previousKey` must be \"none\""), "{words}");
            assert!(fs::read(database.file("sessions.db")).unwrap() == before);
        }
        let mut store = database.open_with(|options| {
            with_keys(1, Some(0))(options);
            options.sync = false;
        });
        assert!(is_live(&mut store, NOW, &id));
    }
}

#[test]
fn requests_find_the_rows_of_both_keys_while_the_key_is_being_changed() {
    // From no key to one, from one to another, and back to none.
    for (before, after) in [(0, 1), (1, 2), (1, 0)] {
        for access in BOTH {
            let database = database(access, before != 0);
            let mut ids = fill(&mut database.open(), 30);
            let mut store = database.open_with(with_keys(after, Some(before)));
            assert_filled(&mut store, &ids);
            assert_eq!(store.check(), Ok(vec![]));
            store.collect(NOW, 7).unwrap();
            for number in 30..60 {
                let data = format!("payload {number}");
                let subject = [None, Some("alice"), Some("bob")][number % 3];
                let created = store.create(NOW, data.as_bytes(), None, subject).unwrap();
                ids.push(created.id);
            }
            assert_filled(&mut store, &ids);
            assert_eq!(store.count_sessions(NOW, Some("alice")), Ok(20));
            let page = store.list_sessions(NOW, Some("bob"), None, 1000).unwrap();
            assert_eq!(page.entries.len(), 20);
            assert!(page.entries.is_sorted_by_key(|entry| {
                let head = u64::from_str_radix(&entry.handle[..16], 16).unwrap();
                head.cast_signed()
            }));
            assert!(page.entries.iter().all(|entry| {
                let size = if entry.size == 9 { 9 } else { 10 };
                entry.subject.as_deref() == Some("bob") && entry.size == size
            }));
            let first = store.list_sessions(NOW, Some("bob"), None, 7).unwrap();
            let rest = store
                .list_sessions(NOW, Some("bob"), first.next.as_deref(), 1000)
                .unwrap();
            assert_eq!([first.entries, rest.entries].concat(), page.entries);

            // A write seals a row of the previous key with the present one.
            for id in &ids[20..40] {
                let session = store.get(NOW, id).unwrap().unwrap();
                store.set(NOW, id, &session.data, None).unwrap();
                store.touch(NOW, id, Some(1_000_000)).unwrap();
            }
            assert_filled(&mut store, &ids);
            assert_eq!(store.terminate_subject(NOW, "alice", Some(&ids[1])), Ok(19));
            assert_eq!(store.count_sessions(NOW, Some("alice")), Ok(1));
            drop(store);

            let mut store = database.open_with(|options| {
                with_keys(after, Some(before))(options);
                options.max_per_subject = Some(4);
            });
            let newest = create(&mut store, NOW + 1, Some("bob"));
            assert_eq!(store.count_sessions(NOW + 1, Some("bob")), Ok(4));
            assert!(is_live(&mut store, NOW + 1, &newest));
            assert_eq!(store.check(), Ok(vec![]));
        }
    }
}

#[test]
fn after_a_complete_collection_the_previous_key_is_not_needed() {
    for (before, after) in [(0, 1), (1, 2), (1, 0)] {
        for access in BOTH {
            let database = database(access, before != 0);
            let ids = fill(&mut database.open(), 50);
            let mut store = database.open_with(with_keys(after, Some(before)));
            assert!(store.collect(NOW, 5).unwrap().more);
            drop(store);
            // The previous key is needed until then.
            let words = refusal(&database, with_keys(after, None));
            assert!(words.contains("`previousKey` must be"), "{words}");
            let words = refusal(&database, with_keys(after, Some(3)));
            assert!(words.contains("`previousKey` must be"), "{words}");
            // Another change is refused until then.
            let words = refusal(&database, with_keys(4, Some(after)));
            assert!(words.contains("cannot be changed again"), "{words}");

            let mut store = database.open_with(with_keys(after, Some(before)));
            let steps = collect_all(&mut store, 5);
            assert!((9..=20).contains(&steps), "{steps}");
            assert_filled(&mut store, &ids);
            drop(store);
            // Another one is ignored.
            drop(database.open_with(with_keys(after, Some(3))));
            let mut store = database.open_with(with_keys(after, None));
            assert_filled(&mut store, &ids);
            assert_eq!(store.count_sessions(NOW, Some("alice")), Ok(17));
            assert_eq!(store.check(), Ok(vec![]));
            drop(store);
            // The key can be changed again.
            let mut store = database.open_with(with_keys(4, Some(after)));
            collect_all(&mut store, 100);
            assert_filled(&mut store, &ids);
        }
    }
}

#[test]
fn collection_steps_of_requests_change_the_key() {
    let database = database(Access::Exclusive, true);
    let ids = fill(&mut database.open(), 200);
    let mut store = database.open_with(|options| {
        with_keys(2, Some(1))(options);
        options.gc_frequency = 10;
        options.gc_step = 10;
    });
    for _ in 0..100 {
        assert!(is_live(&mut store, NOW, &ids[0]));
    }
    drop(store);
    assert_filled(&mut database.open_with(with_keys(2, None)), &ids);
}

#[test]
fn a_resealing_step_is_bounded_in_bytes() {
    let database = database(Access::Exclusive, true);
    let mut store = database.open();
    let payload = vec![b'x'; 400_000];
    for _ in 0..9 {
        store.create(NOW, &payload, None, None).unwrap();
    }
    drop(store);
    let mut store = database.open_with(with_keys(2, Some(1)));
    let steps = collect_all(&mut store, 1000);
    assert!(steps >= 4, "{steps}");
}

#[test]
fn an_unsealed_payload_is_overwritten_when_its_row_is_sealed() {
    // Some rows fit into a page, and one does not.
    for lengths in [&[10, 100][..], &[10_000]] {
        for access in BOTH {
            let database = database(access, false);
            let mut store = database.open();
            for length in lengths {
                let data = "plain text ".repeat(*length);
                let subject = Some("plain subject");
                store.create(NOW, data.as_bytes(), None, subject).unwrap();
            }
            drop(store);
            assert!(is_in_files(&database, b"plain text plain text"));
            let mut store = database.open_with(with_keys(1, Some(0)));
            collect_all(&mut store, 100);
            // The write-ahead log of the open store does not contain it either.
            assert!(!is_in_files(&database, b"plain text"), "{access:?}");
            assert!(!is_in_files(&database, b"plain subject"), "{access:?}");
        }
    }
}

#[test]
fn a_backup_after_the_change_contains_nothing_unsealed() {
    let database = database(Access::Exclusive, false);
    let mut store = database.open();
    for length in [1, 100, 10_000].repeat(30) {
        let data = "plain text ".repeat(length);
        store.create(NOW, data.as_bytes(), None, None).unwrap();
    }
    store.clear(NOW).unwrap();
    fill(&mut store, 100);
    drop(store);
    let mut store = database.open_with(with_keys(1, Some(0)));
    collect_all(&mut store, 100);
    let copy = database.file("copy.db");
    store.backup(&copy).unwrap();
    drop(store);
    fs::rename(copy, database.file("sessions.db")).unwrap();
    assert!(!is_in_files(&database, b"plain text"));
}

#[test]
fn the_first_key_does_not_rewrite_the_rows_of_a_large_table() {
    for access in BOTH {
        let database = database(access, false);
        let mut store = database.open();
        fill(&mut store, 3000);
        drop(store);
        let before = fs::read(database.file("sessions.db")).unwrap();
        drop(database.open_with(with_keys(1, Some(0))));
        let after = fs::read(database.file("sessions.db")).unwrap();
        let pages = before.chunks(4096).zip(after.chunks(4096));
        let changed = pages.filter(|(before, after)| before != after).count();
        assert!(before.len() > 80 * 4096 && changed < 8, "{changed}");
    }
}

#[test]
fn a_table_beside_a_broken_view_is_not_sealed() {
    let database = database(Access::Exclusive, false);
    let id = create(&mut database.open(), NOW, None);
    let view = "CREATE VIEW broken AS SELECT x FROM nowhere";
    database.raw().execute_batch(view).unwrap();
    let words = match database.try_open(with_keys(1, Some(0))).map(drop) {
        Err(Error::Other(words)) => words,
        other => panic!("{other:?}"),
    };
    assert!(
        words.contains("cannot be sealed") && words.contains("view broken"),
        "{words}"
    );
    assert!(is_live(&mut database.open(), NOW, &id));
}

#[test]
fn the_originals_table_is_sealed_when_it_is_migrated() {
    for access in BOTH {
        let database = Database::with(access, with_keys(1, None));
        let original =
            "CREATE TABLE Sessions (id VARCHAR(100) PRIMARY KEY, data TEXT, expires BIGINT);
             INSERT INTO Sessions VALUES ('an id', 'plain text', 4000000000)";
        database.raw().execute_batch(original).unwrap();
        let words = match database.try_open(|_| {}).map(drop) {
            Err(Error::InvalidArgument(words)) => words,
            other => panic!("{other:?}"),
        };
        assert!(words.contains("not sealed"), "{words}");
        let mut store = database.open_with(with_keys(1, Some(0)));
        assert_eq!(
            store.get(NOW, "an id").unwrap().unwrap().data,
            b"plain text"
        );
        drop(store);
        assert!(!is_in_files(&database, b"plain text"));
        // All rows are sealed during the migration.
        assert!(is_live(&mut database.open(), NOW, "an id"));
    }
}

#[test]
fn an_instance_with_the_old_key_writes_nothing_after_the_change() {
    for (before, after) in [(0, 1), (1, 2), (1, 0)] {
        let database = database(Access::Shared, before != 0);
        let mut old = database.open();
        let id = create(&mut old, NOW, Some("alice"));
        let mut new = database.open_with(with_keys(after, Some(before)));
        let refused = [
            old.get(NOW, &id).map(drop),
            old.set(NOW, &id, b"old", None).map(drop),
            old.create(NOW, b"old", None, Some("alice")).map(drop),
            old.destroy(NOW, &id).map(drop),
            old.list_sessions(NOW, None, None, 10).map(drop),
            old.collect(NOW, 10).map(drop),
        ];
        for refused in refused {
            assert!(matches!(refused, Err(Error::Other(_))), "{refused:?}");
        }
        assert_eq!(new.get(NOW, &id).unwrap().unwrap().data, b"{}");
        assert_eq!(new.count_sessions(NOW, None), Ok(1));
        collect_all(&mut new, 10);
        assert!(old.get(NOW, &id).is_err());
        assert_eq!(new.check(), Ok(vec![]));
    }
}

#[test]
fn two_instances_change_the_key_together() {
    let database = database(Access::Shared, true);
    let ids = fill(&mut database.open(), 40);
    let mut stores = [0, 1].map(|_| database.open_with(with_keys(2, Some(1))));
    for step in 0..40 {
        stores[step % 2].collect(NOW, 3).unwrap();
        let id = &ids[(step * 7) % 40];
        let session = stores[1 - step % 2].get(NOW, id).unwrap().unwrap();
        stores[step % 2].set(NOW, id, &session.data, None).unwrap();
    }
    for mut store in stores {
        assert!(!store.collect(NOW, 3).unwrap().more);
        assert_filled(&mut store, &ids);
    }
    assert_filled(&mut database.open_with(with_keys(2, None)), &ids);
}

#[test]
fn each_table_of_a_file_has_its_own_keys() {
    let database = database(Access::Shared, true);
    let other = |keys: &dyn Fn(&mut Options), options: &mut Options| {
        keys(options);
        options.table_name = "Others".into();
    };
    let id = create(&mut database.open(), NOW, Some("alice"));
    let mut plain = database.open_with(|options| other(&with_keys(0, None), options));
    let mut second = database.open_with(|options| {
        with_keys(2, None)(options);
        options.table_name = "Third".into();
    });
    for store in [&mut plain, &mut second] {
        let id = create(store, NOW, Some("alice"));
        assert!(is_live(store, NOW, &id));
    }
    assert!(is_live(&mut database.open(), NOW, &id));
}
