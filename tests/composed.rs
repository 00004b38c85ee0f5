//! Tests of the web demo composed with the store into one file: many instances on one
//! directory, killed at any point.

use std::collections::BTreeSet;
use std::fs::{self, File, FileTimes};
use std::future::{Future, poll_fn};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use serde_json::Value;
use tokio::runtime::{self, Runtime};
use tokio::task::JoinSet;
use wasi_sessions::{Builder, Sessions};

use crate::fixture::{CACHE, Home, compiled_in, data};
use plain_host::{Answer, Deadline, interrupt, request};

mod native_host;
pub mod plain_host;

/// The number of concurrent requests.
const AT_ONCE: u64 = 32;

/// The age at which a lock counts as dead.
const DEAD_AFTER: Duration = Duration::from_secs(15);

/// How an instance ends before it answers.
#[derive(Clone, Copy)]
enum End {
    /// The caller drops the future.
    Dropped,
    /// It traps when it runs next.
    Trapped,
}

/// Held by the one test that has instances: an instance waits 3 seconds for a lock, in which
/// other tests should not take the processor.
static TURN: Mutex<()> = Mutex::new(());

/// The directory that the instances share, and the runtime that runs them.
struct Place {
    home: Home,
    runtime: Runtime,
    _turn: MutexGuard<'static, ()>,
}

impl Place {
    fn new() -> Self {
        plain_host::prepare();
        let home = Home::new();
        fs::create_dir(home.path()).unwrap();
        Self {
            home,
            runtime: Runtime::new().unwrap(),
            _turn: TURN.lock().unwrap_or_else(PoisonError::into_inner),
        }
    }

    fn path(&self) -> PathBuf {
        self.home.path()
    }

    /// Visits the start page, which counts visits.
    fn visit(&self, cookie: Option<&str>) -> Answer {
        let visit = visit(&self.path(), cookie, Deadline::None);
        self.runtime.block_on(visit).unwrap()
    }

    /// Starts a session with one visit; returns its cookie.
    fn first_visit(&self) -> String {
        let answer = self.visit(None);
        assert_eq!(answer.visits(), 1);
        answer.cookie.expect("a new session has a cookie")
    }

    /// Makes concurrent visits, one for each cookie.
    fn visit_together<'a>(
        &self,
        cookies: impl IntoIterator<Item = Option<&'a str>>,
    ) -> Vec<Answer> {
        let mut visits = JoinSet::new();
        for cookie in cookies {
            let visit = visit(&self.path(), cookie, Deadline::None);
            visits.spawn_on(visit, self.runtime.handle());
        }
        let answers = self.runtime.block_on(visits.join_all());
        answers.into_iter().map(Result::unwrap).collect()
    }

    /// Makes concurrent visits until each has succeeded: a visit that waited for longer than
    /// `syncTimeout` is repeated.
    fn visit_patiently(&self, cookies: &[Option<&str>]) -> Vec<Answer> {
        let mut left = cookies.to_vec();
        let mut answers = vec![];
        while !left.is_empty() {
            let visits = self.visit_together(left.iter().copied());
            let visits: Vec<_> = left.drain(..).zip(visits).collect();
            for (cookie, answer) in visits {
                match answer.status {
                    503 => left.push(cookie),
                    _ => answers.push(answer),
                }
            }
        }
        answers
    }

    /// Runs [`visit_cut_short`] in its own runtime; when this returns, no work of the visit
    /// continues.
    fn cut_short(&self, cookie: &str, waits: usize, end: End) -> Option<Answer> {
        let visit = visit_cut_short(self.path(), cookie.to_owned(), waits, end);
        let runtime = runtime::Builder::new_current_thread().enable_all().build();
        runtime.unwrap().block_on(visit)
    }

    /// The path of the lock, which a dead instance leaves behind.
    fn lock(&self) -> PathBuf {
        self.path().join("sessions.db.lock")
    }

    /// Makes the lock of a dead instance old enough to be removed; false if there is none.
    fn let_the_lock_grow_old(&self) -> bool {
        let Ok(directory) = File::open(self.lock()) else {
            return false;
        };
        let tokens = fs::read_dir(self.lock()).unwrap();
        let tokens = tokens.map(|token| File::open(token.unwrap().path()).unwrap());
        for file in tokens.chain([directory]) {
            let taken = file.metadata().unwrap().modified().unwrap();
            let before = taken - DEAD_AFTER - Duration::from_secs(1);
            file.set_times(FileTimes::new().set_modified(before))
                .unwrap();
        }
        true
    }

    /// The native host on the directory.
    fn builder(&self) -> Builder {
        Builder::new(self.path()).cache_directory(compiled_in(&CACHE))
    }

    /// Opens the database with the native host.
    fn open(&self) -> Sessions {
        self.builder().open().wait().unwrap()
    }
}

