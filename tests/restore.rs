//! Tests of restoring a backup: the database is replaced completely, or not at all.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime};

use wasi_sessions::{Builder, Error, Options, Sessions};

use crate::command::{Writer, command, run_cli};
use crate::fixture::{Home, LIFE, create, data, listed, store};

/// A store that was killed after a backup, and the backup, which has one session. Sessions
/// written after the backup are in the store's WAL.
struct Killed {
    home: Home,
    copy: PathBuf,
    id: String,
}

impl Killed {
    fn new() -> Self {
        let home = Home::new();
        let copy = home.beside("copy.db");
        let id = run_cli(&home, &["create", r#"{"copy":true}"#])
            .line()
            .to_owned();
        let written = run_cli(&home, &["backup", copy.to_str().unwrap()]);
        assert_eq!(written.code, 0, "{}", written.errors);
        let mut writer = Writer::start(&home);
        writer.answered_lines(20);
        writer.kill();
        assert!(fs::metadata(log(&home)).unwrap().len() > 0);
        Self { home, copy, id }
    }

    /// A copy of all files in other directories.
    fn duplicate(&self) -> Self {
        let home = Home::new();
        fs::create_dir(home.path()).unwrap();
        for file in fs::read_dir(self.home.path()).unwrap() {
            let file = file.unwrap();
            if file.file_type().unwrap().is_dir() {
                // The lock of the killed process.
                continue;
            }
            fs::copy(file.path(), home.path().join(file.file_name())).unwrap();
        }
        let copy = home.beside("copy.db");
        fs::copy(&self.copy, &copy).unwrap();
        let id = self.id.clone();
        Self { home, copy, id }
    }

    fn restore(&self) -> Result<(), Error> {
        self.home.builder().restore(&self.copy).wait()
    }

    /// Opens the store and checks that it has the sessions of the copy, and no
    /// others.
    fn holds_the_copy(&self) -> Sessions {
        let sessions = self.home.open();
        assert_eq!(
            data(&sessions, &self.id).as_deref(),
            Some(r#"{"copy":true}"#)
        );
        assert_eq!(listed(&sessions, None).len(), 1);
        assert_eq!(sessions.check().wait(), Ok(vec![]));
        sessions
    }

    /// Sets the store's clock to the real time, which the restoring process uses.
    fn on_time(self) -> Self {
        let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
        self.home.set_clock(now.as_millis() as u64);
        self
    }
}

fn log(home: &Home) -> PathBuf {
    home.path().join("sessions.db-wal")
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_backup_copied_over_a_killed_database_is_served_and_the_old_log_is_not_replayed() {
    let killed = Killed::new().on_time();
    fs::copy(&killed.copy, killed.home.database()).unwrap();
    let sessions = killed.holds_the_copy();
    // Later writes are kept as usual.
    let id = create(&sessions, "later");
    drop(sessions);
    assert_eq!(data(&killed.home.open(), &id).as_deref(), Some("later"));
}

#[test]
fn a_backup_renamed_over_a_killed_database_is_served_and_the_old_log_is_not_replayed() {
    let killed = Killed::new().on_time();
    fs::rename(&killed.copy, killed.home.database()).unwrap();
    killed.holds_the_copy();
}

#[test]
fn restore_replaces_a_killed_database_and_its_log() {
    let killed = Killed::new().on_time();
    let before = fs::read(&killed.copy).unwrap();
    let copy = killed.copy.to_str().unwrap();
    let ran = run_cli(&killed.home, &["restore", copy, "--json"]);
    let size = before.len();
    assert_eq!(
        ran.json(),
        serde_json::json!({ "file": copy, "size": size })
    );
    assert_eq!(names(&killed.home.path()), ["sessions.db"]);
    assert_eq!(
        fs::metadata(killed.home.database()).unwrap().mode() & 0o777,
        0o600
    );
    killed.holds_the_copy();
    assert!(fs::read(&killed.copy).unwrap() == before);

    // Again, with a database that was closed.
    killed.restore().unwrap();
    killed.holds_the_copy();
}

#[test]
fn restore_creates_a_missing_directory_and_keeps_the_permissions_of_a_database() {
    let killed = Killed::new().on_time();
    let other = Home::new();
    other.set_clock(killed.home.now());
    other.builder().restore(&killed.copy).wait().unwrap();
    assert_eq!(fs::metadata(other.path()).unwrap().mode() & 0o777, 0o700);
    fs::set_permissions(other.database(), Permissions::from_mode(0o640)).unwrap();
    other.builder().restore(&killed.copy).wait().unwrap();
    assert_eq!(
        fs::metadata(other.database()).unwrap().mode() & 0o777,
        0o640
    );
    assert_eq!(
        data(&other.open(), &killed.id).as_deref(),
        Some(r#"{"copy":true}"#)
    );

    // The backup may be inside the directory, or a link.
    let inside = other.path().join("kept.db");
    fs::copy(&killed.copy, &inside).unwrap();
    let link = other.beside("latest.db");
    symlink(&inside, &link).unwrap();
    for copy in [inside, link] {
        other.builder().restore(&copy).wait().unwrap();
        assert!(copy.exists());
        assert_eq!(listed(&other.open(), None).len(), 1);
    }
}

#[test]
fn a_directory_in_use_is_not_restored_to() {
    let (home, sessions) = store();
    let id = create(&sessions, "{}");
    let copy = home.beside("copy.db");
    sessions.backup(&copy).wait().unwrap();
    let restored = home.builder().restore(&copy).wait();
    assert!(matches!(restored, Err(Error::InUse { .. })), "{restored:?}");
    let ran = run_cli(&home, &["restore", copy.to_str().unwrap()]);
    assert_eq!(ran.code, 4, "{}", ran.errors);
    assert_eq!(data(&sessions, &id).as_deref(), Some("{}"));
}

/// Checks that the copy is refused with an error that names it, and that nothing is changed but
/// the lock that the killed process has left.
fn refused(killed: &Killed, copy: &Path, fits: fn(&Error) -> bool) {
    let content = || {
        let read = |name| (fs::read(killed.home.path().join(&name)).unwrap(), name);
        let names = names(&killed.home.path()).into_iter();
        let files = names.filter(|name| name != "sessions.db.lock");
        files.map(read).collect::<Vec<_>>()
    };
    let before = content();
    let copied = fs::metadata(copy).is_ok_and(|copy| copy.is_file());
    let copied = copied.then(|| fs::read(copy).unwrap());
    let error = killed.home.builder().restore(copy).wait().unwrap_err();
    assert!(fits(&error), "{error:?}");
    let words = error.to_string();
    assert!(words.contains(copy.to_str().unwrap()), "{words}");
    assert!(content() == before, "{words}");
    if let Some(copied) = copied {
        assert!(fs::read(copy).unwrap() == copied, "{words}");
    }
}

fn is_invalid(error: &Error) -> bool {
    matches!(error, Error::InvalidArgument(_))
}

fn is_corrupt(error: &Error) -> bool {
    matches!(error, Error::Corrupt(_))
}

#[test]
fn a_copy_that_is_not_a_file_is_refused() {
    let killed = Killed::new();
    let beside = |name| killed.home.beside(name);
    refused(&killed, &beside("missing.db"), is_invalid);
    refused(&killed, &killed.home.path(), is_invalid);
    symlink(beside("missing.db"), beside("dangling.db")).unwrap();
    refused(&killed, &beside("dangling.db"), is_invalid);
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mkfifoat(rustix::fs::CWD, beside("pipe.db"), mode).unwrap();
    refused(&killed, &beside("pipe.db"), is_invalid);
    refused(&killed, Path::new("/dev/null"), is_invalid);
}

#[test]
fn a_copy_that_is_the_database_or_belongs_to_it_is_refused() {
    let killed = Killed::new();
    let again = killed.home.beside("again.db");
    fs::hard_link(killed.home.database(), &again).unwrap();
    for copy in [killed.home.database(), again, log(&killed.home)] {
        refused(&killed, &copy, is_invalid);
    }
    let link = killed.home.beside("link.db");
    symlink(killed.home.database(), &link).unwrap();
    refused(&killed, &link, is_invalid);
}

#[test]
fn a_database_in_use_with_shared_access_is_not_restored_to() {
    let killed = Killed::new();
    let lock = killed.home.path().join("sessions.db.lock");
    // In the place of the lock that the killed process has left.
    fs::remove_dir_all(&lock).unwrap();
    fs::create_dir(&lock).unwrap();
    let token = File::create(lock.join("0123456789abcdef")).unwrap();
    let at = |file: &File, time| file.set_modified(time).unwrap();
    let (now, minute) = (SystemTime::now(), Duration::from_secs(60));
    // The owner renews its token, not the directory.
    at(&File::open(&lock).unwrap(), now - minute);
    for alive in [now, now + minute] {
        at(&token, alive);
        let impatient = Options {
            sync_timeout: Duration::ZERO,
            ..Options::default()
        };
        let builder = killed.home.builder().options(impatient);
        let restored = builder.restore(&killed.copy).wait();
        let Err(Error::InUse { directory }) = restored else {
            panic!("{restored:?}");
        };
        assert_eq!(directory, killed.home.path());
    }
    at(&token, now - minute);
    killed.restore().unwrap();
    killed.holds_the_copy();
}

#[test]
fn a_database_in_use_is_refused_as_a_copy() {
    let killed = Killed::new();
    let other = killed.duplicate();
    // A database after a crash, with its WAL beside it …
    refused(&killed, &other.home.database(), is_invalid);
    // … or with a journal.
    let journalled = killed.home.beside("journalled.db");
    fs::copy(&killed.copy, &journalled).unwrap();
    fs::write(killed.home.beside("journalled.db-journal"), "hot").unwrap();
    refused(&killed, &journalled, is_invalid);
    // An open database is locked.
    let _open = other.home.open();
    fs::hard_link(other.home.database(), killed.home.beside("open.db")).unwrap();
    refused(&killed, &killed.home.beside("open.db"), is_invalid);
}

#[test]
fn a_copy_that_is_not_a_sound_database_of_this_store_is_refused() {
    let killed = Killed::new();
    let whole = fs::read(&killed.copy).unwrap();
    let copy = killed.home.beside("odd.db");
    let mut damaged = whole.clone();
    for page in damaged.chunks_mut(4096).skip(1) {
        page[..64].fill(0xa5);
    }
    for content in [
        &b"a letter to my mother"[..],
        &whole[..whole.len() - 4096],
        &whole[..50],
        &damaged,
    ] {
        fs::write(&copy, content).unwrap();
        refused(&killed, &copy, is_corrupt);
    }
    // An empty file and a database with another table are refused, too.
    fs::write(&copy, "").unwrap();
    refused(&killed, &copy, is_invalid);
    fs::remove_file(&copy).unwrap();
    let native = rusqlite::Connection::open(&copy).unwrap();
    native.execute_batch("CREATE TABLE a (b)").unwrap();
    drop(native);
    refused(&killed, &copy, is_invalid);
}

#[test]
fn leftovers_of_a_killed_restore_are_removed_and_refused_as_a_copy() {
    let killed = Killed::new();
    let left = killed.home.path().join(".wasi-sessions.restore");
    fs::create_dir(&left).unwrap();
    let half = left.join("sessions.db");
    fs::copy(&killed.copy, &half).unwrap();
    let error = killed.home.builder().restore(&half).wait().unwrap_err();
    assert!(is_invalid(&error), "{error}");
    assert!(half.exists());
    drop(killed.home.open());
    assert!(!left.exists());
}

#[test]
fn a_restore_killed_at_any_moment_leaves_the_old_database_or_the_copy() {
    let killed = Killed::new().on_time();
    let old = {
        let before = killed.duplicate();
        before.home.set_clock(killed.home.now());
        listed(&before.home.open(), None)
    };
    assert!(old.len() > 1);

    // First measures how long a restore takes that is not killed.
    let start = |killed: &Killed| {
        command(&killed.home, &["restore", killed.copy.to_str().unwrap()])
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    };
    let started = Instant::now();
    assert!(start(&killed.duplicate()).wait().unwrap().success());
    let whole = started.elapsed();

    const ROUNDS: u32 = 16;
    for round in 0..ROUNDS {
        let round_of = killed.duplicate();
        round_of.home.set_clock(killed.home.now());
        let started = Instant::now();
        let mut child = start(&round_of);
        while started.elapsed() < whole * round / ROUNDS {
            std::thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();

        let sessions = round_of.home.open();
        let now = listed(&sessions, None);
        assert!(now == old || now.len() == 1, "round {round}: {}", now.len());
        assert_eq!(sessions.check().wait(), Ok(vec![]), "round {round}");
        drop(sessions);
        let left = names(&round_of.home.path());
        assert!(left.iter().all(|name| name.starts_with("sessions.db")));
        round_of.restore().unwrap();
        round_of.holds_the_copy();
    }
}

#[test]
fn a_restore_killed_before_it_removed_the_old_log_is_complete() {
    // The rename completes a restore; if it is killed after that, these files are left.
    let killed = Killed::new().on_time();
    let old_log = fs::read(log(&killed.home)).unwrap();
    killed.restore().unwrap();
    fs::write(log(&killed.home), old_log).unwrap();
    killed.holds_the_copy();
}

#[test]
fn a_restored_store_can_be_written_and_restored_again() {
    let (home, sessions) = store();
    let kept = create(&sessions, "kept");
    let copy = home.beside("copy.db");
    sessions.backup(&copy).wait().unwrap();
    let lost = create(&sessions, "lost");
    drop(sessions);
    Builder::restore(home.builder(), &copy).wait().unwrap();
    let sessions = home.open();
    assert_eq!(data(&sessions, &kept).as_deref(), Some("kept"));
    assert_eq!(data(&sessions, &lost), None);
    sessions.set(&kept, "later", LIFE).wait().unwrap();
    let second = home.beside("second.db");
    sessions.backup(&second).wait().unwrap();
    drop(sessions);
    home.builder().restore(&second).wait().unwrap();
    assert_eq!(data(&home.open(), &kept).as_deref(), Some("later"));
}
