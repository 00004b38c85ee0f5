//! Several stores on one shared database: they lock it, wait for each other, and lose no
//! update.

use crate::engine::{Access, Engine, Error, GetRequest, Outcome, Request};
use crate::fixture::{BOTH, Database, NOW, create, is_live, started};
use std::fs;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

fn impatient() -> Database {
    Database::with(Access::Shared, |options| options.sync_timeout = 0)
}

/// Options for tests in which every thread must get the lock.
fn patient() -> Database {
    Database::with(Access::Shared, |options| options.sync_timeout = 600_000)
}

/// Creates the lock of another instance that was last renewed `age` ago.
fn make_lock(path: &str, age: Duration) {
    fs::create_dir(path).unwrap();
    let token = format!("{path}/token");
    fs::write(&token, "1").unwrap();
    let times = fs::FileTimes::new().set_modified(SystemTime::now() - age);
    for file in [token.as_str(), path] {
        fs::File::open(file).unwrap().set_times(times).unwrap();
    }
}

#[test]
fn two_stores_see_each_others_writes_immediately() {
    let database = Database::new(Access::Shared);
    let (mut one, mut other) = (database.open(), database.open());
    let id = create(&mut one, NOW, Some("alice"));
    assert_eq!(
        other.get(NOW, &id),
        Ok(Some(started("{}", Some("alice"), NOW)))
    );
    other.update(NOW, &id, b"1", None, Some(1)).unwrap();
    let stale = one.update(NOW, &id, b"2", None, Some(1)).unwrap();
    assert!(matches!(stale, Outcome::Stale(session) if session.data == b"1"));
    assert_eq!(other.destroy(NOW, &id), Ok(true));
    assert_eq!(one.set(NOW, &id, b"3", None), Ok(Outcome::Gone));
}

#[test]
fn a_shared_store_goes_on_after_an_exclusive_owner() {
    let database = Database::new(Access::Shared);
    let mut shared = database.open();
    let id = create(&mut shared, NOW, Some("alice"));
    for round in 2..5 {
        let mut exclusive = database.open_with(|options| options.access = Access::Exclusive);
        exclusive.set(NOW, &id, b"exclusive", None).unwrap();
        drop(exclusive);
        let session = shared.get(NOW, &id).unwrap().unwrap();
        assert_eq!(
            (session.version, &*session.data),
            (2 * round - 2, &b"exclusive"[..])
        );
        let written = shared.set(NOW, &id, b"shared", None);
        assert!(matches!(written, Ok(Outcome::Written(_))), "{written:?}");
    }
}

#[test]
fn a_database_that_stays_in_use_is_busy() {
    let database = impatient();
    let mut store = database.open();
    let id = create(&mut store, NOW, None);
    let lock = database.file("sessions.db.lock");
    make_lock(&lock, Duration::ZERO);
    assert_eq!(store.get(NOW, &id), Err(Error::Busy));
    assert_eq!(store.set(NOW, &id, b"", None), Err(Error::Busy));
    let get = Request::Get(GetRequest { id: id.clone() });
    let requests = [get.clone(), get];
    assert_eq!(store.batch(NOW, &requests), Err(Error::Busy));
    assert_eq!(store.clear(NOW), Err(Error::Busy));
    assert_eq!(store.list_sessions(NOW, None, None, 1), Err(Error::Busy));
    assert_eq!(store.collect(NOW, 1), Err(Error::Busy));
    assert_eq!(store.stats(NOW), Err(Error::Busy));
    assert_eq!(store.check(), Err(Error::Busy));
    assert_eq!(store.backup(&database.file("copy")), Err(Error::Busy));
    assert_eq!(database.try_open(|_| {}).err(), Some(Error::Busy));

    fs::remove_dir_all(&lock).unwrap();
    assert_eq!(store.get(NOW, &id), Ok(Some(started("{}", None, NOW))));
    assert_eq!(store.stats(NOW).unwrap().live, 1);
    assert!(!fs::exists(database.file("copy")).unwrap());
}

#[test]
fn a_store_waits_as_long_as_sync_timeout_says() {
    let database = Database::with(Access::Shared, |options| options.sync_timeout = 50);
    let mut store = database.open();
    let lock = database.file("sessions.db.lock");
    make_lock(&lock, Duration::ZERO);
    let started = Instant::now();
    assert_eq!(store.clear(NOW), Err(Error::Busy));
    let waited = started.elapsed();
    assert!(waited >= Duration::from_millis(50), "{waited:?}");
}