fn visit(
    directory: &Path,
    cookie: Option<&str>,
    deadline: Deadline,
) -> impl Future<Output = wasmtime::Result<Answer>> + Send + 'static {
    request(directory, "/", cookie, deadline)
}

/// The id of a session in its cookie.
fn id(cookie: &str) -> &str {
    cookie.split_once('=').unwrap().1
}

/// The visits that a session has counted.
fn visits(sessions: &Sessions, cookie: &str) -> u64 {
    let data = data(sessions, id(cookie)).expect("the session is there");
    let data: Value = serde_json::from_str(&data).unwrap();
    data["visits"].as_u64().unwrap()
}

/// A visit that ends after its instance has waited `waits` times; returns the answer if it
/// came before.
async fn visit_cut_short(
    directory: PathBuf,
    cookie: String,
    waits: usize,
    end: End,
) -> Option<Answer> {
    let deadline = match end {
        End::Dropped => Deadline::None,
        End::Trapped => Deadline::Interrupt,
    };
    let mut visit = pin!(visit(&directory, Some(&cookie), deadline));
    let mut waited = 0;
    poll_fn(|context| {
        let answer = match visit.as_mut().poll(context) {
            Poll::Ready(answer) => return Poll::Ready(answer.ok()),
            Poll::Pending => None,
        };
        waited += 1;
        match end {
            End::Dropped if waited > waits => Poll::Ready(answer),
            End::Trapped if waited > waits => {
                interrupt();
                Poll::Pending
            }
            _ => Poll::Pending,
        }
    })
    .await
}

#[test]
fn a_session_is_shared_by_instances_and_a_native_host() {
    let place = Place::new();
    let cookie = place.first_visit();
    for visits in 2..=5 {
        assert_eq!(place.visit(Some(&cookie)).visits(), visits);
    }
    let sessions = place.open();
    assert_eq!(visits(&sessions, &cookie), 5);
    assert_eq!(sessions.check().wait(), Ok(vec![]));
}

#[test]
fn many_instances_open_a_new_database_concurrently() {
    let place = Place::new();
    let answers = place.visit_patiently(&[None; AT_ONCE as usize]);
    let cookies: BTreeSet<String> = answers
        .into_iter()
        .map(|answer| {
            assert_eq!(answer.visits(), 1);
            answer.cookie.unwrap()
        })
        .collect();
    assert_eq!(cookies.len() as u64, AT_ONCE);

    let sessions = place.open();
    assert_eq!(sessions.count_sessions(None).wait(), Ok(AT_ONCE));
    assert!(cookies.iter().all(|cookie| visits(&sessions, cookie) == 1));
    assert_eq!(sessions.check().wait(), Ok(vec![]));
}

#[test]
fn many_instances_that_count_in_one_session_lose_no_update() {
    let place = Place::new();
    let cookie = place.first_visit();
    let answers = place.visit_patiently(&[Some(cookie.as_str()); AT_ONCE as usize]);
    let counted: BTreeSet<u64> = answers.iter().map(Answer::visits).collect();
    assert_eq!(counted, (2..AT_ONCE + 2).collect());
    assert_eq!(visits(&place.open(), &cookie), AT_ONCE + 1);
}

