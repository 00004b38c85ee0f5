//! Tests of the storage's internals: hash collisions, a full disk, and the content of the
//! files at any moment.

use super::{Room, Rows, Storage};
use crate::operations::Operations;
use rusqlite::Connection;
use std::fs;
use tempfile::TempDir;
use wasi_sessions_rules::error::Error;
use wasi_sessions_rules::id::IdHash;
use wasi_sessions_rules::options::{Access, Durability, Options};
use wasi_sessions_rules::row::Stored;
use wasi_sessions_rules::rules::Rules;
use wasi_sessions_rules::types::{Outcome, Session, Timestamp};

const NOW: Timestamp = 1_000_000;

fn open(access: Access) -> (TempDir, Storage) {
    let directory = tempfile::tempdir().unwrap();
    let location = directory.path().join("sessions.db");
    let options = Options {
        access,
        ..Options::default()
    };
    let storage = Storage::open(location.to_str().unwrap(), &options, NOW).unwrap();
    (directory, storage)
}

fn session(data: &[u8]) -> Session {
    Session {
        data: data.into(),
        subject: Some("alice".into()),
        version: 1,
        created: NOW,
        updated: NOW,
        expires: NOW + 10,
    }
}

/// Another hash with the same head: a collision.
fn colliding(hash: &IdHash) -> IdHash {
    let mut other = *hash;
    other.0[31] ^= 1;
    other
}

fn live(rows: Rows, hash: &IdHash, now: Timestamp) -> Option<Session> {
    match rows.find(hash, now).unwrap() {
        Some(Stored::Live(session)) => Some(session),
        _ => None,
    }
}

#[test]
fn the_second_of_two_colliding_hashes_is_not_inserted() {
    for extreme in [[0; 32], [0x7f; 32], [0xff; 32], IdHash::of("x").unwrap().0] {
        let (_directory, storage) = open(Access::Exclusive);
        let (first, second) = (IdHash(extreme), colliding(&IdHash(extreme)));
        storage.rows(|rows| {
            assert_eq!(rows.insert(&first, &session(b"1"), NOW), Ok(true));
            assert_eq!(rows.insert(&second, &session(b"2"), NOW), Ok(false));
            assert_eq!(live(rows, &first, NOW), Some(session(b"1")));
            assert_eq!(live(rows, &second, NOW), None);
            // A tombstone collides too.
            rows.end(&first, NOW + 5).unwrap();
            assert_eq!(rows.insert(&second, &session(b"2"), NOW), Ok(false));
            assert!(rows.find(&second, NOW).unwrap().is_none());
            // An expired row is replaced.
            assert_eq!(rows.insert(&second, &session(b"2"), NOW + 5), Ok(true));
            assert_eq!(live(rows, &second, NOW + 5), Some(session(b"2")));
            assert!(rows.find(&first, NOW + 5).unwrap().is_none());
        });
    }
}

#[test]
fn an_exception_with_a_colliding_hash_spares_no_other_session() {
    let (_directory, storage) = open(Access::Exclusive);
    storage.rows(|rows| {
        let hash = IdHash([0; 32]);
        rows.insert(&hash, &session(b""), NOW).unwrap();
        let ended = rows.end_subject("alice", Some(&colliding(&hash)), NOW, NOW + 1);
        assert_eq!(ended, Ok(1));
    });
}

#[test]
fn an_id_that_collides_is_absent_and_cannot_be_created() {
    let (_directory, storage) = open(Access::Exclusive);
    let options = Options::default();
    let other = colliding(&IdHash::of("mine").unwrap());
    storage.rows(|rows| {
        rows.insert(&other, &session(b"other"), NOW).unwrap();
        let rules = Rules {
            options: &options,
            now: NOW,
        };
        let operations = Operations { rows, rules };
        assert_eq!(operations.get("mine"), Ok(None));
        assert_eq!(operations.touch("mine", None), Ok(None));
        assert_eq!(operations.rotate("mine", None), Ok(None));
        assert_eq!(operations.destroy("mine"), Ok(false));
        assert_eq!(
            operations.update("mine", b"", None, None),
            Ok(Outcome::Gone)
        );
        let set = operations.set("mine", b"", None);
        assert!(matches!(set, Err(Error::InvalidArgument(_))));
        let started = operations.update("mine", b"", None, Some(0));
        assert!(matches!(started, Err(Error::InvalidArgument(_))));
        assert_eq!(live(rows, &other, NOW), Some(session(b"other")));
    });
}

