//! Rows that an attacker who can write the file, but has no key, has changed.

use super::{collect_all, database, with_keys};
use crate::engine::{Access, Engine, Error};
use crate::fixture::{BOTH, Database, NOW, create, handle, is_live};
use rusqlite::params;

/// The `key` of this session's row.
fn rowid(id: &str) -> i64 {
    let head = u64::from_str_radix(&handle(id)[..16], 16).unwrap();
    head.cast_signed()
}

/// Creates two sessions of different subjects and calls `change` while the store is closed.
/// Asserts that reading and writing the first session is `corrupt`, and that it can be ended.
fn assert_corrupt(access: Access, change: impl Fn(&Database, [i64; 2])) {
    let database = database(access, true);
    let mut store = database.open();
    let mine = store
        .create(NOW, b"mine", None, Some("mallory"))
        .unwrap()
        .id;
    let other = store.create(NOW, b"other", None, Some("alice")).unwrap().id;
    drop(store);
    change(&database, [rowid(&mine), rowid(&other)]);
    let mut store = database.open();
    let is_corrupt = |error: Option<Error>| match error {
        Some(Error::Corrupt(words)) => assert!(!words.contains("mine"), "{words}"),
        other => panic!("{other:?}"),
    };
    is_corrupt(store.get(NOW, &mine).err());
    is_corrupt(store.inspect(NOW, &handle(&mine)).err());
    // A write would reseal it.
    is_corrupt(store.set(NOW, &mine, b"new", None).err());
    is_corrupt(store.update(NOW, &mine, b"new", None, None).err());
    is_corrupt(store.merge(NOW, &mine, "{}", None).err());
    is_corrupt(store.rotate(NOW, &mine, None).err());
    let damage = store.check().unwrap();
    assert!(damage.contains(&format!(
        "row {} of table `Sessions` does not open with its key",
        rowid(&mine)
    )));
    assert_eq!(store.terminate(NOW, &handle(&mine)), Ok(true));
    assert!(is_live(&mut store, NOW, &other) || damage.len() > 1);
}

#[test]
fn the_payload_of_another_row_does_not_open() {
    for access in BOTH {
        assert_corrupt(access, |database, [mine, other]| {
            let sql = "UPDATE Sessions SET data = (SELECT data FROM Sessions WHERE key = ?2)
                       WHERE key = ?1";
            database.raw().execute(sql, [mine, other]).unwrap();
        });
        // All columns that are sealed.
        assert_corrupt(access, |database, [mine, other]| {
            let sql = "UPDATE Sessions SET (data, subject, version, updated) =
                       (SELECT data, subject, version, updated FROM Sessions WHERE key = ?2)
                       WHERE key = ?1";
            database.raw().execute(sql, [mine, other]).unwrap();
        });
    }
}

#[test]
fn a_row_with_another_subject_version_time_or_state_does_not_open() {
    for access in BOTH {
        for change in [
            "subject = (SELECT subject FROM Sessions WHERE key = ?2)",
            "subject = NULL",
            "subject = 'alice'",
            "version = version + 1 + 0 * ?2",
            "updated = updated - 1",
            "state = 0",
            "state = 3",
            "state = -1",
            "state = 0, data = x'7b7d', subject = 'alice'",
            "data = x''",
            "data = substr(data, 2)",
            "data = substr(data, 1, length(data) - 1)",
            "data = CAST(data || x'00' AS BLOB)",
            "data = zeroblob(40)",
        ] {
            assert_corrupt(access, |database, rows| {
                let sql = format!("UPDATE Sessions SET {change} WHERE key = ?1 AND ?2 <> 0");
                assert_eq!(database.raw().execute(&sql, rows), Ok(1), "{change}");
            });
        }
    }
}