#[test]
fn an_instance_can_be_dropped_at_any_point() {
    end_everywhere(End::Dropped);
}

#[test]
fn an_instance_can_trap_at_any_point() {
    end_everywhere(End::Trapped);
}

/// Ends visits early, each a step later than the one before, until one is answered.
fn end_everywhere(end: End) {
    let place = Place::new();
    let cookie = place.first_visit();
    let mut counted = 1;
    let mut locks = 0;
    for waits in 0.. {
        let answer = place.cut_short(&cookie, waits, end);
        if let Some(answer) = &answer {
            assert_eq!(answer.visits(), counted + 1);
            counted += 1;
        }
        locks += u64::from(place.let_the_lock_grow_old());

        // Answered visits are kept, and no instance is locked out. The unanswered visit may
        // be counted or not.
        let next = place.visit(Some(&cookie)).visits();
        let kept = next - counted;
        assert!(kept == 1 || (kept == 2 && answer.is_none()), "{waits}");
        counted = next;
        if answer.is_some() {
            break;
        }
    }
    assert!(locks > 0, "none was ended while it had the lock");
    let sessions = place.open();
    assert_eq!(visits(&sessions, &cookie), counted);
    assert_eq!(sessions.check().wait(), Ok(vec![]));
}

#[test]
fn many_instances_that_find_a_dead_lock_together_remove_only_that_lock() {
    let place = Place::new();
    let cookie = place.first_visit();
    let mut counted = 1;
    for waits in (0..).step_by(7) {
        let ended = place.cut_short(&cookie, waits, End::Dropped);
        let left_its_lock = place.let_the_lock_grow_old();
        let answers = place.visit_patiently(&[Some(cookie.as_str()); AT_ONCE as usize]);
        let answers: BTreeSet<u64> = answers.iter().map(Answer::visits).collect();

        // The visit that ended early may have been counted.
        let first = *answers.first().unwrap();
        assert!(first == counted + 1 || first == counted + 2, "{first}");
        assert_eq!(answers, (first..first + AT_ONCE).collect());
        counted = first + AT_ONCE - 1;
        if !left_its_lock && ended.is_some() {
            break;
        }
    }
    let sessions = place.open();
    assert_eq!(visits(&sessions, &cookie), counted);
    assert_eq!(sessions.check().wait(), Ok(vec![]));
}

#[test]
fn killed_instances_do_not_harm_concurrent_ones() {
    let place = Place::new();
    let cookies: Vec<String> = (0..AT_ONCE).map(|_| place.first_visit()).collect();
    let mut victims = JoinSet::new();
    for (number, cookie) in cookies.iter().enumerate() {
        let end = [End::Dropped, End::Trapped][number % 2];
        let directory = place.path();
        let visit = visit_cut_short(directory, cookie.clone(), 20 * number, end);
        victims.spawn_on(visit, place.runtime.handle());
    }
    let visitors = || cookies.iter().map(|cookie| Some(cookie.as_str()));
    let answers = place.visit_together(visitors());
    let ended = place.runtime.block_on(victims.join_all());
    assert!(ended.iter().any(Option::is_none), "no instance was killed");

    // Until the lock of a killed instance counts as dead, the store is busy for others.
    assert!(
        answers
            .iter()
            .all(|answer| [200, 503].contains(&answer.status))
    );
    place.let_the_lock_grow_old();
    let all: Vec<Option<&str>> = visitors().collect();
    let last = place.visit_patiently(&all);
    assert!(last.iter().all(|answer| answer.status == 200));

    let sessions = place.open();
    let answered = |answer: &Answer| u64::from(answer.status == 200);
    let least: u64 = answers.iter().map(answered).sum();
    let counted: u64 = cookies.iter().map(|cookie| visits(&sessions, cookie)).sum();
    let first_and_last = 2 * AT_ONCE;
    assert!(counted >= first_and_last + least, "{counted} of {least}");
    assert!(
        counted <= first_and_last + least + AT_ONCE,
        "{counted} of {least}"
    );
    assert_eq!(sessions.check().wait(), Ok(vec![]));
}
