//! Tests of locks that are held for long, lost, or left behind.

mod stopped;

use super::*;
use crate::storage::{Room, Storage, faults};
use std::cell::RefCell;
use std::fs::{self, FileTimes};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use tempfile::TempDir;
use wasi_sessions_rules::id::IdHash;
use wasi_sessions_rules::options::{Access, Options};
use wasi_sessions_rules::row::Stored;
use wasi_sessions_rules::types::{Collected, Session};

const NOW: u64 = 1_000_000;

const STOPPED: Duration = Duration::from_secs(16);

fn open(sync_timeout: u64) -> (TempDir, Storage) {
    let directory = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
    let directory = directory.unwrap();
    let storage = open_in(&directory, sync_timeout);
    (directory, storage)
}

fn open_in(directory: &TempDir, sync_timeout: u64) -> Storage {
    let location = directory.path().join("sessions.db");
    let options = Options {
        access: Access::Shared,
        sync_timeout,
        ..Options::default()
    };
    Storage::open(location.to_str().unwrap(), &options, NOW).unwrap()
}

fn lock(storage: &Storage) -> Arc<Lock> {
    storage.lock.clone().unwrap()
}

fn session(data: &[u8]) -> Session {
    Session {
        data: data.into(),
        subject: None,
        version: 1,
        created: NOW,
        updated: NOW,
        expires: NOW + 10,
    }
}

fn add(storage: &Storage, place: u8) -> Result<bool, Error> {
    storage.rows(|rows| rows.insert(&IdHash([place; 32]), &session(b""), NOW))
}

fn count(storage: &Storage) -> Result<u64, Error> {
    storage.read(|rows| rows.count(None, NOW))
}

#[test]
fn opening_a_database_with_the_table_reads_the_header_and_two_pages_once() {
    let (directory, storage) = open(0);
    drop(storage);
    faults::set(faults::Fault::Read, 3, 1);
    drop(open_in(&directory, 0));
    assert!(!faults::end(), "a fourth read");
}

/// Has SQLite execute many instructions.
fn work(storage: &Storage) -> Result<i64, Error> {
    storage.ask(
        "WITH RECURSIVE numbers(number) AS
           (SELECT 1 UNION ALL SELECT number + 1 FROM numbers LIMIT 10000)
         SELECT count(*) FROM numbers",
    )
}

/// Takes the lock and keeps it until [`end`].
fn begin(storage: &Storage) -> Result<(), Error> {
    let begun = storage.attempt(&mut || storage.statements(|it| it.begin_writing.change([])));
    begun.map(drop)
}

fn end(storage: &Storage) {
    let end = || storage.statements(|statements| statements.commit.change([]));
    end().unwrap();
    storage.conclude(Ok(())).unwrap();
}

/// Simulates that the owner was stopped for `time`.
fn let_pass(lock: &Lock, time: Duration) {
    let mut state = lock.state();
    if let Some(held) = &mut state.held {
        held.renewed.monotonic -= time;
        make_older(&held.token, time);
    }
}

fn modified(path: &Path) -> SystemTime {
    fs::metadata(path).unwrap().modified().unwrap()
}

fn make_older(path: &Path, time: Duration) {
    let earlier = FileTimes::new().set_modified(modified(path) - time);
    fs::File::open(path).unwrap().set_times(earlier).unwrap();
    // The directory of a lock is at least as old as its token.
    let parent = path.parent().unwrap();
    if parent
        .extension()
        .is_some_and(|extension| extension == "lock")
    {
        make_older(parent, time);
    }
}

/// Creates the lock of another owner.
fn make_lock(lock: &Lock, age: Duration) -> PathBuf {
    let token = lock.lease.directory.join("another");
    fs::create_dir(&lock.lease.directory).unwrap();
    fs::write(&token, "1").unwrap();
    make_older(&token, age);
    token
}

fn names(directory: &TempDir) -> Vec<String> {
    let mut names: Vec<String> = lease::entries(directory.path())
        .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
        .filter(|name| name.contains(".lock"))
        .collect();
    names.sort();
    names
}

