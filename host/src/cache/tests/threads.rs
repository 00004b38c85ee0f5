//! Tests with threads that read from memory while others write: a read reflects every
//! request that was answered to any caller before the read began.

use std::iter::repeat_with;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;

use super::{Clock, builder, get, home, ms, relaxed};
use crate::{NewSession, Options, Outcome, Reply, Request, Sessions};

const LIVES: usize = 60;
const WRITERS: usize = 3;
const READERS: usize = 3;
/// How often each writer writes each session.
const WRITES: usize = 8;

/// A session, and the latest answers about it.
struct Life {
    id: String,
    subject: String,
    /// The latest version that a writer got as an answer.
    version: AtomicU64,
    /// The latest expiry that the toucher got as an answer.
    expires: AtomicU64,
    ended: AtomicBool,
}

impl Life {
    fn start(sessions: &Sessions, number: usize) -> Self {
        let subject = format!("subject {number}");
        let created = sessions
            .create(NewSession::new("{}").ttl(ms(1)).subject(&subject))
            .wait();
        let created = created.unwrap();
        Self {
            id: created.id,
            subject,
            version: AtomicU64::new(1),
            expires: AtomicU64::new(created.expires),
            ended: AtomicBool::new(false),
        }
    }

    fn written(&self, version: u64) {
        self.version.fetch_max(version, Ordering::SeqCst);
    }

    /// Writes the session, in a way that depends on `turn`.
    fn write(&self, sessions: &Sessions, turn: usize) {
        let ttl = Some(ms(1_000_000));
        let outcome = match turn % 4 {
            0 => sessions.set(&self.id, "{}", ttl).wait().unwrap(),
            1 => sessions.update(&self.id, "{}", ttl, None).wait().unwrap(),
            2 => {
                if let Some(merged) = sessions.merge(&self.id, "{}", ttl).wait().unwrap() {
                    self.written(merged.version);
                }
                return;
            }
            _ => {
                let requests = vec![
                    Request::Get {
                        id: self.id.clone(),
                    },
                    Request::Set {
                        id: self.id.clone(),
                        data: "{}".into(),
                        ttl,
                    },
                    Request::Get {
                        id: self.id.clone(),
                    },
                ];
                let replies = sessions.batch(requests).wait().unwrap();
                if let Ok(Reply::Session(Some(session))) = &replies[2] {
                    self.written(session.version);
                }
                return;
            }
        };
        if let Outcome::Written(written) = outcome {
            self.written(written.version);
        }
    }

    /// Ends the session, in one of all possible ways.
    fn end(&self, sessions: &Sessions, way: usize) {
        let (id, subject) = (&self.id, self.subject.as_str());
        match way % 5 {
            0 => assert_eq!(sessions.destroy(id).wait(), Ok(true)),
            1 => assert!(sessions.rotate(id, None).wait().unwrap().is_some()),
            2 => {
                let page = sessions.list_sessions(Some(subject), None, 1).wait();
                let handle = &page.unwrap().entries[0].handle;
                assert_eq!(sessions.terminate(handle).wait(), Ok(true));
            }
            3 => assert_eq!(sessions.terminate_subject(subject, None).wait(), Ok(1)),
            _ => {
                let login = sessions.create(NewSession::new("{}").subject(subject));
                assert!(login.wait().is_ok());
            }
        }
        self.ended.store(true, Ordering::SeqCst);
    }

    /// Reads the session, which must not be older than answers to writers before, nor than
    /// an earlier read of the same reader.
    fn read(&self, sessions: &Sessions, seen: &mut u64) {
        let ended = self.ended.load(Ordering::SeqCst);
        let answered = self.version.load(Ordering::SeqCst);
        match get(sessions, &self.id) {
            Some(session) => {
                assert!(!ended, "a session was read after its end");
                assert!(session.version >= answered, "a write was lost to a reader");
                assert!(session.version >= *seen, "a reader went back");
                *seen = session.version;
            }
            None => *seen = u64::MAX,
        }
    }
}

#[test]
fn a_reader_sees_every_write_that_was_answered_before() {
    let home = home();
    let clock = Clock::new();
    let options = Options {
        max_per_subject: Some(1),
        ..relaxed()
    };
    let builder = builder(&home).options(options);
    let sessions = clock.given_to(builder).open().wait().unwrap();
    let lives: Vec<Life> = (0..LIVES).map(|n| Life::start(&sessions, n)).collect();
    // How many sessions a writer has finished. All writers take them in the same order.
    let done = AtomicUsize::new(0);
    thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (sessions, lives, done) = (&sessions, &lives, &done);
            scope.spawn(move || {
                for (number, life) in lives.iter().enumerate() {
                    for turn in 0..WRITES {
                        life.write(sessions, writer + turn);
                        get(sessions, &life.id);
                    }
                    if number % WRITERS == writer {
                        life.end(sessions, number / WRITERS);
                    }
                    done.fetch_max(number + 1, Ordering::SeqCst);
                }
            });
        }
        for _ in 0..READERS {
            let (sessions, lives, done) = (&sessions, &lives, &done);
            scope.spawn(move || {
                let mut seen = [0; LIVES];
                loop {
                    let now = done.load(Ordering::SeqCst);
                    for number in now.saturating_sub(2)..(now + 2).min(LIVES) {
                        lives[number].read(sessions, &mut seen[number]);
                    }
                    if now == LIVES {
                        break;
                    }
                }
            });
        }
    });
    assert!(clock.hits() > 0);
    for life in &lives {
        assert_eq!(get(&sessions, &life.id), None);
    }
}

#[test]
fn a_reader_sees_every_expiry_that_was_answered_before() {
    let home = home();
    let clock = Clock::new();
    let options = Options {
        renewal_step: ms(0),
        ..relaxed()
    };
    let builder = builder(&home).options(options);
    let sessions = clock.given_to(builder).open().wait().unwrap();
    let life = Life::start(&sessions, 0);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for ttl in 2..2_000 {
                let expires = sessions.touch(&life.id, Some(ms(ttl))).wait().unwrap();
                life.expires.store(expires.unwrap(), Ordering::SeqCst);
            }
            done.store(true, Ordering::SeqCst);
        });
        for _ in 0..READERS {
            scope.spawn(|| {
                let mut seen = 0;
                // Once more, even if all was done before this thread began: the second read
                // is from memory.
                for is_last in
                    repeat_with(|| done.load(Ordering::SeqCst)).flat_map(|is| [false, is])
                {
                    let answered = life.expires.load(Ordering::SeqCst);
                    let expires = get(&sessions, &life.id).unwrap().expires;
                    assert!(
                        expires >= answered.max(seen),
                        "a touch was lost to a reader"
                    );
                    seen = expires;
                    if is_last {
                        break;
                    }
                }
            });
        }
    });
    assert!(clock.hits() > 0);
}
