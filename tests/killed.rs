//! Killed in mid-write: nothing that was answered is lost, and nothing that was ended is back.
//!
//! With `KILLS=<n>` in the environment the store is killed so many times, in place of 20.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::hint::spin_loop;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use wasi_sessions::{Outcome, Sessions};

use crate::command::{Writer, run_cli};
use crate::fixture::{Home, LIFE, session};

/// The most answers to wait for before a kill, and the longest time after the last of them.
const MOST_ANSWERS: u64 = 150;
const LONGEST_WAIT: Duration = Duration::from_millis(3);

/// What the processes that were killed have said.
#[derive(Default)]
struct Answered {
    /// The last version of each session.
    versions: BTreeMap<String, u64>,
    /// The sessions that were ended.
    ended: BTreeSet<String>,
}

impl Answered {
    /// Takes a line of a process; the id of a session that it has ended.
    fn note(&mut self, line: &str) -> Option<String> {
        let (id, what) = line.split_once(' ').unwrap();
        match what {
            // It is there or not until the end of the session was answered.
            "ending" => drop(self.versions.remove(id)),
            "ended" => {
                self.ended.insert(id.to_owned());
                return Some(id.to_owned());
            }
            version => drop(
                self.versions
                    .insert(id.to_owned(), version.parse().unwrap()),
            ),
        }
        None
    }

    /// Compares the store with all that was ever answered.
    fn compare(&self, sessions: &Sessions) {
        for (id, &version) in &self.versions {
            let found = session(sessions, id);
            // A write that was done and not yet answered is there in full.
            assert!((version..=version + 1).contains(&found.version));
            let payload: Value = serde_json::from_slice(&found.data).unwrap();
            assert_eq!(payload["visit"], found.version);
        }
        for id in &self.ended {
            assert_eq!(sessions.get(id).wait(), Ok(None));
        }
    }
}

/// A number below `bound`, another one each time.
fn random(bound: u64) -> u64 {
    RandomState::new().build_hasher().finish() % bound
}

#[test]
fn killed_at_random_moments_a_store_has_every_answered_write_and_no_ended_session() {
    let kills = std::env::var("KILLS").map_or(20, |kills| kills.parse().unwrap());
    let home = Home::new();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    home.set_clock(now.as_millis() as u64);
    let mut answered = Answered::default();
    for kill in 1..=kills {
        let mut writer = Writer::start(&home);
        let mut lines = writer.answered_lines(1 + random(MOST_ANSWERS) as usize);
        let wait = LONGEST_WAIT.mul_f64(random(1000) as f64 / 1e3);
        let last = Instant::now();
        while last.elapsed() < wait {
            spin_loop();
        }
        lines.extend(writer.kill());
        let ended: Vec<String> = lines
            .iter()
            .filter_map(|line| answered.note(line))
            .collect();

        println!("after kill {kill}");
        let sessions = home.open();
        answered.compare(&sessions);
        // A request that was under way when its session was ended comes too late.
        for id in &ended {
            let late = sessions.set(id, "{}", LIFE).wait();
            assert_eq!(late, Ok(Outcome::Gone));
        }
        let live = sessions.count_sessions(None).wait().unwrap();
        assert!(live >= answered.versions.len() as u64);
        assert_eq!(sessions.check().wait(), Ok(vec![]));
    }
    // By chance a few kills may come before any session was ended.
    assert!(kills < 10 || answered.ended.len() > kills as usize / 2);
    assert_eq!(run_cli(&home, &["check"]).line(), "sound");
}
