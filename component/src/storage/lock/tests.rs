//! What becomes of a lock that is held for long, or lost.

use super::*;
use crate::id::Key;
use crate::options::{Access, Options};
use crate::storage::Storage;
use crate::types::{Collected, Session};
use std::cell::Cell;
use std::fs::FileTimes;
use tempfile::TempDir;

const NOW: u64 = 1_000_000;

fn open(sync_timeout: u64) -> (TempDir, Storage) {
    let directory = tempfile::tempdir().unwrap();
    let location = directory.path().join("sessions.db");
    let options = Options {
        access: Access::Shared,
        sync_timeout,
        ..Options::default()
    };
    let storage = Storage::open(location.to_str().unwrap(), &options, NOW).unwrap();
    (directory, storage)
}

fn lock(storage: &Storage) -> &DotLock {
    storage.lock.as_ref().unwrap()
}

fn add(storage: &Storage, place: u8) -> Result<bool, Error> {
    let session = Session {
        data: vec![],
        subject: None,
        version: 1,
        created: NOW,
        updated: NOW,
        expires: NOW + 10,
    };
    storage.rows(|rows| rows.insert(&Key([place; 32]), &session, NOW))
}

fn count(storage: &Storage) -> Result<u64, Error> {
    storage.read(|rows| rows.count(None, NOW))
}

/// Has SQLite do many instructions.
fn work(storage: &Storage) -> Result<i64, Error> {
    storage.ask(
        "WITH RECURSIVE numbers(number) AS
           (SELECT 1 UNION ALL SELECT number + 1 FROM numbers LIMIT 10000)
         SELECT count(*) FROM numbers",
    )
}

/// Makes it look as if the last sign of life were so long ago.
fn let_pass(lock: &DotLock, time: Duration) {
    *lock.certain() -= time;
    make_older(&lock.lock, time);
}

fn make_older(directory: &Path, time: Duration) {
    let earlier = FileTimes::new().set_modified(modified(directory).unwrap() - time);
    File::open(directory).unwrap().set_times(earlier).unwrap();
}

fn names(directory: &TempDir) -> Vec<String> {
    let entries = fs::read_dir(directory.path()).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains(".lock"))
        .collect();
    names.sort();
    names
}

#[test]
fn work_keeps_its_lock_young() {
    let (directory, storage) = open(0);
    let done = storage.transaction(|_| {
        for _ in 0..10 {
            let_pass(lock(&storage), Duration::from_secs(3));
            work(&storage)?;
        }
        let age = SystemTime::now().duration_since(modified(&lock(&storage).lock).unwrap());
        assert!(age.unwrap() < Duration::from_secs(3));
        assert_eq!(names(&directory), ["sessions.db.lock"]);
        add(&storage, 1)
    });
    assert_eq!(done, Ok(true));
    assert_eq!(count(&storage), Ok(1));
    assert!(names(&directory).is_empty());
}

#[test]
fn whoever_was_stopped_for_long_keeps_nothing_and_tries_again() {
    for works_on in [false, true] {
        for patient in [false, true] {
            let (_directory, storage) = open(if patient { 60_000 } else { 0 });
            let tries = Cell::new(0);
            let done = storage.transaction(|_| {
                add(&storage, 1)?;
                tries.set(tries.get() + 1);
                if tries.get() == 1 {
                    let_pass(lock(&storage), Duration::from_secs(8));
                }
                if works_on {
                    work(&storage)?;
                }
                Ok(())
            });
            let expected = if patient { Ok(()) } else { Err(Error::Busy) };
            assert_eq!((done, count(&storage)), (expected, Ok(patient.into())));
        }
    }
}

#[test]
fn work_that_finds_its_lock_gone_stops() {
    let (_directory, storage) = open(0);
    let done = storage.transaction(|_| {
        add(&storage, 1)?;
        *lock(&storage).certain() -= Duration::from_secs(3);
        fs::remove_dir(&lock(&storage).lock).unwrap();
        let worked = work(&storage);
        assert_eq!(worked, Err(Error::Busy));
        worked
    });
    assert_eq!(done, Err(Error::Busy));
    assert_eq!(count(&storage), Ok(0));
}

/// A connection whose lock was removed in the middle of a transaction.
fn deceived() -> (TempDir, Storage) {
    let (directory, storage) = open(0);
    let lose = |_: crate::storage::Rows| {
        fs::remove_dir(&lock(&storage).lock).unwrap();
        add(&storage, 1)
    };
    assert_eq!(storage.transaction(lose), Ok(true));
    assert!(believes_to_hold(storage.connection()));
    (directory, storage)
}

#[test]
fn a_connection_that_lost_its_lock_respects_those_of_others() {
    let (directory, storage) = deceived();
    let other = &lock(&storage).lock;
    fs::create_dir(other).unwrap();
    assert_eq!(count(&storage), Err(Error::Busy));
    assert_eq!(storage.transaction(|_| add(&storage, 2)), Err(Error::Busy));
    assert_eq!(storage.collect_at_once(1, NOW), Err(Error::Busy));
    assert_eq!(storage.check(), Err(Error::Busy));
    assert_eq!(names(&directory), ["sessions.db.lock"]);

    fs::remove_dir(other).unwrap();
    assert_eq!(storage.transaction(|_| add(&storage, 2)), Ok(true));
    assert!(!believes_to_hold(storage.connection()));
    assert!(names(&directory).is_empty());
    assert_eq!(count(&storage), Ok(2));
}

#[test]
fn a_connection_that_lost_its_lock_removes_none_when_it_is_closed() {
    let (directory, storage) = deceived();
    let other = lock(&storage).lock.clone();
    fs::create_dir(&other).unwrap();
    drop(storage);
    assert_eq!(names(&directory), ["sessions.db.lock"]);

    let (directory, storage) = deceived();
    drop(storage);
    assert!(names(&directory).is_empty());
}

#[test]
fn a_collection_at_once_neither_waits_nor_repairs() {
    let (directory, storage) = open(60_000);
    let other = &lock(&storage).lock;
    fs::create_dir(other).unwrap();
    make_older(other, Duration::from_secs(16));
    assert_eq!(storage.collect_at_once(1, NOW), Err(Error::Busy));
    assert_eq!(names(&directory), ["sessions.db.lock"]);
    // Its owner was killed in the middle of a sign of life.
    File::create(&lock(&storage).sign).unwrap();
    make_older(other, Duration::from_secs(16));
    let nothing = Collected {
        removed: 0,
        more: false,
    };
    assert_eq!(storage.collect(1, NOW), Ok(nothing));
    assert!(names(&directory).is_empty());
}

#[test]
fn where_no_lock_can_be_made_nobody_waits_for_one() {
    let (directory, storage) = open(3_600_000);
    let permissions = fs::metadata(directory.path()).unwrap().permissions();
    let mut read_only = permissions.clone();
    read_only.set_readonly(true);
    fs::set_permissions(directory.path(), read_only).unwrap();
    // For a superuser there is no such directory.
    if File::create(directory.path().join("file")).is_err() {
        let refused = count(&storage);
        assert!(matches!(refused, Err(Error::Other(words)) if words.contains(".lock` cannot be")));
    }
    fs::set_permissions(directory.path(), permissions).unwrap();
    assert_eq!(count(&storage), Ok(0));
}
