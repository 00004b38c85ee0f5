//! Tests of directories and files that cannot be used: each is a clear error, and nothing is
//! lost.

use std::error::Error as _;
use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use wasi_sessions::{Builder, Error};

use crate::command::{self, PROGRAM, Ran, run_cli};
use crate::fixture::{CACHE, Home, compiled_in, create, data, store};

/// The id of a user that owns no files.
const NOBODY: u32 = 65534;

/// Checks that opening the store fails with an error that `fits`, and does not change the
/// database's file.
fn refused_and_left_alone(home: &Home, fits: fn(&Error) -> bool) {
    let before = fs::read(home.database()).unwrap();
    for _ in 0..2 {
        match home.builder().open().wait() {
            Ok(_) => panic!("opened"),
            Err(error) => assert!(fits(&error), "{error:?}"),
        }
        assert!(fs::read(home.database()).unwrap() == before);
    }
    let ran = run_cli(home, &["stats"]);
    assert_eq!(ran.code, 3);
    assert!(ran.error().len() > 10);
    assert!(fs::read(home.database()).unwrap() == before);
}

fn is_corrupt(error: &Error) -> bool {
    matches!(error, Error::Corrupt(_))
}

#[test]
fn a_file_that_is_not_a_database_is_refused_and_not_changed() {
    let noise: Vec<u8> = (0..100_000_u32)
        .map(|n| (n.wrapping_mul(n) >> 7) as u8)
        .collect();
    let mut page = b"SQLite format 4\0".to_vec();
    page.resize(4096, 0);
    for content in [&b"a letter to my mother"[..], b"xy", &noise, &page] {
        let home = Home::new();
        fs::create_dir(home.path()).unwrap();
        fs::write(home.database(), content).unwrap();
        refused_and_left_alone(&home, is_corrupt);
    }
}

#[test]
fn an_empty_file_is_a_new_database() {
    let home = Home::new();
    fs::create_dir(home.path()).unwrap();
    fs::write(home.database(), "").unwrap();
    create(&home.open(), "{}");
}

#[test]
fn a_truncated_database_is_refused_and_not_changed() {
    let (home, sessions) = store();
    for _ in 0..50 {
        create(&sessions, &"x".repeat(1000));
    }
    drop(sessions);
    let whole = fs::read(home.database()).unwrap();
    for length in [whole.len() - 4096, whole.len() / 2, 5000, 4096, 100, 10] {
        fs::write(home.database(), &whole[..length]).unwrap();
        refused_and_left_alone(&home, is_corrupt);
    }
    // The repaired file has all sessions.
    fs::write(home.database(), &whole).unwrap();
    let sessions = home.open();
    assert_eq!(sessions.count_sessions(None).wait(), Ok(50));
    assert_eq!(sessions.check().wait(), Ok(vec![]));
}

#[test]
fn check_reports_damage() {
    let (home, sessions) = store();
    for _ in 0..100 {
        create(&sessions, &"x".repeat(1000));
    }
    drop(sessions);
    let mut damaged = fs::read(home.database()).unwrap();
    let middle = damaged.len() / 2 / 4096 * 4096;
    damaged[middle..middle + 4096].fill(0xa5);
    fs::write(home.database(), &damaged).unwrap();

    let sessions = home.open();
    let damage = sessions.check().wait().unwrap();
    assert!((1..=100).contains(&damage.len()), "{damage:?}");
    drop(sessions);
    let ran = run_cli(&home, &["check"]);
    assert_eq!(ran.code, 1);
    assert_eq!(ran.output.lines().count(), damage.len());
}

#[test]
fn a_directory_that_cannot_be_created_is_named() {
    let home = Home::new();
    fs::write(home.beside("file"), "precious").unwrap();
    for path in [
        home.beside("file"),
        home.beside("file").join("below"),
        "/proc/wasi-sessions".into(),
    ] {
        match Builder::new(&path).open().wait() {
            Err(Error::Directory {
                path: named,
                reason,
                ..
            }) => {
                assert_eq!(named, path);
                assert!(!reason.to_string().is_empty());
            }
            other => panic!("{}: {other:?}", path.display()),
        }
    }
    assert_eq!(fs::read(home.beside("file")).unwrap(), b"precious");
}

#[test]
fn a_read_only_directory_is_named_and_not_changed() {
    let (home, sessions) = store();
    let id = create(&sessions, "kept");
    drop(sessions);
    let before = fs::read(home.database()).unwrap();
    let count = || fs::read_dir(home.path()).unwrap().count();
    let files = count();
    let ran = as_a_user_who_may_only_read(&home, &["stats"]);
    assert_eq!(ran.code, 3, "{}", ran.errors);
    let directory = home.path().display().to_string();
    assert!(ran.error().contains(&directory), "{}", ran.errors);
    assert_eq!(count(), files);
    assert!(fs::read(home.database()).unwrap() == before);
    fs::set_permissions(home.path(), Permissions::from_mode(0o700)).unwrap();
    assert_eq!(data(&home.open(), &id).as_deref(), Some("kept"));
}

