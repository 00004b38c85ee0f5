//! The fixture of a test: a directory for its store, and a clock that only the test moves.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime};

use rusqlite::Connection;
use tempfile::TempDir;
use wasi_sessions::{Builder, Entry, NewSession, Options, Outcome, Session, Sessions, Written};

use crate::command::PROGRAM;

/// The time at which the clock of every test starts.
pub const START: u64 = 1_700_000_000_000;

/// The latest point in time.
pub const END_OF_TIME: u64 = i64::MAX as u64;

/// An hour, in milliseconds.
pub const HOUR: u64 = 3_600_000;

/// A life long enough for tests that are not about lives.
pub const LIFE: Option<Duration> = Some(ms(HOUR));

/// Sizes of the read cache for tests that must not depend on it, in bytes: none, and enough.
pub const READ_CACHES: [usize; 2] = [0, 1 << 20];

/// The user's cache directory for the command line, so that all tests and their processes
/// share one compiled component.
pub static CACHE: LazyLock<PathBuf> = LazyLock::new(|| {
    let cache = PROGRAM.with_file_name("test-cache");
    // One test compiles and the others wait, so that not all compile.
    let scratch = tempfile::tempdir().unwrap();
    let first = Builder::new(scratch.path()).cache_directory(compiled_in(&cache));
    drop(first.open().wait().unwrap());
    cache
});

/// The directory of compiled code in a user's cache directory.
pub fn compiled_in(cache: &Path) -> PathBuf {
    cache.join("wasi-sessions")
}

/// A directory for one store, removed on drop, and the store's clock.
pub struct Home {
    directory: TempDir,
    now: Arc<AtomicU64>,
}

impl Home {
    /// An empty home, whose clock shows [`START`].
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
            now: Arc::new(AtomicU64::new(START)),
        }
    }

    /// The store's directory.
    pub fn path(&self) -> PathBuf {
        self.beside("store")
    }

    /// A path beside the store's directory.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The database's file.
    pub fn database(&self) -> PathBuf {
        self.path().join("sessions.db")
    }

    /// The time of the clock, in milliseconds since the epoch.
    pub fn now(&self) -> u64 {
        self.now.load(Ordering::SeqCst)
    }

    /// Sets the clock, in milliseconds since the epoch.
    pub fn set_clock(&self, now: u64) {
        self.now.store(now, Ordering::SeqCst);
    }

    /// Moves the clock forward.
    pub fn advance(&self, milliseconds: u64) {
        self.now.fetch_add(milliseconds, Ordering::SeqCst);
    }

    /// A builder for the store, with this clock and the compiled code of all tests.
    pub fn builder(&self) -> Builder {
        let now = self.now.clone();
        let builder = Builder::new(self.path())
            .cache_directory(compiled_in(&CACHE))
            .clock(move || moment(now.load(Ordering::SeqCst)));
        // With READ_CACHE=0 the same tests run without a read cache.
        match env::var("READ_CACHE") {
            Ok(bytes) => builder.read_cache(bytes.parse().unwrap()),
            Err(_) => builder,
        }
    }

    /// Opens the store with the defaults.
    pub fn open(&self) -> Sessions {
        self.open_with(Options::default())
    }

    /// Opens the store with these options.
    pub fn open_with(&self, options: Options) -> Sessions {
        self.builder().options(options).open().wait().unwrap()
    }

    /// Opens the store with these options and a read cache of `bytes`.
    pub fn open_with_read_cache(&self, bytes: usize, options: Options) -> Sessions {
        let builder = self.builder().read_cache(bytes).options(options);
        builder.open().wait().unwrap()
    }

    /// Opens the database with SQLite itself; only while no store is open.
    pub fn native(&self) -> Connection {
        fs::create_dir_all(self.path()).unwrap();
        Connection::open(self.database()).unwrap()
    }

    /// Adds a trigger that makes SQLite refuse an operation in stores that are opened
    /// afterwards. `when` is what follows `CREATE TRIGGER name`.
    pub fn sabotage(&self, when: &str) {
        let trigger =
            format!("CREATE TRIGGER sabotage {when} BEGIN SELECT RAISE(ABORT, 'no'); END");
        self.native().execute_batch(&trigger).unwrap();
    }

    /// Removes the trigger of [`sabotage`](Self::sabotage).
    pub fn repair(&self) {
        self.native()
            .execute_batch("DROP TRIGGER sabotage")
            .unwrap();
    }
}

/// A new store with the defaults.
pub fn store() -> (Home, Sessions) {
    store_with(Options::default())
}

/// A new store with these options.
pub fn store_with(options: Options) -> (Home, Sessions) {
    let home = Home::new();
    let sessions = home.open_with(options);
    (home, sessions)
}

/// A span of time from milliseconds.
pub const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// A point in time from milliseconds since the epoch.
pub fn moment(milliseconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(milliseconds)
}

/// Starts a session with this payload and a long life; returns its id.
pub fn create(sessions: &Sessions, data: &str) -> String {
    sessions
        .create(NewSession::new(data).ttl(LIFE))
        .wait()
        .unwrap()
        .id
}

/// Starts a session of this subject with a long life; returns its id.
pub fn create_for(sessions: &Sessions, subject: &str) -> String {
    sessions
        .create(NewSession::new("{}").ttl(LIFE).subject(subject))
        .wait()
        .unwrap()
        .id
}

/// The session, which must exist.
pub fn session(sessions: &Sessions, id: &str) -> Session {
    sessions
        .get(id)
        .wait()
        .unwrap()
        .expect("the session is there")
}

/// The payload of a session as text; `None` if there is no session.
pub fn data(sessions: &Sessions, id: &str) -> Option<String> {
    let session = sessions.get(id).wait().unwrap()?;
    Some(String::from_utf8(session.data).unwrap())
}

/// The entries of all pages of a listing.
pub fn listed(sessions: &Sessions, subject: Option<&str>) -> Vec<Entry> {
    let mut entries = vec![];
    let mut cursor = None;
    loop {
        let page = sessions.list_sessions(subject, cursor.as_deref(), 3);
        let page = page.wait().unwrap();
        entries.extend(page.entries);
        match page.next {
            Some(next) => cursor = Some(next),
            None => return entries,
        }
    }
}

/// The handle of the only session.
pub fn only_handle(sessions: &Sessions) -> String {
    match listed(sessions, None).as_slice() {
        [entry] => entry.handle.clone(),
        entries => panic!("{} sessions are there", entries.len()),
    }
}

/// The result of a write, which must have succeeded.
pub fn written(outcome: Outcome) -> Written {
    match outcome {
        Outcome::Written(written) => written,
        refused => panic!("not written: {refused:?}"),
    }
}
