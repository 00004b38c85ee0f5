//! The database as a file: damage, and data that it must not contain.

use crate::engine::{Access, Engine, Error, Store};
use crate::fixture::{BOTH, Database, NOW, create, handle, is_live};
use std::fs;

/// The message of a failed request.
fn words<T>(answer: Result<T, Error>) -> String {
    match answer {
        Ok(_) => panic!("it succeeded"),
        Err(error) => format!("{error:?}"),
    }
}

/// Whether a file of the database contains these bytes.
fn holds(database: &Database, bytes: &str) -> bool {
    ["", "-wal", "-journal"].iter().any(|suffix| {
        let file = fs::read(database.file(&format!("sessions.db{suffix}")));
        let found = |file: Vec<u8>| {
            file.windows(bytes.len())
                .any(|part| part == bytes.as_bytes())
        };
        file.is_ok_and(found)
    })
}

#[test]
fn a_location_that_is_not_a_path_is_refused() {
    for access in BOTH {
        let database = Database::new(access);
        let mut store = database.open();
        for location in [
            "",
            ":memory:",
            "file:x?mode=memory",
            "file::memory:",
            "a\0b",
        ] {
            let opened = Store::open(location, database.options.clone(), NOW).err();
            assert!(
                matches!(opened, Some(Error::InvalidArgument(_))),
                "{location}"
            );
            let answer = store.backup(location);
            assert!(
                matches!(answer, Err(Error::InvalidArgument(_))),
                "{location}"
            );
        }
        let nowhere = database.file("no-directory/sessions.db");
        let opened = Store::open(&nowhere, database.options.clone(), NOW);
        assert!(words(opened).contains("no-directory/sessions.db"));
    }
}

#[test]
fn a_check_finds_a_damaged_page_and_the_rest_stays_readable() {
    for access in BOTH {
        let database = Database::new(access);
        let mut store = database.open();
        let ids: Vec<String> = (0..100)
            .map(|_| store.create(NOW, &[b'x'; 2000], None, None).unwrap().id)
            .collect();
        assert_eq!(store.check(), Ok(vec![]));
        drop(store);
        database.damage_a_page();

        let mut store = database.open();
        let damage = store.check().unwrap();
        assert!(!damage.is_empty());
        assert!(ids.iter().all(|id| !damage.concat().contains(id)));
        let answers: Vec<_> = ids.iter().map(|id| store.get(NOW, id)).collect();
        let corrupt = |answer: &&Result<_, _>| matches!(answer, Err(Error::Corrupt(_)));
        assert!(answers.iter().filter(corrupt).count() > 0);
        let readable = |answer: &&Result<Option<_>, _>| matches!(answer, Ok(Some(_)));
        assert!(answers.iter().filter(readable).count() > 50);
    }
}

#[test]
fn a_subject_that_is_not_text_is_damage() {
    for access in BOTH {
        let database = Database::new(access);
        let id = create(&mut database.open(), NOW, Some("alice"));
        database
            .raw()
            .execute_batch("UPDATE Sessions SET subject = CAST(x'ff' AS TEXT)")
            .unwrap();
        let mut store = database.open();
        let damaged = |error: Option<Error>| matches!(error, Some(Error::Corrupt(_)));
        assert!(damaged(store.get(NOW, &id).err()));
        assert!(damaged(store.list_sessions(NOW, None, None, 9).err()));
    }
}