#[test]
fn a_read_only_database_is_refused_and_not_changed() {
    let (home, sessions) = store();
    create(&sessions, "kept");
    drop(sessions);
    let before = fs::read(home.database()).unwrap();
    fs::set_permissions(home.database(), Permissions::from_mode(0o444)).unwrap();
    fs::set_permissions(home.path(), Permissions::from_mode(0o777)).unwrap();
    let ran = run_as_another_user(&home, &["create", "{}"]);
    assert_eq!(ran.code, 3, "{}", ran.errors);
    let database = home.database().display().to_string();
    assert!(ran.error().contains(&database), "{}", ran.errors);
    assert!(ran.error().contains("Permission denied"), "{}", ran.errors);
    assert!(fs::read(home.database()).unwrap() == before);
}

#[test]
fn a_name_that_is_not_a_regular_file_is_refused_before_anything_is_created() {
    let (other, sessions) = store();
    create(&sessions, "{}");
    drop(sessions);
    let outside = fs::read(other.database()).unwrap();
    type Make = fn(&Home, &Path);
    let odd: [(&str, Make); 5] = [
        ("a link", |home, path| {
            symlink(home.beside("dangling"), path).unwrap();
        }),
        ("a link", |home, path| {
            symlink(home.database(), path).unwrap();
        }),
        ("a link", |home, path| {
            symlink(home.beside("file"), path).unwrap();
        }),
        ("a directory", |_, path| fs::create_dir(path).unwrap()),
        ("a pipe", |_, path| {
            let mode = rustix::fs::Mode::from_raw_mode(0o600);
            rustix::fs::mkfifoat(rustix::fs::CWD, path, mode).unwrap();
        }),
    ];
    for suffix in ["", "-wal", "-journal", "-shm", "-reserve"] {
        for (words, make) in odd {
            let home = Home::new();
            fs::create_dir(home.path()).unwrap();
            fs::copy(other.database(), home.beside("file")).unwrap();
            let path = home.path().join(format!("sessions.db{suffix}"));
            make(&home, &path);
            let refused = home.builder().open().wait().unwrap_err();
            assert!(matches!(refused, Error::Directory { .. }), "{refused:?}");
            let refused = format!("{refused}: {}", refused.source().unwrap());
            for words in [words, path.to_str().unwrap()] {
                assert!(refused.contains(words), "{refused}");
            }
            assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
            assert!(!home.beside("dangling").exists());
            assert!(fs::read(home.beside("file")).unwrap() == outside);
        }
    }
}

#[test]
fn the_error_names_a_database_of_another_user() {
    let (home, sessions) = store();
    create(&sessions, "{}");
    drop(sessions);
    fs::set_permissions(home.path(), Permissions::from_mode(0o777)).unwrap();
    // A lock file of another user does not matter.
    let lock = home.path().join(".wasi-sessions.lock");
    fs::write(&lock, "").unwrap();
    fs::set_permissions(&lock, Permissions::from_mode(0o600)).unwrap();
    let ran = run_as_another_user(&home, &["stats"]);
    assert_eq!(ran.code, 3, "{}", ran.errors);
    let database = home.database().display().to_string();
    assert!(ran.error().contains(&database), "{}", ran.errors);
    assert!(ran.error().contains("Permission denied"), "{}", ran.errors);
}

#[test]
fn a_backup_that_cannot_be_written_names_its_target() {
    let (home, sessions) = store();
    create(&sessions, "{}");
    for target in [
        home.beside("missing").join("copy.db"),
        "/proc/copy.db".into(),
        home.database().join("copy.db"),
    ] {
        let words = sessions.backup(&target).wait().unwrap_err().to_string();
        assert!(words.contains(target.to_str().unwrap()), "{words}");
        assert!(!target.exists());
    }
    for own in ["sessions.db-journal", "Sessions.db-shm", ".wasi-sessions.x"] {
        let target = home.path().join(own);
        let refused = sessions.backup(&target).wait();
        assert!(matches!(refused, Err(Error::InvalidArgument(_))), "{own}");
        assert!(!target.exists());
    }
    drop(sessions);

    let closed = home.beside("closed");
    fs::create_dir(&closed).unwrap();
    let target = closed.join("copy.db");
    fs::set_permissions(&closed, Permissions::from_mode(0o555)).unwrap();
    fs::set_permissions(home.path(), Permissions::from_mode(0o777)).unwrap();
    fs::set_permissions(home.database(), Permissions::from_mode(0o666)).unwrap();
    let ran = run_as_another_user(&home, &["backup", target.to_str().unwrap()]);
    assert_eq!(ran.code, 3, "{}", ran.errors);
    assert!(ran.error().contains(target.to_str().unwrap()));
    assert!(ran.error().contains("Permission denied"), "{}", ran.errors);
}

