//! Tests of a process that is killed in mid-write: no answered write is lost.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::command::{Writer, run_cli};
use crate::fixture::{Home, session};

#[test]
fn a_store_killed_20_times_in_mid_write_has_every_answered_write() {
    let home = Home::new();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    home.set_clock(now.as_millis() as u64);
    let mut answered = BTreeMap::new();
    for round in 0..20 {
        let mut writer = Writer::start(&home);
        let mut lines = writer.answered_lines(1 + round * 7);
        lines.extend(writer.kill());
        for line in lines {
            let (id, version) = line.split_once(' ').unwrap();
            answered.insert(id.to_owned(), version.parse::<u64>().unwrap());
        }

        // The writes of earlier rounds are kept, too.
        let sessions = home.open();
        for (id, &version) in &answered {
            let found = session(&sessions, id);
            // A write that was committed but not answered may have followed.
            assert!(
                (version..=version + 1).contains(&found.version),
                "round {round}"
            );
            let payload: Value = serde_json::from_slice(&found.data).unwrap();
            assert_eq!(payload["visit"], found.version, "round {round}");
        }
        let live = sessions.count_sessions(None).wait().unwrap();
        assert!(live >= answered.len() as u64, "round {round}");
        assert_eq!(sessions.check().wait(), Ok(vec![]), "round {round}");
    }
    assert_eq!(run_cli(&home, &["check"]).line(), "sound");
}