#[test]
fn a_store_goes_on_when_the_other_releases_the_lock() {
    let database = patient();
    let mut store = database.open();
    let lock = database.file("sessions.db.lock");
    make_lock(&lock, Duration::ZERO);
    let release = thread::spawn(move || {
        fs::remove_file(format!("{lock}/token")).unwrap();
        // The store may have replaced the empty directory already.
        let _ = fs::remove_dir(lock);
    });
    create(&mut store, NOW, None);
    release.join().unwrap();
}

#[test]
fn a_lock_older_than_15_seconds_is_dead_and_taken_over() {
    let database = impatient();
    let mut store = database.open();
    let id = create(&mut store, NOW, None);
    let lock = database.file("sessions.db.lock");
    for open_anew in [false, true] {
        make_lock(&lock, Duration::from_secs(16));
        if open_anew {
            store = database.open();
        }
        assert!(is_live(&mut store, NOW, &id));
        assert!(!fs::exists(&lock).unwrap());
    }
}

#[test]
fn a_younger_lock_is_respected() {
    let database = impatient();
    let mut store = database.open();
    let lock = database.file("sessions.db.lock");
    make_lock(&lock, Duration::from_secs(5));
    assert_eq!(store.clear(NOW), Err(Error::Busy));
    assert!(fs::exists(&lock).unwrap());
}

#[test]
fn many_threads_on_one_session_lose_no_update() {
    const THREADS: u64 = 8;
    const UPDATES: u64 = 25;
    let database = patient();
    let id = create(&mut database.open(), NOW, None);
    let count_up = || {
        let mut store = database.open();
        let mut standing = store.get(NOW, &id).unwrap().unwrap();
        for _ in 0..UPDATES {
            loop {
                let count: u64 = String::from_utf8_lossy(&standing.data).parse().unwrap_or(0);
                let data = (count + 1).to_string().into_bytes();
                let version = standing.version;
                match store.update(NOW, &id, &data, None, Some(version)).unwrap() {
                    Outcome::Stale(session) => standing = session,
                    Outcome::Written(written) => {
                        assert_eq!(written.version, version + 1);
                        (standing.data, standing.version) = (data, written.version);
                        break;
                    }
                    Outcome::Gone => panic!("the session is gone"),
                }
            }
        }
    };
    thread::scope(|scope| (0..THREADS).for_each(|_| drop(scope.spawn(count_up))));
    let session = database.open().get(NOW, &id).unwrap().unwrap();
    assert_eq!(session.version, 1 + THREADS * UPDATES);
    assert_eq!(session.data, (THREADS * UPDATES).to_string().as_bytes());
}

#[test]
fn one_of_many_first_writes_creates_the_session() {
    let database = patient();
    let barrier = Barrier::new(6);
    let start = || {
        let mut store = database.open();
        barrier.wait();
        match store.update(NOW, "mine", b"", None, Some(0)).unwrap() {
            Outcome::Written(_) => 1,
            Outcome::Stale(_) => 0,
            Outcome::Gone => panic!("the session is gone"),
        }
    };
    let started: u32 = thread::scope(|scope| {
        let threads: Vec<_> = (0..6).map(|_| scope.spawn(start)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .sum()
    });
    assert_eq!(started, 1);
}

#[test]
fn many_stores_can_create_one_database_concurrently() {
    for _ in 0..5 {
        let database = patient();
        let barrier = Barrier::new(6);
        let create_one = || {
            barrier.wait();
            create(&mut database.open(), NOW, None);
        };
        thread::scope(|scope| (0..6).for_each(|_| drop(scope.spawn(create_one))));
        let mut store = database.open();
        assert_eq!(store.count_sessions(NOW, None), Ok(6));
        assert_eq!(store.check(), Ok(vec![]));
    }
}

#[test]
fn several_stores_live_in_one_file_each_in_its_own_table() {
    for access in BOTH {
        let database = Database::new(access);
        let tables = ["Sessions", "Other", "_2"];
        for table in tables {
            let mut store = database.open_with(|options| options.table_name = table.into());
            store.set(NOW, "mine", table.as_bytes(), None).unwrap();
        }
        for table in tables {
            let mut store = database.open_with(|options| options.table_name = table.into());
            let session = store.get(NOW, "mine").unwrap();
            assert_eq!(session, Some(started(table, None, NOW)));
            assert_eq!(store.stats(NOW).unwrap().live, 1);
        }
    }
}
