//! Tests of an open store whose files are removed, moved or replaced: it reports that, and
//! fails all later requests.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use wasi_sessions::{Error, NewSession, Sessions};

use crate::fixture::{Home, LIFE, create, data, store};

/// A way to replace a database.
struct Way {
    name: &'static str,
    /// Whether the very next write fails, because the file was unlinked.
    at_once: bool,
    take: fn(&Home),
}

const WAYS: [Way; 9] = [
    Way {
        name: "the database is removed",
        at_once: true,
        take: |home| fs::remove_file(home.database()).unwrap(),
    },
    Way {
        name: "another database is renamed over it",
        at_once: true,
        take: |home| fs::rename(home.beside("other.db"), home.database()).unwrap(),
    },
    Way {
        name: "the database is moved away",
        at_once: false,
        take: |home| fs::rename(home.database(), home.beside("moved.db")).unwrap(),
    },
    Way {
        name: "the database is moved away, and another is in its place",
        at_once: false,
        take: |home| {
            fs::rename(home.database(), home.beside("moved.db")).unwrap();
            fs::rename(home.beside("other.db"), home.database()).unwrap();
        },
    },
    Way {
        name: "the log is removed",
        at_once: true,
        take: |home| fs::remove_file(log(home)).unwrap(),
    },
    Way {
        name: "the log is moved away",
        at_once: false,
        take: |home| fs::rename(log(home), home.beside("moved-wal")).unwrap(),
    },
    Way {
        name: "the directory is removed",
        at_once: true,
        take: |home| fs::remove_dir_all(home.path()).unwrap(),
    },
    Way {
        name: "the directory is moved away",
        at_once: false,
        take: |home| fs::rename(home.path(), home.beside("moved")).unwrap(),
    },
    Way {
        name: "the directory is moved away, and another is in its place",
        at_once: false,
        take: |home| {
            fs::rename(home.path(), home.beside("moved")).unwrap();
            fs::create_dir(home.path()).unwrap();
            fs::rename(home.beside("other.db"), home.database()).unwrap();
        },
    },
];

fn log(home: &Home) -> std::path::PathBuf {
    home.path().join("sessions.db-wal")
}

/// An open store with one session, and the database of another store beside it.
fn opened() -> (Home, Sessions, String) {
    let (home, sessions) = store();
    let id = create(&sessions, "kept");
    let (other, others) = store();
    create(&others, "other");
    drop(others);
    fs::copy(other.database(), home.beside("other.db")).unwrap();
    assert_eq!(data(&sessions, &id).as_deref(), Some("kept"));
    (home, sessions, id)
}

fn is_replaced(home: &Home, error: &Error) -> bool {
    let names_it = error
        .to_string()
        .contains(home.database().to_str().unwrap());
    matches!(error, Error::Replaced { database, .. } if *database == home.database()) && names_it
}

#[test]
fn a_store_whose_database_is_replaced_fails_every_request() {
    for way in WAYS {
        let (home, sessions, id) = opened();
        (way.take)(&home);
        let started = Instant::now();
        let mut answered = 0;
        let error = loop {
            match sessions.set(&id, "lost", LIFE).wait() {
                Ok(_) => answered += 1,
                Err(error) => break error,
            }
            assert!(started.elapsed() < Duration::from_secs(120), "{}", way.name);
        };
        assert!(is_replaced(&home, &error), "{}: {error:?}", way.name);
        assert!(!way.at_once || answered == 0, "{}: {answered}", way.name);

        // The cache was cleared, and the error persists.
        for _ in 0..2 {
            assert_eq!(sessions.get(&id).wait(), Err(error.clone()), "{}", way.name);
            assert_eq!(sessions.check().wait(), Err(error.clone()));
            assert_eq!(sessions.stats().wait(), Err(error.clone()));
            let target = home.beside("copy.db");
            assert_eq!(sessions.backup(&target).wait(), Err(error.clone()));
            assert_eq!(
                sessions
                    .create(NewSession::new("{}").ttl(LIFE))
                    .wait()
                    .err()
                    .as_ref(),
                Some(&error)
            );
        }
    }
}

#[test]
fn a_check_reports_at_once_that_the_database_was_replaced() {
    for way in WAYS {
        let (home, sessions, _) = opened();
        (way.take)(&home);
        let error = sessions.check().wait().unwrap_err();
        assert!(is_replaced(&home, &error), "{}: {error:?}", way.name);
    }
}

/// The names and contents of a directory's files, without the store's own lock.
fn content(directory: &Path) -> Vec<(String, Vec<u8>)> {
    let Ok(entries) = fs::read_dir(directory) else {
        return vec![];
    };
    let mut content: Vec<_> = entries
        .map(Result::unwrap)
        .filter(|entry| entry.file_name() != "sessions.db.lock")
        .map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            (name, fs::read(entry.path()).unwrap())
        })
        .collect();
    content.sort();
    content
}

#[test]
fn a_store_whose_database_was_replaced_changes_nothing_when_it_closes() {
    for way in WAYS {
        let (home, sessions, _) = opened();
        (way.take)(&home);
        // The WAL of the database that replaced the first one.
        if home.path().exists() && !log(&home).exists() {
            fs::write(log(&home), "another's").unwrap();
        }
        let before = content(&home.path());
        drop(sessions);
        assert!(content(&home.path()) == before, "{}", way.name);
    }
}

#[test]
fn a_store_that_crashed_does_not_start_on_another_database() {
    let home = Home::new();
    let sessions = home.builder().memory_limit(16 << 20).open().wait().unwrap();
    let id = create(&sessions, "kept");
    let large = wasi_sessions::Request::Set {
        id: "x".to_owned(),
        data: vec![b'x'; 1 << 20],
        ttl: LIFE,
    };
    assert_eq!(sessions.batch(vec![large; 32]).wait(), Err(Error::Crashed));
    let aside = home.beside("aside");
    fs::rename(home.path(), &aside).unwrap();
    fs::create_dir(home.path()).unwrap();
    let error = sessions.get(&id).wait().unwrap_err();
    assert!(is_replaced(&home, &error), "{error:?}");
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
    drop(sessions);

    // Nothing of the original database is lost.
    fs::remove_dir(home.path()).unwrap();
    fs::rename(&aside, home.path()).unwrap();
    assert_eq!(data(&home.open(), &id).as_deref(), Some("kept"));
}

#[test]
fn a_backup_that_is_copied_over_an_open_database_is_noticed() {
    let (home, sessions, id) = opened();
    let copy = home.beside("copy.db");
    sessions.backup(&copy).wait().unwrap();
    sessions.set(&id, "later", LIFE).wait().unwrap();
    fs::copy(&copy, home.database()).unwrap();
    let error = sessions.check().wait().unwrap_err();
    assert!(is_replaced(&home, &error), "{error:?}");
    drop(sessions);
    assert_eq!(data(&home.open(), &id).as_deref(), Some("kept"));
}
