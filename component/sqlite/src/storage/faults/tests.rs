//! Tests in which each file operation fails in turn, once or permanently: answered writes are
//! kept, failed ones are not, and the store works again after the fault ends.

use super::{Fault, call_after, end, end_call, set};
use crate::storage::{Room, Storage};
use std::collections::BTreeSet;
use std::fs;
use wasi_sessions_rules::error::Error;
use wasi_sessions_rules::id::IdHash;
use wasi_sessions_rules::options::{Access, Durability, Options};
use wasi_sessions_rules::types::Session;

const NOW: u64 = 1_000_000;

/// The number of sessions that one transaction writes.
const GROUP: u8 = 12;

fn insert(storage: &Storage, group: u8, size: usize) -> Result<(), Error> {
    let session = Session {
        data: vec![group; size],
        subject: None,
        version: 1,
        created: NOW,
        updated: NOW,
        expires: NOW + 10,
    };
    storage.transaction(Room::Growing, |rows| {
        for number in 0..GROUP {
            let mut hash = IdHash([number; 32]);
            hash.0[1] = group;
            rows.insert(&hash, &session, NOW)?;
        }
        Ok(())
    })
}

/// The groups that are stored; fails if one is incomplete.
fn groups(storage: &Storage) -> Result<BTreeSet<u8>, Error> {
    storage.snapshot(|rows| {
        let mut found = BTreeSet::new();
        for group in 0..20 {
            let mut here = 0;
            for number in 0..GROUP {
                let mut hash = IdHash([number; 32]);
                hash.0[1] = group;
                here += u8::from(rows.find_head(&hash, NOW)?.is_some());
            }
            assert!(here == 0 || here == GROUP, "{here} of group {group}");
            if here > 0 {
                found.insert(group);
            }
        }
        Ok(found)
    })
}

fn is_typed<T>(done: &Result<T, Error>) -> bool {
    matches!(
        done,
        Ok(_) | Err(Error::StorageFull | Error::Busy | Error::Other(_))
    )
}

/// Runs some requests while the n-th file operation fails, and checks what was
/// kept. Returns whether the fault was hit.
fn run(options: &Options, fault: Fault, n: u64, times: u64) -> bool {
    let case = format!(
        "{:?} {:?} {fault:?} {n} {times}",
        options.access, options.durability
    );
    let directory = tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .unwrap();
    let location = directory.path().join("sessions.db");
    let location = location.to_str().unwrap();
    let storage = Storage::open(location, options, NOW).unwrap();
    let mut answered = BTreeSet::new();
    assert_eq!(insert(&storage, 0, 10), Ok(()));
    answered.insert(0);

    set(fault, n, times);
    for (group, size) in [(1, 10), (2, 3000), (3, 10), (4, 7000), (5, 3000)] {
        // A transaction larger than this spills to the file before its commit.
        let spills = storage.attempt(&mut || storage.pragma("cache_size = 10", None));
        assert!(is_typed(&spills), "{case}: {spills:?}");
        let done = insert(&storage, group, size);
        assert!(is_typed(&done), "{case}: {done:?}");
        if done.is_ok() {
            answered.insert(group);
        }
        match groups(&storage) {
            // The last step of a shared commit is to sync the truncated journal,
            // which cannot be undone.
            Ok(found) if options.access == Access::Shared && fault == Fault::Sync => {
                assert!(found.is_superset(&answered), "{case} after {group}");
                answered = found;
            }
            Ok(found) => assert_eq!(found, answered, "{case} after {group}"),
            failed => assert!(is_typed(&failed), "{case}: {failed:?}"),
        }
        if group == 3 {
            let emptied = storage.collect(10, NOW);
            assert!(is_typed(&emptied), "{case}: {emptied:?}");
            if storage.lock.is_none() {
                let copied = storage.attempt(&mut || storage.checkpoint());
                assert!(is_typed(&copied), "{case}: {copied:?}");
            }
        }
    }
    let was_hit = end();

    let found = groups(&storage);
    if options.access == Access::Shared && fault == Fault::Sync {
        assert!(found.clone().unwrap().is_superset(&answered), "{case}");
        answered = found.unwrap();
    } else {
        assert_eq!(found, Ok(answered.clone()), "{case}");
    }
    assert_eq!(insert(&storage, 6, 3000), Ok(()), "{case}");
    answered.insert(6);
    assert_eq!(storage.check(), Ok(vec![]), "{case}");
    drop(storage);
    let storage = Storage::open(location, options, NOW).unwrap();
    assert_eq!(groups(&storage), Ok(answered), "{case}");
    assert_eq!(storage.check(), Ok(vec![]), "{case}");
    was_hit
}

fn run_all(access: Access, fault: Fault) {
    for durability in [Durability::Full, Durability::Relaxed] {
        let options = Options {
            access,
            durability,
            ..Options::default()
        };
        for times in [1, u64::MAX] {
            let mut n = 0;
            while run(&options, fault, n, times) {
                // Every one of the first operations, then a sample of the many that
                // follow.
                n += 1 + n / 6;
            }
            assert!(n > 0, "no operation of this kind");
        }
    }
}

#[test]
fn an_exclusive_store_survives_a_full_disk_at_every_write() {
    run_all(Access::Exclusive, Fault::Full);
}

#[test]
fn an_exclusive_store_survives_a_failure_of_every_write() {
    run_all(Access::Exclusive, Fault::Write);
}

#[test]
fn an_exclusive_store_survives_a_failure_of_every_sync() {
    run_all(Access::Exclusive, Fault::Sync);
}

#[test]
fn an_exclusive_store_survives_a_failure_of_every_read() {
    run_all(Access::Exclusive, Fault::Read);
}

#[test]
fn a_shared_store_survives_a_full_disk_at_every_write() {
    run_all(Access::Shared, Fault::Full);
}

#[test]
fn a_shared_store_survives_a_failure_of_every_write() {
    run_all(Access::Shared, Fault::Write);
}

#[test]
fn a_shared_store_survives_a_failure_of_every_sync() {
    run_all(Access::Shared, Fault::Sync);
}

#[test]
fn a_shared_store_survives_a_failure_of_every_read() {
    run_all(Access::Shared, Fault::Read);
}

#[test]
fn a_backup_killed_at_any_moment_leaves_at_most_one_file_behind() {
    for access in [Access::Exclusive, Access::Shared] {
        let options = Options {
            access,
            ..Options::default()
        };
        let directory = tempfile::tempdir().unwrap();
        let location = directory.path().join("sessions.db");
        let storage = Storage::open(location.to_str().unwrap(), &options, NOW).unwrap();
        insert(&storage, 0, 30_000).unwrap();
        let copies = tempfile::tempdir().unwrap();
        let copy = copies.path().join("copy.db");
        let mut moments = 0;
        loop {
            let there = copies.path().to_owned();
            call_after(moments, move || {
                let names = fs::read_dir(there).unwrap();
                let names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
                assert!(names.len() <= 1, "{names:?}");
                let ends = |name: &std::ffi::OsString| name.to_str().unwrap().ends_with(".partial");
                assert!(names.iter().all(ends), "{names:?}");
            });
            storage.backup(copy.to_str().unwrap()).unwrap();
            fs::remove_file(&copy).unwrap();
            if !end_call() {
                break;
            }
            moments += 1;
        }
        assert!(moments > 20, "{moments}");
    }
}