/// A shared database whose count of requests has an impossible value.
fn miscounted(requests: i64) -> Database {
    let database = Database::with(Access::Shared, |options| options.gc_frequency = 4);
    drop(database.open());
    let sql = format!(r#"UPDATE "wasi-sessions" SET requests = {requests}"#);
    database.raw().execute_batch(&sql).unwrap();
    database
}

fn requests(database: &Database) -> i64 {
    let sql = r#"SELECT requests FROM "wasi-sessions""#;
    database.raw().query_row(sql, [], |row| row.get(0)).unwrap()
}

#[test]
fn a_damaged_count_of_requests_does_not_make_writes_fail() {
    for damaged in [i64::MAX, i64::MIN, -1] {
        let database = miscounted(damaged);
        let mut store = database.open();
        for write in 1..=9 {
            create(&mut store, NOW, None);
            assert!((0..=4).contains(&requests(&database)), "{write}");
        }
    }
}

#[test]
fn without_collection_nothing_is_counted() {
    let database = miscounted(7);
    let mut store = database.open_with(|options| options.gc_frequency = 0);
    create(&mut store, NOW, None);
    assert_eq!(requests(&database), 7);
}

#[test]
fn a_file_that_is_not_a_database_is_corrupt_and_not_changed() {
    for access in BOTH {
        for content in ["hello".repeat(2000), "hello".to_owned(), "\0".repeat(8192)] {
            let database = Database::new(access);
            let file = database.file("sessions.db");
            fs::write(&file, &content).unwrap();
            let opened = database.try_open(|_| {}).err();
            assert!(matches!(opened, Some(Error::Corrupt(_))), "{opened:?}");
            assert!(fs::read(&file).unwrap() == content.as_bytes());
            assert_eq!(fs::read_dir(database.file("")).unwrap().count(), 1);
        }
    }
}

#[test]
fn a_truncated_database_is_corrupt_and_not_changed() {
    let database = Database::new(Access::Exclusive);
    let mut store = database.open();
    for _ in 0..100 {
        store.create(NOW, &[b'x'; 2000], None, None).unwrap();
    }
    drop(store);
    for access in BOTH {
        // As both kinds of access leave it.
        drop(database.open_with(|options| options.access = access));
        let whole = fs::read(database.file("sessions.db")).unwrap();
        for access in BOTH {
            for length in [
                whole.len() - 4096,
                whole.len() / 2,
                20_000,
                8192,
                4096,
                1000,
                99,
            ] {
                let cut = Database::new(access);
                fs::write(cut.file("sessions.db"), &whole[..length]).unwrap();
                let opened = cut.try_open(|_| {}).err();
                assert!(
                    matches!(opened, Some(Error::Corrupt(_))),
                    "{length}: {opened:?}"
                );
                let left = fs::read(cut.file("sessions.db")).unwrap();
                assert!(left == whole[..length], "{access:?} {length}");
            }
        }
    }
}

#[test]
fn no_id_is_in_the_files() {
    for access in BOTH {
        let database = Database::new(access);
        let mut store = database.open();
        let mut ids: Vec<String> = (0..20).map(|_| create(&mut store, NOW, None)).collect();
        let brought = "brought-by-a-caller".to_owned();
        store.set(NOW, &brought, b"", None).unwrap();
        let moved = store.rotate(NOW, &brought, Some("alice")).unwrap().unwrap();
        store.destroy(NOW, &ids[3]).unwrap();
        store.terminate(NOW, &handle(&ids[4])).unwrap();
        ids.extend([brought, moved.id]);
        let is_sealed = database.options.key.is_some();
        assert_eq!(holds(&database, "alice"), !is_sealed);
        assert!(ids.iter().all(|id| !holds(&database, id)));
        store.clear(NOW).unwrap();
        drop(store);
        assert!(ids.iter().all(|id| !holds(&database, id)));
    }
}

#[test]
fn no_id_of_a_migrated_table_stays_in_the_files() {
    for access in BOTH {
        let database = Database::new(access);
        let original = database.raw();
        original
            .execute_batch(
                "CREATE TABLE Sessions (id VARCHAR(100) PRIMARY KEY, data TEXT, expires BIGINT)",
            )
            .unwrap();
        let ids: Vec<String> = (0..300).map(|n| format!("original-id-{n:03}")).collect();
        for id in &ids {
            original
                .execute(
                    "INSERT INTO Sessions VALUES (?1, '{}', ?2)",
                    (id, 2_000_000_000i64),
                )
                .unwrap();
        }
        drop(original);
        assert!(holds(&database, &ids[7]));
        let mut store = database.open();
        assert_eq!(store.count_sessions(NOW, None), Ok(300));
        drop(store);
        let left = ids.iter().filter(|id| holds(&database, id)).count();
        assert_eq!(left, 0, "of {} ids", ids.len());
    }
}

#[test]
fn no_error_carries_an_id_or_a_payload() {
    let database = Database::with(Access::Exclusive, |options| options.max_data = 100);
    let mut store = database.open();
    let id = "secret-id";
    let data = "secret-payload";
    store.set(NOW, id, data.as_bytes(), None).unwrap();
    let long_id = id.repeat(50);
    let long_data = data.repeat(50);
    let mut messages = vec![
        words(store.set(NOW, &long_id, b"", None)),
        words(store.set(NOW, id, long_data.as_bytes(), None)),
        words(store.merge(NOW, id, data, None)),
        words(store.merge(NOW, id, "{}", None)),
        words(store.create(NOW, data.as_bytes(), None, Some(&long_id))),
    ];
    drop(store);
    let harm = "CREATE TRIGGER harm BEFORE UPDATE ON Sessions
                BEGIN INSERT INTO Sessions SELECT * FROM Sessions; END;";
    database.raw().execute_batch(harm).unwrap();
    let mut store = database.open();
    messages.push(words(store.set(NOW, id, data.as_bytes(), None)));
    messages.push(words(store.destroy(NOW, id)));
    drop(store);
    let harm = "DROP TRIGGER harm; PRAGMA ignore_check_constraints = 1;
                UPDATE Sessions SET version = -1;";
    database.raw().execute_batch(harm).unwrap();
    let mut store = database.open();
    let damaged = store.get(NOW, id);
    assert!(matches!(damaged, Err(Error::Corrupt(_))));
    messages.push(words(damaged));
    for words in messages {
        assert!(
            !words.contains("secret") && !words.contains(&handle(id)),
            "{words}"
        );
    }
}

#[test]
fn statistics_name_the_store_and_its_engine_and_count() {
    for access in BOTH {
        let database = Database::with(access, |options| options.model_name = "Session 1".into());
        let mut store = database.open();
        create(&mut store, NOW, None);
        store.create(NOW, b"", Some(0), None).unwrap();
        let statistics = store.stats(NOW).unwrap();
        assert_eq!(statistics.name, "Session 1");
        assert!(statistics.engine.starts_with("SQLite 3."));
        assert_eq!((statistics.live, statistics.expired), (1, 1));
        assert_eq!(statistics.collected, 0);
        store.collect(NOW, 5).unwrap();
        assert_eq!(store.stats(NOW).unwrap().collected, 1);
        drop(store);
        let size = fs::metadata(database.file("sessions.db")).unwrap().len();
        let statistics = database.open().stats(NOW).unwrap();
        assert_eq!((statistics.size, statistics.collected), (size, 0));
    }
}

#[test]
fn a_newer_schema_is_refused_and_its_sessions_stay() {
    for access in BOTH {
        let database = Database::new(access);
        let id = create(&mut database.open(), NOW, None);
        let add = |more: i64| {
            let sql = r#"UPDATE "wasi-sessions" SET version = version + ?1"#;
            database.raw().execute(sql, [more]).unwrap();
        };
        add(2);
        for sync in [true, false] {
            let opened = database.try_open(|options| options.sync = sync);
            assert!(words(opened).contains("newer wasi-sessions"));
        }
        add(-2);
        assert!(is_live(&mut database.open(), NOW, &id));
    }
}
