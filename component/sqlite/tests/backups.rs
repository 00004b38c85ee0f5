//! Backups are complete, and do not change any other file.

use crate::engine::{Access, Engine, Error, Store};
use crate::fixture::{BOTH, Database, NOW, create, is_live, started};
use std::fs;

/// The names in the database's directory.
fn names(database: &Database) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(database.file(""))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_backup_is_a_sound_database_with_all_sessions() {
    for access in BOTH {
        let database = Database::new(access);
        let mut store = database.open();
        let id = create(&mut store, NOW, Some("alice"));
        let ended = create(&mut store, NOW, None);
        store.destroy(NOW, &ended).unwrap();
        let location = database.file("copy.db");
        let before = names(&database);
        store.backup(&location).unwrap();
        let mut after = names(&database);
        after.retain(|name| name != "copy.db");
        assert_eq!(after, before);
        store.set(NOW, &id, b"later", None).unwrap();

        for copys_access in BOTH {
            let mut options = database.options.clone();
            options.access = copys_access;
            let mut copy = Store::open(&location, options, NOW).unwrap();
            let session = copy.get(NOW, &id).unwrap();
            assert_eq!(session, Some(started("{}", Some("alice"), NOW)));
            assert!(!is_live(&mut copy, NOW, &ended));
            assert_eq!(copy.stats(u64::MAX).unwrap().expired, 2);
            assert_eq!(copy.check(), Ok(vec![]));
        }
    }
}

#[test]
fn a_backup_refuses_an_existing_file_and_does_not_change_it() {
    let database = Database::new(Access::Exclusive);
    let mut store = database.open();
    fs::write(database.file("there"), "precious").unwrap();
    let before = names(&database);
    for name in ["there", "", "."] {
        let answer = store.backup(&database.file(name));
        assert!(matches!(answer, Err(Error::InvalidArgument(_))), "{name}");
    }
    assert_eq!(fs::read(database.file("there")).unwrap(), b"precious");
    let missing = store.backup(&database.file("no-directory/copy"));
    assert!(missing.is_err());
    assert_eq!(names(&database), before);
}

#[cfg(unix)]
#[test]
fn a_backup_refuses_a_dangling_link() {
    let database = Database::new(Access::Exclusive);
    let mut store = database.open();
    let link = database.file("link");
    std::os::unix::fs::symlink("nowhere", &link).unwrap();
    let answer = store.backup(&link);
    assert!(matches!(answer, Err(Error::InvalidArgument(_))));
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
}

#[test]
fn a_backup_refuses_the_databases_own_names_however_they_are_spelled() {
    for access in BOTH {
        let database = Database::new(access);
        let mut store = database.open();
        let before = names(&database);
        fs::create_dir(database.file("folder")).unwrap();
        for suffix in [
            "",
            "-wal",
            "-journal",
            "-shm",
            "-reserve",
            ".lock",
            ".lock-0123456789abcdef",
        ] {
            for directory in ["", "./", "/", "folder/../"] {
                let name = format!("{directory}sessions.db{suffix}");
                let location = format!("{}/{name}", database.file(""));
                let answer = store.backup(&location);
                assert!(matches!(answer, Err(Error::InvalidArgument(_))), "{name}");
            }
        }
        fs::remove_dir(database.file("folder")).unwrap();
        assert_eq!(names(&database), before);
    }
}

#[cfg(unix)]
#[test]
fn a_backup_refuses_the_databases_own_names_behind_a_link() {
    let database = Database::new(Access::Shared);
    let mut store = database.open();
    let link = database.file("link");
    std::os::unix::fs::symlink(database.file(""), &link).unwrap();
    let answer = store.backup(&format!("{link}/sessions.db.lock"));
    assert!(matches!(answer, Err(Error::InvalidArgument(_))));
    create(&mut store, NOW, None);
}

#[test]
fn a_backup_refuses_parent_directories() {
    let database = Database::new(Access::Exclusive);
    let mut store = database.open();
    fs::create_dir(database.file("folder")).unwrap();
    for name in ["folder/../copy", "..", "folder/.."] {
        let answer = store.backup(&database.file(name));
        assert!(matches!(answer, Err(Error::InvalidArgument(_))), "{name}");
    }
    // A name may contain dots, and the database's name is allowed in another directory.
    store.backup(&database.file("folder/..copy")).unwrap();
    store.backup(&database.file("folder/sessions.db")).unwrap();
}

