//! Tests of what this crate promises beyond the contract, with the real component.

mod collection;
mod groups;

use std::fs;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};
use std::thread;
use std::time::{Duration, SystemTime};

use rusqlite::Connection;
use tempfile::TempDir;

use crate::{Answer, Builder, Created, Error, NewSession, Options, Outcome, Request, Sessions};

/// The tests' cache of compiled code, so that few of them compile.
pub(crate) const COMPILED: &str = concat!(env!("OUT_DIR"), "/compiled");

/// A span of time from milliseconds.
pub(crate) const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// A builder for a store that does not collect while it is idle, which a machine that stalls
/// can make it at any time.
pub(crate) fn builder(home: &TempDir) -> Builder {
    let mut builder = Builder::new(home.path().join("store")).cache_directory(COMPILED);
    builder.settings.idle = Duration::from_secs(86_400);
    builder
}

pub(crate) fn home() -> TempDir {
    tempfile::tempdir().unwrap()
}

pub(crate) fn create(sessions: &Sessions, data: &str) -> Created {
    sessions.create(data).wait().unwrap()
}

fn data(sessions: &Sessions, id: &str) -> Vec<u8> {
    sessions.get(id).wait().unwrap().unwrap().data
}

/// A store whose component has less memory than the longest payload needs.
pub(crate) fn open_small(home: &TempDir) -> Sessions {
    let options = Options {
        max_data: 64 << 20,
        ..Options::default()
    };
    let small = builder(home).memory_limit(8 << 20).options(options);
    small.open().wait().unwrap()
}

pub(crate) fn crash(sessions: &Sessions) {
    let overlong = vec![0; 16 << 20];
    let crashed = sessions.create(overlong).wait();
    assert_eq!(crashed, Err(Error::Crashed));
}

#[test]
fn a_crash_fails_its_request_and_loses_nothing_that_was_answered() {
    let home = home();
    let sessions = open_small(&home);
    for round in 0..3 {
        let before = create(&sessions, "kept");
        crash(&sessions);
        assert_eq!(data(&sessions, &before.id), b"kept");
        assert_eq!(sessions.count_sessions(None).wait(), Ok(round + 1));
    }
    assert_eq!(sessions.check().wait(), Ok(vec![]));
}

#[test]
fn a_crash_does_not_let_another_owner_in() {
    let home = home();
    let sessions = open_small(&home);
    crash(&sessions);
    let refused = builder(&home).open().wait().unwrap_err();
    let directory = home.path().join("store");
    assert_eq!(refused, Error::InUse { directory });
}

#[test]
fn a_failed_restart_is_an_error_and_is_retried_at_the_next_request() {
    let home = home();
    let sessions = open_small(&home);
    let before = create(&sessions, "kept");
    crash(&sessions);

    let journal = home.path().join("store/sessions.db-journal");
    fs::create_dir(&journal).unwrap();
    assert!(matches!(
        sessions.get(&before.id).wait(),
        Err(Error::Directory { .. })
    ));
    fs::remove_dir(&journal).unwrap();
    assert_eq!(data(&sessions, &before.id), b"kept");
}

#[test]
fn a_store_that_fails_to_open_releases_the_directory() {
    let home = home();
    let starved = builder(&home).memory_limit(1 << 16).open().wait();
    assert!(matches!(starved, Err(Error::Start(_))));
    let invalid = Options {
        table_name: "no table".to_owned(),
        ..Options::default()
    };
    let refused = builder(&home).options(invalid).open().wait();
    assert!(matches!(refused, Err(Error::InvalidArgument(_))));
    builder(&home).open().wait().unwrap();
}

