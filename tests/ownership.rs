//! Tests that a directory has one owner at a time, among all processes.

use std::fs::{self, File};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, SystemTime};

use rusqlite::ErrorCode;
use wasi_sessions::{Error, Options, Sessions};

use crate::command::{Writer, bare, run_cli};
use crate::fixture::{Home, create, data, store, written};

fn in_use(home: &Home) -> Error {
    Error::InUse {
        directory: home.path(),
    }
}

fn open(home: &Home) -> Result<Sessions, Error> {
    home.builder().open().wait()
}

#[test]
fn a_second_owner_in_this_process_is_refused_until_the_first_is_dropped() {
    let (home, sessions) = store();
    let clone = sessions.clone();
    for _ in 0..3 {
        assert_eq!(open(&home).err(), Some(in_use(&home)));
    }
    let words = in_use(&home).to_string();
    assert!(words.contains(home.path().to_str().unwrap()), "{words}");

    // The lock covers the directory, whatever the file.
    let other = home.builder().file_name("other.db").open().wait();
    assert_eq!(other.err(), Some(in_use(&home)));

    // The first owner still works, and holds the lock as long as any handle exists.
    let id = create(&sessions, "{}");
    drop(sessions);
    assert_eq!(open(&home).err(), Some(in_use(&home)));
    assert_eq!(data(&clone, &id).as_deref(), Some("{}"));
    drop(clone);
    let sessions = open(&home).unwrap();
    assert_eq!(data(&sessions, &id).as_deref(), Some("{}"));
}

#[cfg(unix)]
#[test]
fn another_path_to_the_same_directory_is_the_same_directory() {
    let (home, _sessions) = store();
    let link = home.beside("link");
    std::os::unix::fs::symlink(home.path(), &link).unwrap();
    let opened = wasi_sessions::Builder::new(&link).open().wait();
    assert_eq!(opened.err(), Some(Error::InUse { directory: link }));
}

#[test]
fn a_second_process_is_refused_until_this_one_closes_the_store() {
    let (home, sessions) = store();
    let id = create(&sessions, "{}");
    let directory = home.path().display().to_string();
    for arguments in [vec!["stats"], vec!["create", "{}"], vec!["collect"]] {
        let ran = run_cli(&home, &arguments);
        assert_eq!(ran.code, 4, "{}", ran.errors);
        assert!(ran.errors.contains(&directory), "{}", ran.errors);
        assert_eq!(ran.output, "");
    }
    assert_eq!(data(&sessions, &id).as_deref(), Some("{}"));
    drop(sessions);
    assert_eq!(run_cli(&home, &["stats"]).code, 0);
}

#[cfg(unix)]
#[test]
fn a_directory_has_one_owner_even_without_its_lock_file() {
    let (home, sessions) = store();
    let id = create(&sessions, "{}");
    for file in fs::read_dir(home.path()).unwrap() {
        let file = file.unwrap();
        let name = file.file_name().into_string().unwrap();
        if !name.starts_with("sessions.db") {
            fs::remove_file(file.path()).unwrap();
        }
    }
    assert_eq!(open(&home).err(), Some(in_use(&home)));
    assert_eq!(run_cli(&home, &["stats"]).code, 4);
    assert_eq!(data(&sessions, &id).as_deref(), Some("{}"));
}

#[cfg(target_os = "linux")]
#[test]
fn another_name_of_the_same_database_has_the_same_owner() {
    let (home, sessions) = store();
    create(&sessions, "{}");
    let other = Home::new();
    fs::create_dir(other.path()).unwrap();
    fs::hard_link(home.database(), other.database()).unwrap();
    assert_eq!(open(&other).err(), Some(in_use(&other)));
    drop(sessions);
    open(&other).unwrap();
}

#[cfg(target_os = "linux")]
#[test]
fn other_programs_with_sqlite_get_database_is_locked() {
    let (home, sessions) = store();
    let id = create(&sessions, "before");
    let log = home.path().join("sessions.db-wal");
    for statement in ["SELECT count(*) FROM Sessions", "DELETE FROM Sessions"] {
        let native = home.native();
        let refused = native.execute_batch(statement).unwrap_err();
        let code = refused.sqlite_error_code();
        assert_eq!(code, Some(ErrorCode::DatabaseBusy), "{refused}");
        native.close().unwrap();
        assert!(log.exists());
    }
    written(sessions.set(&id, "after", None).wait().unwrap());
    drop(sessions);

    // Conversely, such a program's lock prevents a store from opening.
    let native = home.native();
    native.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert_eq!(open(&home).err(), Some(in_use(&home)));
    drop(native);
    assert_eq!(data(&open(&home).unwrap(), &id).as_deref(), Some("after"));
}

#[test]
fn an_owner_waits_for_an_instance_with_shared_access() {
    let home = Home::new();
    drop(home.open());
    let lock = home.path().join("sessions.db.lock");
    let open_within = |sync_timeout| {
        let options = Options {
            sync_timeout,
            ..Options::default()
        };
        home.builder().options(options).open().wait().map(drop)
    };
    fs::create_dir(&lock).unwrap();
    let token = lock.join("0123456789abcdef");
    let held = File::create(&token).unwrap();
    for waited in [Duration::ZERO, Duration::from_millis(50)] {
        assert_eq!(open_within(waited), Err(in_use(&home)));
        assert!(token.exists());
    }
    thread::scope(|scope| {
        let opened = scope.spawn(|| open_within(Duration::from_secs(60)));
        fs::remove_file(&token).unwrap();
        // The next owner may have replaced the empty directory already.
        let _ = fs::remove_dir(&lock);
        assert_eq!(opened.join().unwrap(), Ok(()));
    });
    drop(held);

    // One that has not renewed its lock for 15 seconds is dead.
    fs::create_dir(&lock).unwrap();
    let long_ago = SystemTime::now() - Duration::from_secs(16);
    let held = File::create(&token).unwrap();
    held.set_modified(long_ago).unwrap();
    assert_eq!(open_within(Duration::ZERO), Ok(()));
    assert!(!lock.exists());
}

#[test]
fn a_file_in_the_place_of_the_lock_is_named() {
    let home = Home::new();
    drop(home.open());
    let lock = home.path().join("sessions.db.lock");
    fs::write(&lock, "").unwrap();
    match open(&home).err() {
        Some(Error::Directory { file, .. }) => assert_eq!(file, Some(lock)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_killed_process_leaves_no_lock() {
    let home = Home::new();
    let mut writer = Writer::start(&home);
    writer.answered_lines(3);
    assert_eq!(open(&home).err(), Some(in_use(&home)));
    writer.kill();
    open(&home).unwrap();
}

#[test]
fn a_store_that_fails_to_open_leaves_no_lock() {
    let home = Home::new();
    std::fs::create_dir(home.path()).unwrap();
    std::fs::write(home.database(), "not a database").unwrap();
    assert!(matches!(open(&home), Err(Error::Corrupt(_))));
    std::fs::remove_file(home.database()).unwrap();
    open(&home).unwrap();
}

#[test]
fn a_store_reopens_at_once_while_processes_are_being_started() {
    let home = Home::new();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        // A process that is being started has copies of all open descriptors.
        scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                bare(&["--version"]).output().unwrap();
            }
        });
        let opened: Vec<_> = (0..100).map(|_| open(&home).map(drop)).collect();
        done.store(true, Ordering::SeqCst);
        assert_eq!(opened, vec![Ok(()); 100]);
    });
}