#[test]
fn work_renews_its_lock() {
    let (directory, storage) = open(0);
    let done = storage.transaction(Room::Growing, |_| {
        let mut before = SystemTime::now();
        for _ in 0..10 {
            before = SystemTime::now();
            let_pass(&lock(&storage), Duration::from_secs(3));
            work(&storage)?;
        }
        let token = lease::entries(&lock(&storage).lease.directory)
            .next()
            .unwrap();
        // The clock of a file system is a little behind.
        assert!(modified(&token) > before - Duration::from_secs(1));
        assert_eq!(names(&directory), ["sessions.db.lock"]);
        add(&storage, 1)
    });
    assert_eq!(done, Ok(true));
    assert_eq!(count(&storage), Ok(1));
    assert!(names(&directory).is_empty());
}

#[test]
fn an_owner_that_was_stopped_for_long_goes_on_if_its_lock_is_still_its_own() {
    for works_on in [false, true] {
        let (directory, storage) = open(0);
        let done = storage.transaction(Room::Growing, |_| {
            add(&storage, 1)?;
            let_pass(&lock(&storage), Duration::from_secs(20));
            match works_on {
                true => work(&storage).map(drop),
                false => Ok(()),
            }
        });
        assert_eq!((done, count(&storage)), (Ok(()), Ok(1)));
        assert!(names(&directory).is_empty());
    }
}

#[test]
fn work_stops_when_its_lock_is_gone() {
    let (_directory, storage) = open(0);
    let done = storage.transaction(Room::Growing, |_| {
        add(&storage, 1)?;
        let lock = lock(&storage);
        lock.state().held.as_mut().unwrap().renewed.monotonic -= Duration::from_secs(3);
        lease::remove(&lock.lease.directory);
        let worked = work(&storage);
        assert_eq!(worked, Err(Error::Busy));
        worked
    });
    assert_eq!(done, Err(Error::Busy));
    assert_eq!(count(&storage), Ok(0));
}

/// Has another owner take the lock over while the first one is stopped, and then ends the
/// first owner's work with `ends`.
fn while_stopped(ends: impl FnOnce(Storage, &dyn Fn())) {
    let (directory, first) = open(0);
    let (next, third) = (open_in(&directory, 0), open_in(&directory, 0));
    let first_lock = lock(&first);
    let take_over = || {
        let_pass(&first_lock, STOPPED);
        assert_eq!(begin(&next), Ok(()));
    };
    ends(first, &take_over);
    assert_eq!(count(&third), Err(Error::Busy));
    assert_eq!(
        third.transaction(Room::Growing, |_| add(&third, 3)),
        Err(Error::Busy)
    );
    add(&next, 2).unwrap();
    end(&next);
    assert_eq!(
        third.transaction(Room::Growing, |_| add(&third, 3)),
        Ok(true)
    );
    assert_eq!(count(&next), Ok(2));
    assert_eq!(next.check(), Ok(vec![]));
    assert!(names(&directory).is_empty());
}

#[test]
fn the_rollback_of_an_owner_that_lost_its_lock_does_not_remove_the_next_lock() {
    while_stopped(|storage, take_over| {
        let done = storage.transaction(Room::Growing, |_| {
            add(&storage, 1)?;
            take_over();
            Ok(())
        });
        assert_eq!(done, Err(Error::Busy));
        assert_eq!(count(&storage), Err(Error::Busy));
    });
}

#[test]
fn the_end_of_a_read_of_an_owner_that_lost_its_lock_does_not_remove_the_next_lock() {
    while_stopped(|storage, take_over| {
        let read = storage.snapshot(|rows| {
            let count = rows.count(None, NOW)?;
            take_over();
            Ok(count)
        });
        assert_eq!(read, Ok(0));
    });
}

#[test]
fn closing_an_owner_that_lost_its_lock_does_not_remove_the_next_lock() {
    while_stopped(|storage, take_over| {
        begin(&storage).unwrap();
        add(&storage, 1).unwrap();
        take_over();
        drop(storage);
    });
}