#[test]
fn pages_go_from_the_first_hash_to_the_last() {
    let (_directory, storage) = open(Access::Exclusive);
    storage.rows(|rows| {
        // The heads are signed numbers, so 0x80… comes first and 0x7f… last.
        let order = [0x80, 0xff, 0x00, 0x7f].map(|first| IdHash([first; 32]));
        for hash in &order {
            rows.insert(hash, &session(b""), NOW).unwrap();
        }
        let mut cursor = None;
        for hash in &order {
            let page = rows.list(None, cursor.as_ref(), 1, NOW).unwrap();
            assert_eq!(page.entries[0].handle, hash.handle());
            assert_eq!(page.next.is_none(), page.entries[0].handle.starts_with('7'));
            cursor = Some(*hash);
        }
        let behind = rows.list(None, Some(&IdHash([0x7f; 32])), 1, NOW).unwrap();
        assert!(behind.entries.is_empty());
        let last_page = rows.list(None, Some(&last()), 1, NOW).unwrap();
        assert_eq!((last_page.entries.len(), last_page.next), (0, None));
    });
}

/// A hash with the largest head.
fn last() -> IdHash {
    let mut hash = IdHash([0xff; 32]);
    hash.0[0] = 0x7f;
    hash
}

#[test]
fn a_transaction_without_space_is_rolled_back_and_others_succeed() {
    for access in [Access::Exclusive, Access::Shared] {
        let (_directory, storage) = open(access);
        let hashes: Vec<IdHash> = (0..40).map(|n| IdHash([n; 32])).collect();
        storage
            .transaction(Room::Growing, |rows| {
                rows.insert(&hashes[0], &session(b"kept"), NOW)
            })
            .unwrap();
        let most: i64 = storage.ask("PRAGMA max_page_count = 20").unwrap();
        assert_eq!(most, 20);
        let filled = storage.transaction(Room::Growing, |rows| {
            for hash in &hashes[1..] {
                rows.insert(hash, &session(&[0; 4000]), NOW)?;
            }
            Ok(())
        });
        assert_eq!(filled, Err(Error::StorageFull));
        assert_eq!(storage.read(|rows| rows.count(None, NOW)), Ok(1));
        // Ending and collecting sessions needs no free space.
        assert_eq!(
            storage.transaction(Room::Growing, |rows| rows.end_all(NOW, NOW + 1)),
            Ok(1)
        );
        assert_eq!(storage.collect(10, NOW + 1).map(|done| done.removed), Ok(1));
        assert_eq!(storage.check(), Ok(vec![]));
    }
}

/// A copy of the present files, which is what a killed process leaves.
fn killed(storage: &Storage) -> (TempDir, Storage) {
    let options = Options {
        access: Access::Exclusive,
        ..Options::default()
    };
    let directory = tempfile::tempdir().unwrap();
    let location = directory.path().join("sessions.db");
    for file in ["", "-wal"] {
        let of = |location: &str| format!("{location}{file}");
        fs::copy(of(&storage.location), of(location.to_str().unwrap())).unwrap();
    }
    let storage = Storage::open(location.to_str().unwrap(), &options, NOW).unwrap();
    (directory, storage)
}

#[test]
fn what_was_committed_is_in_the_files_with_either_durability() {
    for durability in [Durability::Full, Durability::Relaxed] {
        let options = Options {
            access: Access::Exclusive,
            durability,
            ..Options::default()
        };
        let directory = tempfile::tempdir().unwrap();
        let location = directory.path().join("sessions.db");
        let storage = Storage::open(location.to_str().unwrap(), &options, NOW).unwrap();
        // One page, and more pages than the buffer holds.
        for (first, count) in [(0, 1), (1, 100)] {
            let insert = |rows: Rows| {
                for number in first..first + count {
                    rows.insert(&IdHash([number; 32]), &session(&[number; 3000]), NOW)?;
                }
                Ok(())
            };
            storage.transaction(Room::Growing, insert).unwrap();
            let (_directory, left) = killed(&storage);
            let last = first + count - 1;
            assert_eq!(
                left.read(|rows| Ok(live(rows, &IdHash([last; 32]), NOW))),
                Ok(Some(session(&[last; 3000])))
            );
            assert_eq!(
                left.read(|rows| rows.count(None, NOW)),
                Ok(u64::from(last) + 1)
            );
            assert_eq!(left.check(), Ok(vec![]));
        }
    }
}