#[test]
fn dropping_the_last_handle_closes_the_database_and_frees_the_directory() {
    let home = home();
    let sessions = builder(&home).open().wait().unwrap();
    let created = create(&sessions, "kept");
    let log = home.path().join("store/sessions.db-wal");
    assert!(log.exists());

    let clone = sessions.clone();
    drop(sessions);
    assert_eq!(data(&clone, &created.id), b"kept");
    drop(clone);
    assert!(!log.exists());
    let sessions = builder(&home).open().wait().unwrap();
    assert_eq!(data(&sessions, &created.id), b"kept");
}

#[test]
fn an_answer_is_lazy_and_keeps_the_store_open() {
    let home = home();
    let sessions = builder(&home).open().wait().unwrap();
    let dropped = sessions.set("dropped", "", None);
    let kept = sessions.set("kept", "", None);
    drop(dropped);
    assert_eq!(sessions.count_sessions(None).wait(), Ok(0));

    drop(sessions);
    assert!(matches!(
        builder(&home).open().wait(),
        Err(Error::InUse { .. })
    ));
    assert!(matches!(kept.wait(), Ok(Outcome::Written(_))));
    let sessions = builder(&home).open().wait().unwrap();
    assert_eq!(sessions.count_sessions(None).wait(), Ok(1));
}

#[test]
fn handles_are_send_and_sync_and_answers_are_send() {
    fn shared<T: Send + Sync + 'static>() {}
    fn sent<T: Send + 'static>() {}
    shared::<Sessions>();
    shared::<Error>();
    sent::<Answer<Created>>();
    sent::<Builder>();
}

#[tokio::test]
async fn more_requests_than_the_queue_holds_are_all_answered() {
    let home = home();
    let sessions = builder(&home).open().await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..3_000 {
        tasks.spawn(sessions.set(&n.to_string(), "", None));
    }
    for outcome in tasks.join_all().await {
        assert!(matches!(outcome, Ok(Outcome::Written(_))));
    }
    assert_eq!(sessions.count_sessions(None).await, Ok(3_000));
}

#[test]
fn the_clock_and_the_randomness_can_be_replaced() {
    let home = home();
    let now = Arc::new(AtomicU64::new(1_000));
    let clock = now.clone();
    let sessions = builder(&home)
        .clock(move || {
            SystemTime::UNIX_EPOCH + Duration::from_millis(clock.load(Ordering::Relaxed))
        })
        .random(|bytes| bytes.fill(0))
        .open()
        .wait()
        .unwrap();
    let created = sessions
        .create(NewSession::new("").ttl(ms(500)))
        .wait()
        .unwrap();
    assert_eq!(created.id, "A".repeat(43));
    assert_eq!(created.expires, 1_500);
    now.store(1_499, Ordering::Relaxed);
    assert!(sessions.get(&created.id).wait().unwrap().is_some());
    now.store(1_500, Ordering::Relaxed);
    assert_eq!(sessions.get(&created.id).wait(), Ok(None));
}

#[test]
fn a_clock_that_panics_closes_the_store_and_frees_the_directory() {
    let home = home();
    let broken = builder(&home).clock(|| panic!("a clock that panics, in a test"));
    assert_eq!(broken.open().wait().unwrap_err(), Error::Closed);
    builder(&home).open().wait().unwrap();
}

#[test]
fn a_batch_replies_to_each_request() {
    let home = home();
    let sessions = builder(&home).open().wait().unwrap();
    let requests = vec![
        Request::Set {
            id: String::new(),
            data: vec![],
            ttl: None,
        },
        Request::Set {
            id: "id".to_owned(),
            data: vec![],
            ttl: None,
        },
        Request::Destroy {
            id: "id".to_owned(),
        },
    ];
    let replies = sessions.batch(requests).wait().unwrap();
    assert_eq!(replies.len(), 3);
    assert!(matches!(replies[0], Err(Error::InvalidArgument(_))));
    assert_eq!(replies[2], Ok(crate::Reply::Destroyed(true)));
    assert_eq!(sessions.batch(vec![]).wait(), Ok(vec![]));
}