#[test]
fn a_row_with_any_flipped_bit_does_not_open() {
    let database = database(Access::Exclusive, true);
    let mut store = database.open();
    let id = store.create(NOW, b"payload", None, Some("s")).unwrap().id;
    drop(store);
    let (row, sealed): (i64, Vec<u8>) = database
        .raw()
        .query_row("SELECT key, data FROM Sessions", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .unwrap();
    let set = |data: &[u8]| {
        let sql = "UPDATE Sessions SET data = ?2 WHERE key = ?1";
        database.raw().execute(sql, params![row, data]).unwrap();
    };
    for bit in 0..sealed.len() * 8 {
        let mut flipped = sealed.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        set(&flipped);
        let found = database.open().get(NOW, &id);
        assert!(matches!(found, Err(Error::Corrupt(_))), "{bit}");
    }
    set(&sealed);
    assert!(is_live(&mut database.open(), NOW, &id));
}

#[test]
fn a_row_of_another_table_with_the_same_key_does_not_open() {
    let database = database(Access::Shared, true);
    let mut other = database.open_with(|options| options.table_name = "Others".into());
    other.set(NOW, "same id", b"other", None).unwrap();
    let mut store = database.open();
    store.set(NOW, "same id", b"mine", None).unwrap();
    let sql = "UPDATE Sessions SET data = (SELECT data FROM Others)";
    assert_eq!(database.raw().execute(sql, []), Ok(1));
    let found = store.get(NOW, "same id");
    assert!(matches!(found, Err(Error::Corrupt(_))), "{found:?}");
    assert_eq!(other.get(NOW, "same id").unwrap().unwrap().data, b"other");
}

#[test]
fn a_subject_that_was_changed_is_named_in_no_listing() {
    let database = database(Access::Exclusive, true);
    let mut store = database.open();
    create(&mut store, NOW, Some("alice"));
    drop(store);
    for (planted, found) in [("'alice'", 0), ("substr(subject, 2)", 0)] {
        let sql = format!("UPDATE Sessions SET subject = {planted}");
        database.raw().execute_batch(&sql).unwrap();
        let mut store = database.open();
        assert_eq!(store.count_sessions(NOW, Some("alice")), Ok(found));
        let page = store.list_sessions(NOW, None, None, 10);
        assert!(matches!(page, Err(Error::Corrupt(_))), "{page:?}");
    }
}

#[test]
fn a_damaged_record_of_keys_is_corrupt_and_never_opens() {
    for access in BOTH {
        for change in [
            r#"DELETE FROM "wasi-sessions keys""#,
            r#"DROP TABLE "wasi-sessions keys""#,
            r#"UPDATE "wasi-sessions keys" SET state = 0"#,
            r#"UPDATE "wasi-sessions keys" SET state = 1"#,
            r#"UPDATE "wasi-sessions keys" SET key_check = x''"#,
            r#"UPDATE "wasi-sessions keys" SET previous_state = 0"#,
            r#"UPDATE "wasi-sessions keys" SET previous_state = 5, previous_check = x''"#,
        ] {
            let database = database(access, true);
            create(&mut database.open(), NOW, None);
            database.raw().execute_batch(change).unwrap();
            let opened = database.try_open(|_| {}).map(drop);
            assert!(
                matches!(opened, Err(Error::Corrupt(_))),
                "{change}: {opened:?}"
            );
        }
    }
}

#[test]
fn a_record_that_says_that_nothing_is_sealed_opens_nothing() {
    let database = database(Access::Exclusive, true);
    let id = create(&mut database.open(), NOW, None);
    let sql = r#"UPDATE "wasi-sessions keys" SET state = 0, key_check = x''"#;
    database.raw().execute_batch(sql).unwrap();
    assert!(database.try_open(|_| {}).is_err());
    let mut store = database.open_with(with_keys(0, None));
    let found = store.get(NOW, &id);
    assert!(matches!(found, Err(Error::Corrupt(_))), "{found:?}");
}

#[test]
fn a_check_describes_at_most_a_hundred_damages() {
    let database = database(Access::Exclusive, true);
    let mut store = database.open();
    for _ in 0..120 {
        create(&mut store, NOW, None);
    }
    drop(store);
    let raw = database.raw();
    raw.execute_batch(
        "PRAGMA ignore_check_constraints = ON;
         UPDATE Sessions SET rest = x'00', data = zeroblob(60);",
    )
    .unwrap();
    let mut store = database.open();
    assert_eq!(store.check().unwrap().len(), 100);
}

#[test]
fn collection_skips_rows_that_do_not_open() {
    for access in BOTH {
        let database = database(access, true);
        let mut store = database.open();
        let ids: Vec<String> = (0..20).map(|_| create(&mut store, NOW, None)).collect();
        drop(store);
        let sql = "UPDATE Sessions SET data = zeroblob(60) WHERE key = ?1";
        database.raw().execute(sql, [rowid(&ids[3])]).unwrap();
        let sql = "UPDATE Sessions SET version = -1 WHERE key = ?1";
        database.raw().execute(sql, [rowid(&ids[4])]).unwrap();
        let mut store = database.open_with(with_keys(2, Some(1)));
        collect_all(&mut store, 3);
        drop(store);
        let mut store = database.open_with(with_keys(2, None));
        for (number, id) in ids.iter().enumerate() {
            let found = store.get(NOW, id);
            match number {
                3 | 4 => assert!(matches!(found, Err(Error::Corrupt(_))), "{found:?}"),
                _ => assert!(matches!(found, Ok(Some(_))), "{found:?}"),
            }
        }
        assert_eq!(store.check().unwrap().len(), 2);
    }
}
