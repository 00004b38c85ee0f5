//! Tests on a disk that is really full, if the user may mount one: sessions can still be
//! ended, and answered writes are kept.

use crate::engine::{Access, DestroyRequest, Durability, Engine, Error, Options, Request, Store};
use crate::fixture::NOW;
use std::mem;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

/// A mounted in-memory file system of a fixed size.
struct Disk(TempDir);

impl Disk {
    /// Mounts one; `None` if this user may not mount.
    fn of(mebibytes: u32) -> Option<Disk> {
        let directory = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={mebibytes}m"), "tmpfs"])
            .arg(directory.path())
            .output();
        if !mounted.is_ok_and(|mounted| mounted.status.success()) {
            eprintln!("SKIPPED: this user may not mount a file system that is full");
            return None;
        }
        Some(Disk(directory))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn open(&self, durability: Durability) -> Result<Store, Error> {
        let options = Options {
            access: Access::Exclusive,
            durability,
            gc_frequency: 0,
            ..Options::default()
        };
        let location = self.path().join("sessions.db");
        Store::open(location.to_str().unwrap(), options, NOW)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

/// Creates sessions until the disk has been full for a while; returns their ids.
fn fill(store: &mut Store, size: usize) -> Vec<String> {
    let mut ids = vec![];
    let mut refused = 0;
    while refused < 20 {
        match store.create(NOW, &vec![b'x'; size], None, Some("alice")) {
            Ok(created) => ids.push(created.id),
            Err(Error::StorageFull) => refused += 1,
            Err(other) => panic!("{other:?}"),
        }
        assert!(ids.len() < 100_000);
    }
    ids
}

fn assert_live(store: &mut Store, ids: &[String], size: usize) {
    for id in ids {
        let session = store.get(NOW, id).unwrap();
        assert!(session.is_some_and(|session| session.data == vec![b'x'; size]));
    }
    let count = ids.len() as u64;
    assert_eq!(store.count_sessions(NOW, None), Ok(count));
}

#[test]
fn sessions_can_be_ended_repeatedly_on_a_full_disk() {
    for (mebibytes, size) in [(3, 200), (4, 2000), (8, 500), (16, 100_000)] {
        for durability in [Durability::Full, Durability::Relaxed] {
            let Some(disk) = Disk::of(mebibytes) else {
                return;
            };
            let case = format!("{mebibytes} {size} {durability:?}");
            let mut store = disk.open(durability).unwrap();
            let mut ids = fill(&mut store, size);
            assert!(ids.len() > 30, "{case}: {}", ids.len());
            assert_live(&mut store, &ids, size);
            for restarts in [false, true, true] {
                if restarts {
                    // Simulates a kill: nothing is written on closing.
                    mem::forget(store);
                    store = disk.open(durability).unwrap();
                    assert_live(&mut store, &ids, size);
                }
                for id in ids.drain(..ids.len() / 8) {
                    assert_eq!(store.destroy(NOW, &id), Ok(true), "{case}");
                }
                let requests: Vec<_> = ids
                    .drain(..ids.len() / 8)
                    .map(|id| Request::Destroy(DestroyRequest { id }))
                    .collect();
                for requests in requests.chunks(20) {
                    assert!(store.batch(NOW, requests).is_ok(), "{case}");
                }
                assert_live(&mut store, &ids, size);
            }
            let ended = store.terminate_subject(NOW, "alice", Some(&ids[0]));
            match ended {
                Ok(ended) => assert_eq!(ended, ids.len() as u64 - 1),
                // Ending thousands of sessions in one transaction needs more than the reserve.
                Err(error) => {
                    assert_eq!(error, Error::StorageFull, "{case}");
                    assert!(ids.len() > 2000, "{case}: {}", ids.len());
                }
            }
            for id in ids.drain(1..) {
                store.destroy(NOW, &id).unwrap();
            }
            let later = NOW + 61_000;
            while store.collect(later, 100).unwrap().more {}
            assert_eq!(store.check(), Ok(vec![]));
            for _ in 0..20 {
                let created = store.create(later, &vec![b'y'; size], None, None);
                assert!(created.is_ok(), "{case}: {created:?}");
            }
        }
    }
}

#[test]
fn a_database_on_a_disk_too_small_for_the_reserve_can_be_read() {
    let Some(disk) = Disk::of(3) else {
        return;
    };
    let mut store = disk.open(Durability::Full).unwrap();
    let mut ids = fill(&mut store, 1000);
    for id in ids.drain(40..) {
        store.destroy(NOW, &id).unwrap();
    }
    while store.collect(NOW + 61_000, 100).unwrap().more {}
    drop(store);
    let reserve = disk.path().join("sessions.db-reserve");
    std::fs::remove_file(&reserve).unwrap_or_default();
    // Another program fills the disk.
    let mut filler = std::fs::File::create(disk.path().join("filler")).unwrap();
    while std::io::Write::write_all(&mut filler, &[0; 4096]).is_ok() {}
    let mut store = disk.open(Durability::Full).unwrap();
    assert_live(&mut store, &ids, 1000);
    let refused = store.create(NOW, b"", None, None);
    assert_eq!(refused.err(), Some(Error::StorageFull));
    drop(filler);
    std::fs::remove_file(disk.path().join("filler")).unwrap();
    assert!(store.create(NOW, b"", None, None).is_ok());
    assert!(reserve.exists());
}
