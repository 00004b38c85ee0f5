//! What is answered from memory while others write.

use std::panic::resume_unwind;
use std::sync::Arc;
// These are no steps of a schedule.
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use shuttle::{future, thread};
use test_threads::disk;
use test_threads::{NewSession, Options, Sessions, check};

use crate::{builder, is_written, join, open, relaxed};

/// Ends Alice's sessions.
type End = fn(&Sessions, &str);

/// Ends a session while others read it, which must not find it once the ending was
/// answered.
fn ended_while_read(options: Options, end: End) {
    let sessions = open(options);
    let id = sessions.create(NewSession::new("{}").subject("alice"));
    let id = id.wait().unwrap().id;
    let ended = Arc::new(AtomicBool::new(false));
    let readers = [false, true].map(|waits| {
        let (sessions, id, ended) = (sessions.clone(), id.clone(), ended.clone());
        thread::spawn(move || {
            for _ in 0..3 {
                let has_ended = ended.load(Ordering::SeqCst);
                let answer = sessions.get(&id);
                let found = match waits {
                    true => answer.wait(),
                    false => future::block_on(answer),
                };
                let found = found.unwrap();
                assert!(!has_ended || found.is_none(), "an ended session is found");
            }
        })
    });
    end(&sessions, &id);
    ended.store(true, Ordering::SeqCst);
    assert_eq!(sessions.get(&id).wait(), Ok(None));
    join(readers);
    assert_eq!(sessions.get(&id).wait(), Ok(None));
}

#[test]
fn a_destroyed_session_is_not_found() {
    check(|| {
        ended_while_read(relaxed(), |sessions, id| {
            assert_eq!(sessions.destroy(id).wait(), Ok(true));
        });
    });
}

#[test]
fn a_session_that_was_destroyed_through_the_queue_is_not_found() {
    check(|| {
        ended_while_read(Options::default(), |sessions, id| {
            assert_eq!(future::block_on(sessions.destroy(id)), Ok(true));
        });
    });
}

#[test]
fn a_rotated_session_is_not_found() {
    check(|| {
        ended_while_read(relaxed(), |sessions, id| {
            assert!(sessions.rotate(id, None).wait().unwrap().is_some());
        });
    });
}

#[test]
fn a_session_of_a_subject_that_was_logged_out_is_not_found() {
    check(|| {
        ended_while_read(relaxed(), |sessions, _| {
            assert_eq!(sessions.terminate_subject("alice", None).wait(), Ok(1));
        });
    });
}

#[test]
fn a_session_that_a_log_in_ended_is_not_found() {
    let options = || Options {
        max_per_subject: Some(1),
        ..relaxed()
    };
    check(move || {
        ended_while_read(options(), |sessions, _| {
            let log_in = NewSession::new("{}").subject("alice");
            assert!(sessions.create(log_in).wait().is_ok());
        });
    });
}

#[test]
fn a_cleared_session_is_not_found() {
    check(|| {
        ended_while_read(relaxed(), |sessions, _| {
            assert_eq!(future::block_on(sessions.clear()), Ok(1));
        });
    });
}

#[test]
fn what_is_read_is_not_older_than_what_was_answered() {
    check(|| {
        let sessions = open(relaxed());
        assert!(is_written(&sessions.set("id", "", None).wait()));
        let answered = Arc::new(AtomicU64::new(1));
        let writers = [false, true].map(|waits| {
            let (sessions, answered) = (sessions.clone(), answered.clone());
            thread::spawn(move || {
                for _ in 0..2 {
                    let answer = sessions.set("id", "", None);
                    let outcome = match waits {
                        true => answer.wait(),
                        false => future::block_on(answer),
                    };
                    let test_threads::Outcome::Written(written) = outcome.unwrap() else {
                        panic!("the session is there");
                    };
                    answered.fetch_max(written.version, Ordering::SeqCst);
                }
            })
        });
        let (reading, seen) = (sessions.clone(), answered.clone());
        let reader = future::spawn(async move {
            for _ in 0..4 {
                let least = seen.load(Ordering::SeqCst);
                let session = reading.get("id").await.unwrap().unwrap();
                assert!(session.version >= least, "{} < {least}", session.version);
            }
        });
        join(writers);
        future::block_on(reader).unwrap();
        let last = sessions.get("id").wait().unwrap().unwrap();
        assert_eq!(last.version, 5);
    });
}

#[test]
fn a_closed_store_answers_nothing_from_memory_once_another_owner_has_the_directory() {
    check(|| {
        let broken = builder(relaxed()).random(|_| resume_unwind(Box::new("broken")));
        let sessions = broken.open().wait().unwrap();
        assert!(is_written(&sessions.set("id", "", None).wait()));
        assert!(sessions.get("id").wait().unwrap().is_some());
        let ended = Arc::new(AtomicBool::new(false));
        let reader = {
            let (sessions, ended) = (sessions.clone(), ended.clone());
            thread::spawn(move || {
                for _ in 0..4 {
                    let has_ended = ended.load(Ordering::SeqCst);
                    let found = sessions.get("id").wait();
                    assert!(!has_ended || found.is_err(), "{found:?}");
                }
            })
        };
        assert!(sessions.create("").wait().is_err());
        disk::wait_until(|disk| !disk.locked);
        let another = open(relaxed());
        assert_eq!(another.destroy("id").wait(), Ok(true));
        ended.store(true, Ordering::SeqCst);
        reader.join().unwrap();
    });
}