#[test]
fn a_backup_neither_removes_nor_overwrites_other_files() {
    for name in ["copy.partial", "copy.partial-journal", "copy.partial.lock"] {
        let database = Database::new(Access::Exclusive);
        let mut store = database.open();
        fs::write(database.file(name), "precious").unwrap();
        store.backup(&database.file("copy")).unwrap();
        assert_eq!(fs::read(database.file(name)).unwrap(), b"precious");
    }
}

#[test]
fn a_backup_that_fails_leaves_nothing_behind() {
    for access in BOTH {
        let database = Database::new(access);
        let mut store = database.open();
        for _ in 0..100 {
            store.create(NOW, &[b'x'; 2000], None, None).unwrap();
        }
        drop(store);
        database.damage_a_page();

        let mut store = database.open();
        let before = names(&database);
        let answer = store.backup(&database.file("copy"));
        assert!(matches!(answer, Err(Error::Corrupt(_))), "{answer:?}");
        assert_eq!(names(&database), before);
    }
}

/// A copy, in another directory, of the files that a crash would leave.
fn crashed(database: &Database, access: Access) -> Database {
    let left = Database::new(access);
    for suffix in ["", "-wal", "-journal"] {
        let name = format!("sessions.db{suffix}");
        if fs::exists(database.file(&name)).unwrap() {
            fs::copy(database.file(&name), left.file(&name)).unwrap();
        }
    }
    left
}

#[test]
fn a_copy_that_replaces_a_crashed_database_is_opened_as_the_copy() {
    for access in BOTH {
        let database = Database::new(Access::Exclusive);
        let mut store = database.open();
        let old = create(&mut store, NOW, None);
        let copy = database.file("copy.db");
        store.backup(&copy).unwrap();
        let new: Vec<_> = (0..50).map(|_| create(&mut store, NOW, None)).collect();
        store.destroy(NOW, &old).unwrap();

        let left = crashed(&database, access);
        assert!(fs::metadata(left.file("sessions.db-wal")).unwrap().len() > 0);
        fs::copy(&copy, left.file("sessions.db")).unwrap();
        // Afterwards the copy is an ordinary database.
        for _ in 0..2 {
            let mut store = left.open();
            assert!(is_live(&mut store, NOW, &old));
            assert!(!new.iter().any(|id| is_live(&mut store, NOW, id)));
            assert_eq!(store.check(), Ok(vec![]));
            let id = create(&mut store, NOW, None);
            let again = crashed(&left, access);
            assert!(is_live(&mut again.open(), NOW, &id));
        }
    }
}

#[test]
fn a_copy_that_replaces_a_database_in_mid_transaction_is_opened_as_the_copy() {
    for access in BOTH {
        let database = Database::new(Access::Shared);
        let mut store = database.open();
        let id = create(&mut store, NOW, None);
        store.backup(&database.file("copy.db")).unwrap();
        for _ in 0..100 {
            store.create(NOW, &[0; 2000], None, None).unwrap();
        }
        let writer = database.raw();
        writer
            .execute_batch(
                "PRAGMA cache_size = 1; BEGIN IMMEDIATE;
                 UPDATE Sessions SET data = zeroblob(2001), version = 99;",
            )
            .unwrap();
        let left = crashed(&database, access);
        assert!(
            fs::metadata(left.file("sessions.db-journal"))
                .unwrap()
                .len()
                > 0
        );
        fs::copy(database.file("copy.db"), left.file("sessions.db")).unwrap();
        let mut store = left.open();
        assert_eq!(store.get(NOW, &id), Ok(Some(started("{}", None, NOW))));
        assert_eq!(store.count_sessions(NOW, None), Ok(1));
        assert_eq!(store.check(), Ok(vec![]));
    }
}

#[test]
fn a_copy_is_marked_until_it_is_opened() {
    let database = Database::new(Access::Exclusive);
    let copy = database.file("copy.db");
    database.open().backup(&copy).unwrap();
    let mark = |copy: &str| fs::read(copy).unwrap()[68..72].to_owned();
    assert_eq!(mark(&copy), b"WSbk");
    Store::open(&copy, database.options.clone(), NOW).unwrap();
    assert_eq!(mark(&copy), [0; 4]);
}
