//! Opening a database after a crash, and with another kind of access.

use crate::engine::{Access, Durability, Engine, Options};
use crate::fixture::{BOTH, Database, NOW, create, handle, is_live};
use rusqlite::{Connection, OpenFlags};
use std::fs;
use std::sync::Barrier;
use std::thread;

/// Another database with copies of the present files of `database`, which is what a crash
/// would leave behind.
fn crashed(database: &Database, access: Access, change: impl FnOnce(&mut Options)) -> Database {
    let copy = Database::with(access, change);
    for suffix in ["", "-wal", "-journal"] {
        let name = format!("sessions.db{suffix}");
        if fs::exists(database.file(&name)).unwrap() {
            fs::copy(database.file(&name), copy.file(&name)).unwrap();
        }
    }
    copy
}

#[test]
fn a_database_can_change_between_the_kinds_of_access_and_durability() {
    let database = Database::new(Access::Exclusive);
    let mut ids = vec![];
    for (access, durability) in [
        (Access::Exclusive, Durability::Full),
        (Access::Shared, Durability::Full),
        (Access::Exclusive, Durability::Relaxed),
        (Access::Shared, Durability::Relaxed),
        (Access::Exclusive, Durability::Full),
    ] {
        let mut store = database.open_with(|options| {
            options.access = access;
            options.durability = durability;
        });
        ids.push(create(&mut store, NOW, Some("alice")));
        for id in &ids {
            assert!(is_live(&mut store, NOW, id));
        }
        assert_eq!(store.check(), Ok(vec![]));
        drop(store);
        let left = ["-wal", "-shm", ".lock"].map(|suffix| format!("sessions.db{suffix}"));
        assert!(
            left.iter()
                .all(|name| !fs::exists(database.file(name)).unwrap())
        );
    }
}

#[test]
fn after_a_crash_of_an_exclusive_store_every_answered_write_is_kept() {
    let database = Database::new(Access::Exclusive);
    let mut store = database.open();
    let ids: Vec<String> = (0..50).map(|_| create(&mut store, NOW, None)).collect();
    store.destroy(NOW, &ids[7]).unwrap();
    assert!(
        fs::metadata(database.file("sessions.db-wal"))
            .unwrap()
            .len()
            > 0
    );
    for accesses in [BOTH, [Access::Shared, Access::Exclusive]] {
        let left = crashed(&database, Access::Shared, |_| {});
        for access in accesses {
            let mut store = left.open_with(|options| options.access = access);
            assert_eq!(store.count_sessions(NOW, None), Ok(49));
            assert!(!is_live(&mut store, NOW, &ids[7]));
            assert_eq!(store.check(), Ok(vec![]));
        }
    }
}

#[test]
fn many_shared_stores_can_open_what_a_crashed_exclusive_one_left() {
    let database = Database::new(Access::Exclusive);
    let mut store = database.open();
    let id = create(&mut store, NOW, None);
    for _ in 0..10 {
        let left = crashed(&database, Access::Shared, |all| all.sync_timeout = 600_000);
        let (opening, open) = (Barrier::new(6), Barrier::new(6));
        let take_over = || {
            opening.wait();
            let mut store = left.open();
            // All six are open at the same time, so none may keep the lock.
            open.wait();
            assert!(is_live(&mut store, NOW, &id));
            create(&mut store, NOW, None);
        };
        thread::scope(|scope| (0..6).for_each(|_| drop(scope.spawn(take_over))));
        assert_eq!(left.open().count_sessions(NOW, None), Ok(7));
    }
}

#[test]
fn a_truncated_wal_loses_whole_transactions_from_its_end() {
    let database = Database::new(Access::Exclusive);
    let mut store = database.open();
    let id = create(&mut store, NOW, None);
    for subject in 1..=20 {
        store.rotate(NOW, &id, Some(&subject.to_string())).unwrap();
        create(&mut store, NOW, None);
    }
    let whole = fs::metadata(database.file("sessions.db-wal"))
        .unwrap()
        .len();
    let mut counts = vec![];
    for part in 1..=10 {
        let left = crashed(&database, Access::Exclusive, |_| {});
        let wal = fs::File::options()
            .write(true)
            .open(left.file("sessions.db-wal"));
        wal.unwrap().set_len(whole * part / 10 - 1).unwrap();
        let mut store = left.open();
        assert_eq!(store.check(), Ok(vec![]));
        counts.push(store.count_sessions(NOW, None).unwrap());
    }
    assert!(counts.is_sorted(), "{counts:?}");
    assert!(counts[9] >= 20, "{counts:?}");
}

#[test]
fn a_partial_transaction_of_a_killed_shared_store_is_rolled_back() {
    let database = Database::new(Access::Shared);
    let mut store = database.open();
    let ids: Vec<String> = (0..200)
        .map(|_| store.create(NOW, &[b'x'; 500], None, None).unwrap().id)
        .collect();
    let writer = Connection::open_with_flags_and_vfs(
        database.file("sessions.db"),
        OpenFlags::SQLITE_OPEN_READ_WRITE,
        "unix-dotfile",
    );
    // With a cache of one page, the other pages are written before the commit.
    let writer = writer.unwrap();
    writer
        .execute_batch(
            "PRAGMA cache_size = 1; BEGIN IMMEDIATE;
             UPDATE Sessions SET data = zeroblob(500), version = 99;",
        )
        .unwrap();
    let before = fs::read(database.file("sessions.db")).unwrap();
    assert!(
        before
            .windows(400)
            .any(|bytes| bytes.iter().all(|&byte| byte == 0))
    );

    for access in BOTH {
        let left = crashed(&database, access, |_| {});
        let mut store = left.open();
        for id in &ids {
            let session = store.get(NOW, id).unwrap().unwrap();
            assert_eq!((session.version, session.data), (1, vec![b'x'; 500]));
        }
        assert_eq!(store.check(), Ok(vec![]));
        assert!(store.terminate(NOW, &handle(&ids[0])).unwrap());
    }
}