#[test]
fn a_transaction_larger_than_sqlites_memory_reads_what_it_wrote_and_can_be_rolled_back() {
    let (_directory, storage) = open(Access::Exclusive);
    let insert_all = |rows: Rows| {
        for number in 0..100 {
            rows.insert(&IdHash([number; 32]), &session(&[number; 300_000]), NOW)?;
        }
        for number in 0..100 {
            let found = live(rows, &IdHash([number; 32]), NOW);
            assert!(found == Some(session(&[number; 300_000])));
        }
        Ok(())
    };
    let undone = storage.transaction(Room::Growing, |rows| {
        insert_all(rows)?;
        Err::<(), _>(Error::StorageFull)
    });
    assert_eq!(undone, Err(Error::StorageFull));
    assert_eq!(storage.read(|rows| rows.count(None, NOW)), Ok(0));
    let (_directory, left) = killed(&storage);
    assert_eq!(left.read(|rows| rows.count(None, NOW)), Ok(0));

    storage.transaction(Room::Growing, insert_all).unwrap();
    let (_directory, left) = killed(&storage);
    for storage in [storage, left] {
        assert_eq!(storage.read(|rows| rows.count(None, NOW)), Ok(100));
        assert_eq!(storage.check(), Ok(vec![]));
    }
}

/// A database with two rows per page, of which one expires at `NOW + 10`, so that a collection
/// writes each page.
fn half_expired() -> (TempDir, Storage) {
    let (directory, storage) = open(Access::Exclusive);
    let insert_all = |rows: Rows| {
        for number in 0..400_u16 {
            let mut hash = IdHash([0; 32]);
            hash.0[..2].copy_from_slice(&number.to_be_bytes());
            let mut session = session(&[0; 1500]);
            session.expires += u64::from(number % 2);
            rows.insert(&hash, &session, NOW)?;
        }
        Ok(())
    };
    storage.transaction(Room::Growing, insert_all).unwrap();
    storage.checkpoint().unwrap();
    assert_eq!(storage.wal_pages(), Ok(0));
    (directory, storage)
}

fn wal_length(storage: &Storage) -> u64 {
    let wal = fs::metadata(format!("{}-wal", storage.location));
    wal.unwrap().len()
}

#[test]
fn a_long_wal_is_checkpointed_by_a_separate_step() {
    for (limit, expected) in [
        (170, vec![(170, true), (0, true), (30, false)]),
        (200, vec![(200, true), (0, true), (0, false)]),
    ] {
        let (_directory, storage) = half_expired();
        let mut steps = vec![];
        while steps.last().is_none_or(|(_, more)| *more) {
            let collected = storage.collect(limit, NOW + 10).unwrap();
            let waits = storage.wal_pages().unwrap();
            assert!(!(collected.removed == 0 && collected.more) || waits == 0);
            assert!(steps.len() < 20, "{steps:?}");
            steps.push((collected.removed, collected.more));
        }
        assert_eq!(steps, expected);
        assert_eq!(wal_length(&storage), 0);
        assert_eq!(storage.check(), Ok(vec![]));
    }
}

#[test]
fn the_last_collection_step_after_a_request_truncates_the_wal() {
    for limit in [170, 200] {
        let (_directory, storage) = half_expired();
        while storage
            .collect_without_waiting(limit, NOW + 10)
            .unwrap()
            .more
        {}
        assert_eq!(wal_length(&storage), 0);
        assert_eq!(storage.read(|rows| rows.count(None, NOW + 10)), Ok(200));
    }
}

#[test]
fn a_commit_that_rewrites_its_own_pages_is_in_the_files_too() {
    // With large pages, a transaction can be larger than SQLite's cache and still shorter
    // than the WAL at which SQLite checkpoints, and syncs, automatically.
    let directory = tempfile::tempdir().unwrap();
    let location = directory.path().join("sessions.db");
    let other = Connection::open(&location).unwrap();
    other
        .execute_batch("PRAGMA page_size = 65536; CREATE TABLE other (x)")
        .unwrap();
    drop(other);
    let options = Options {
        access: Access::Exclusive,
        durability: Durability::Relaxed,
        ..Options::default()
    };
    let storage = Storage::open(location.to_str().unwrap(), &options, NOW).unwrap();
    storage.checkpoint().unwrap();
    let insert = |rows: Rows, number: u16| {
        // The rows are far apart, so that pages are written more than once.
        let mut hash = IdHash([9; 32]);
        hash.0[..2].copy_from_slice(&number.wrapping_mul(40503).to_be_bytes());
        rows.insert(&hash, &session(&[0; 30_000]), NOW)
    };
    storage
        .transaction(Room::Growing, |rows| insert(rows, 0))
        .unwrap();
    storage
        .transaction(Room::Growing, |rows| {
            (1..900).try_for_each(|number| insert(rows, number).map(drop))
        })
        .unwrap();
    let (_directory, left) = killed(&storage);
    assert_eq!(left.read(|rows| rows.count(None, NOW)), Ok(900));
    assert_eq!(left.check(), Ok(vec![]));
}