#[test]
fn a_backup_is_a_store_of_its_own() {
    let home = home();
    let sessions = builder(&home).open().wait().unwrap();
    let created = create(&sessions, "kept");
    let elsewhere = tempfile::tempdir().unwrap();
    let copy = elsewhere.path().join("copy.db");
    sessions.backup(&copy).wait().unwrap();
    let again = sessions.backup(&copy).wait();
    assert!(matches!(again, Err(Error::InvalidArgument(_))));
    create(&sessions, "later");

    let restored = Builder::new(elsewhere.path())
        .cache_directory(COMPILED)
        .file_name("copy.db")
        .open()
        .wait()
        .unwrap();
    assert_eq!(data(&restored, &created.id), b"kept");
    assert_eq!(restored.count_sessions(None).wait(), Ok(1));
    assert_eq!(restored.check().wait(), Ok(vec![]));
}

/// Creates a database in which an INSERT or UPDATE of the payload `!` rolls the whole
/// transaction back.
pub(crate) fn refuse(home: &TempDir, statement: &str) {
    drop(builder(home).open().wait().unwrap());
    let database = Connection::open(home.path().join("store/sessions.db")).unwrap();
    let trigger = format!(
        "CREATE TRIGGER refuse BEFORE {statement} ON Sessions WHEN NEW.data = x'21'
         BEGIN SELECT RAISE(ROLLBACK, 'refused'); END"
    );
    database.execute_batch(&trigger).unwrap();
}

/// Queues the requests of all answers behind a request that blocks the store, and then waits
/// for all. Also returns how often the store read the clock for them: once for each
/// transaction.
pub(crate) fn behind_one_another<T>(
    builder: Builder,
    answers: impl FnOnce(&Sessions) -> Vec<Answer<T>>,
) -> (Vec<Result<T, Error>>, u64) {
    let readings = Arc::new(AtomicU64::new(0));
    let held_up = Arc::new(Mutex::new(()));
    let clock = {
        let (readings, held_up) = (readings.clone(), held_up.clone());
        move || {
            readings.fetch_add(1, Ordering::SeqCst);
            drop(held_up.lock());
            SystemTime::now()
        }
    };
    let sessions = builder.clock(clock).open().wait().unwrap();
    let mut answers = answers(&sessions);
    let before = readings.load(Ordering::SeqCst);
    let hold = held_up.lock().unwrap();
    let mut first = sessions.count_sessions(None);
    let mut context = Context::from_waker(Waker::noop());
    assert!(Pin::new(&mut first).poll(&mut context).is_pending());
    while readings.load(Ordering::SeqCst) == before {
        thread::yield_now();
    }
    for answer in &mut answers {
        assert!(Pin::new(answer).poll(&mut context).is_pending());
    }
    drop(hold);
    let answers = answers.into_iter().map(Answer::wait).collect();
    (answers, readings.load(Ordering::SeqCst) - before - 1)
}

#[cfg(unix)]
#[test]
fn a_new_database_is_for_this_user_alone_and_its_log_has_the_same_permissions() {
    use std::os::unix::fs::PermissionsExt;
    let home = home();
    let store = home.path().join("store");
    fs::create_dir(&store).unwrap();
    fs::set_permissions(&store, fs::Permissions::from_mode(0o755)).unwrap();
    let file = |name: &str| store.join(name);
    let mode = |name: &str| fs::metadata(file(name)).unwrap().permissions().mode() & 0o777;

    let sessions = builder(&home).open().wait().unwrap();
    let modes = (mode("sessions.db"), mode("sessions.db-wal"));
    assert_eq!(modes, (0o600, 0o600));
    drop(sessions);

    fs::set_permissions(file("sessions.db"), fs::Permissions::from_mode(0o640)).unwrap();
    let sessions = builder(&home).open().wait().unwrap();
    create(&sessions, "{}");
    let modes = (mode("sessions.db"), mode("sessions.db-wal"));
    assert_eq!(modes, (0o640, 0o640));
}