#[test]
fn an_owner_that_woke_while_its_lock_was_taken_over_gets_it_back() {
    let (directory, storage) = open(0);
    let lock = lock(&storage);
    let token = make_lock(&lock, STOPPED);
    let now = SystemTime::now();
    // The token was seen as dead, and was renewed before it was renamed.
    lease::renew(&token).unwrap();
    assert!(
        lock.lease
            .take_over(lock.lease.directory.join("own"), now)
            .unwrap()
            .is_none()
    );
    assert_eq!(
        lease::entries(&lock.lease.directory).collect::<Vec<_>>(),
        [token]
    );
    assert_eq!(count(&storage), Err(Error::Busy));
    assert_eq!(names(&directory), ["sessions.db.lock"]);
}

#[test]
fn only_one_instance_takes_over_a_dead_lock() {
    let (directory, storage) = open(0);
    let token = make_lock(&lock(&storage), STOPPED);
    assert_eq!(begin(&storage), Ok(()));
    let other = open_in_busy(&directory);
    assert_eq!(other, Err(Error::Busy));
    assert!(!token.exists());
    end(&storage);
    assert!(names(&directory).is_empty());
    let nothing = Collected {
        removed: 0,
        more: false,
    };
    assert_eq!(storage.collect(1, NOW), Ok(nothing));
}

fn open_in_busy(directory: &TempDir) -> Result<(), Error> {
    let location = directory.path().join("sessions.db");
    let options = Options {
        access: Access::Shared,
        sync_timeout: 0,
        ..Options::default()
    };
    Storage::open(location.to_str().unwrap(), &options, NOW).map(drop)
}

#[test]
fn an_empty_lock_directory_is_free() {
    let (directory, storage) = open(0);
    fs::create_dir(&lock(&storage).lease.directory).unwrap();
    assert_eq!(count(&storage), Err(Error::Busy));
    make_older(&lock(&storage).lease.directory, STOPPED);
    assert_eq!(count(&storage), Ok(0));
    assert!(names(&directory).is_empty());
}

#[test]
fn a_take_over_removes_locks_that_killed_instances_had_prepared() {
    let (directory, storage) = open(0);
    let lock = lock(&storage);
    let left = ["0123456789abcdef", "0123456789abcde0", "0123456789abcde1"];
    for (token, is_empty) in left.iter().zip([false, true, false]) {
        let prepared = lock.lease.prepared(token);
        fs::create_dir(&prepared).unwrap();
        if !is_empty {
            fs::write(prepared.join(token), "1").unwrap();
            make_older(&prepared.join(token), STOPPED);
        }
        make_older(&prepared, STOPPED);
    }
    // The owner of the third one is alive.
    lease::renew(&lock.lease.prepared(left[2]).join(left[2])).unwrap();
    let waiting = format!("sessions.db.lock-{}", left[2]);
    make_lock(&lock, STOPPED);
    assert_eq!(count(&storage), Ok(0));
    assert_eq!(names(&directory), [waiting]);
}

#[test]
fn a_store_does_not_wait_if_no_lock_can_be_created() {
    let (directory, storage) = open(3_600_000);
    let permissions = fs::metadata(directory.path()).unwrap().permissions();
    let mut read_only = permissions.clone();
    read_only.set_readonly(true);
    fs::set_permissions(directory.path(), read_only).unwrap();
    // A superuser can write to every directory.
    if fs::write(directory.path().join("file"), "").is_err() {
        let refused = count(&storage);
        assert!(matches!(refused, Err(Error::Other(words)) if words.contains(".lock` cannot be")));
    }
    fs::set_permissions(directory.path(), permissions).unwrap();
    assert_eq!(count(&storage), Ok(0));
    fs::write(&lock(&storage).lease.directory, "").unwrap();
    let refused = count(&storage);
    assert!(matches!(refused, Err(Error::Other(words)) if words.contains(".lock` cannot be")));
}
