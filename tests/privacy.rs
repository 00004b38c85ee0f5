//! Tests that only the store's user can read its files, from their creation on.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use wasi_sessions::Sessions;

use crate::command::Writer;
use crate::fixture::{Home, LIFE, create, data};

/// The permissions of each file in a directory.
fn modes(directory: &Path) -> Vec<(String, u32)> {
    let entries = fs::read_dir(directory).unwrap();
    entries
        .filter_map(|entry| {
            let entry = entry.unwrap();
            // A file may have been removed in the meantime.
            let mode = entry.metadata().ok()?.mode() & 0o777;
            Some((entry.file_name().into_string().unwrap(), mode))
        })
        .collect()
}

/// A home whose directory other users can read.
fn open_home() -> Home {
    let home = Home::new();
    fs::create_dir(home.path()).unwrap();
    fs::set_permissions(home.path(), Permissions::from_mode(0o755)).unwrap();
    home
}

/// Opens the store with a clock that records the files' permissions: the component
/// reads the time in the middle of requests.
fn open_watched(home: &Home, seen: &Arc<Mutex<Vec<(String, u32)>>>) -> Sessions {
    let (directory, seen) = (home.path(), seen.clone());
    let watched = home.builder().clock(move || {
        seen.lock().unwrap().extend(modes(&directory));
        SystemTime::now()
    });
    watched.open().wait().unwrap()
}

#[test]
fn database_and_log_are_private_from_their_first_byte() {
    let home = open_home();
    let seen = Arc::new(Mutex::new(vec![]));
    for _ in 0..2 {
        let sessions = open_watched(&home, &seen);
        let id = create(&sessions, "{}");
        for _ in 0..10 {
            sessions.set(&id, vec![b'x'; 100_000], LIFE).wait().unwrap();
        }
        sessions.collect(10).wait().unwrap();
        sessions.clear().wait().unwrap();
    }
    let mut seen = seen.lock().unwrap().clone();
    seen.sort();
    seen.dedup();
    assert!(
        seen.contains(&("sessions.db".to_owned(), 0o600)),
        "{seen:?}"
    );
    assert!(
        seen.contains(&("sessions.db-wal".to_owned(), 0o600)),
        "{seen:?}"
    );
    assert!(seen.iter().all(|(_, mode)| mode & 0o077 == 0), "{seen:?}");
}

#[test]
fn new_files_are_never_readable_by_others() {
    // Polls the permissions, because the clock is not read between the creation of a file and
    // its first write.
    let home = open_home();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watch = scope.spawn(|| {
            while !done.load(std::sync::atomic::Ordering::SeqCst) {
                let wide = modes(&home.path());
                assert!(wide.iter().all(|(_, mode)| mode & 0o077 == 0), "{wide:?}");
            }
        });
        for _ in 0..10 {
            drop(home.open());
        }
        done.store(true, std::sync::atomic::Ordering::SeqCst);
        watch.join().unwrap();
    });
}

#[test]
fn a_database_keeps_its_permissions_and_its_log_has_no_others() {
    let home = open_home();
    let mut writer = Writer::start(&home);
    writer.answered_lines(3);
    writer.kill();
    let log = home.path().join("sessions.db-wal");
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
    // Permissions of a WAL as an earlier version left them.
    fs::set_permissions(&log, Permissions::from_mode(0o644)).unwrap();
    let sessions = home.open();
    assert_eq!((mode(&home.database()), mode(&log)), (0o600, 0o600));
    let id = create(&sessions, "{}");
    drop(sessions);

    fs::set_permissions(home.database(), Permissions::from_mode(0o640)).unwrap();
    let sessions = home.open();
    assert_eq!((mode(&home.database()), mode(&log)), (0o640, 0o640));
    assert_eq!(data(&sessions, &id).as_deref(), Some("{}"));
}