#[test]
fn a_backup_is_private_and_leaves_nothing_beside_it() {
    let (home, sessions) = store();
    let id = create(&sessions, "{}");
    let backups = home.beside("backups");
    fs::create_dir(&backups).unwrap();
    let copy = backups.join("copy.db");
    // Meanwhile no other file appears in the store's directory.
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                for file in fs::read_dir(home.path()).unwrap() {
                    let name = file.unwrap().file_name().into_string().unwrap();
                    assert!(name.starts_with("sessions.db"), "{name}");
                }
            }
        });
        for _ in 0..10 {
            let _ = fs::remove_file(&copy);
            sessions.backup(&copy).wait().unwrap();
        }
        done.store(true, Ordering::SeqCst);
    });
    assert_eq!(fs::metadata(&copy).unwrap().mode() & 0o777, 0o600);
    assert_eq!(fs::read_dir(&backups).unwrap().count(), 1);
    assert_eq!(data(&sessions, &id).as_deref(), Some("{}"));
}

#[test]
fn four_gigabytes_of_address_space_are_enough() {
    let home = Home::new();
    let limited = |arguments: &str| -> Ran {
        let script = format!("ulimit -v 4194304 && exec \"$0\" {arguments} --directory \"$1\"");
        Command::new("sh")
            .args(["-c", &script])
            .arg(&*PROGRAM)
            .arg(home.path())
            .env("XDG_CACHE_HOME", &*CACHE)
            .output()
            .unwrap()
            .into()
    };
    let id = limited("create '{}'").line().to_owned();
    assert_eq!(limited(&format!("get {id}")).output, "{}");
    assert_eq!(limited("check").line(), "sound");
    assert_eq!(run_cli(&home, &["get", &id]).output, "{}");
}

#[test]
fn a_directory_that_contains_the_users_cache_is_used_without_a_cache() {
    let home = Home::new();
    for (variable, value) in [
        ("XDG_CACHE_HOME", home.path().join("cache")),
        ("HOME", home.path()),
    ] {
        let ran: Ran = command::command(&home, &["create", "{}"])
            .env_remove("XDG_CACHE_HOME")
            .env(variable, value)
            .output()
            .unwrap()
            .into();
        assert_eq!(ran.code, 0, "{}", ran.errors);
        assert!(
            ran.errors.contains("compiled code is not cached"),
            "{}",
            ran.errors
        );
        assert!(!home.path().join("cache").exists());
    }
}

#[test]
fn a_directory_may_be_relative_and_need_not_be_text() {
    let home = Home::new();
    let made = command::bare(&["create", "{}", "--directory", "store"])
        .current_dir(home.beside(""))
        .output()
        .unwrap();
    assert_eq!(made.status.code(), Some(0));
    assert!(home.database().exists());

    let odd = home.beside("").join(OsStr::from_bytes(b"odd \xff\n"));
    let open = || {
        Builder::new(&odd)
            .cache_directory(compiled_in(&CACHE))
            .open()
            .wait()
    };
    let sessions = open().unwrap();
    let id = create(&sessions, "{}");
    assert!(matches!(open(), Err(Error::InUse { directory }) if directory == odd));
    drop(sessions);
    assert_eq!(data(&open().unwrap(), &id).as_deref(), Some("{}"));
}

/// Runs the command line as a user who can only read the store's directory.
fn as_a_user_who_may_only_read(home: &Home, arguments: &[&str]) -> Ran {
    fs::set_permissions(home.path(), Permissions::from_mode(0o555)).unwrap();
    run_as_another_user(home, arguments)
}

/// Runs the command line as another user if this is root, for whom permissions do not count.
fn run_as_another_user(home: &Home, arguments: &[&str]) -> Ran {
    // Copied, because other users may be unable to read the build directory.
    let program = home.beside("program");
    fs::copy(&*PROGRAM, &program).unwrap();
    let parent = home.path().parent().unwrap().to_owned();
    fs::set_permissions(&parent, Permissions::from_mode(0o755)).unwrap();
    let mut command = Command::new(program);
    command
        .args(arguments)
        .arg("--directory")
        .arg(home.path())
        .env("XDG_CACHE_HOME", home.beside("nowhere"))
        .current_dir("/");
    if fs::metadata(&parent).unwrap().uid() == 0 {
        command.uid(NOBODY);
    }
    // A process that another test is just starting may still have the program open.
    loop {
        match command.output() {
            Err(error) if error.kind() == ErrorKind::ExecutableFileBusy => thread::yield_now(),
            output => return output.unwrap().into(),
        }
    }
}
