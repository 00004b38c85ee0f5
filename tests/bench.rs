//! Tests of the bench, with numbers too small to say anything about speed.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::command::bare;

const SMALL: [&str; 9] = [
    "bench",
    "--sessions",
    "64",
    "--large",
    "128",
    "--rounds",
    "1",
    "--milliseconds",
    "1",
];

fn rows(arguments: &[&str]) -> Vec<Value> {
    let ran = bare(&[&SMALL, arguments].concat()).output().unwrap();
    let errors = String::from_utf8_lossy(&ran.stderr);
    assert_eq!(ran.status.code(), Some(0), "{errors}");
    assert_eq!(errors, "");
    let mut report: Value = serde_json::from_slice(&ran.stdout).unwrap();
    serde_json::from_value(report["rows"].take()).unwrap()
}

#[test]
fn every_workload_is_measured_on_both_sides() {
    let rows = rows(&["--json"]);
    let mut measured = BTreeSet::new();
    for row in &rows {
        for side in ["ours", "native", "ratio"] {
            assert!(row[side].as_f64().unwrap() > 0.0, "{row}");
        }
        let name = row["workload"].as_str().unwrap();
        let unit = if name == "memory" {
            "bytes"
        } else {
            "milliseconds"
        };
        assert_eq!(row["unit"], unit, "{row}");
        let durability = row["durability"].as_str().unwrap_or("-");
        let (clients, sessions) = (&row["clients"], &row["sessions"]);
        let caller = row["caller"].as_str().unwrap();
        measured.insert(format!(
            "{name}, {clients}, {durability}, {sessions}, {caller}"
        ));
    }
    let by_both = [
        "collect, 2, durable, 1280",
        "collect: reader stalls, 2, durable, 1280",
        "collect: writer stalls, 2, durable, 1280",
        "create, 1, durable, 0",
        "create, 1, relaxed, 0",
        "mix 90/10, 1, durable, 64",
        "mix 90/10, 1, relaxed, 64",
        "mix 90/10, 64, durable, 64",
        "mix 90/10, 64, relaxed, 64",
        "read past the cache, 1, -, 128",
        "read past the cache, 1, -, 64",
        "read, 1, -, 128",
        "read, 1, -, 64",
        "touch, 1, durable, 64",
        "touch, 1, relaxed, 64",
        "update, 1, durable, 128",
        "update, 1, durable, 64",
        "update, 1, relaxed, 128",
        "update, 1, relaxed, 64",
        "update, 64, durable, 64",
        "update, 64, relaxed, 64",
    ];
    let mut by_threads = vec![
        "start, 1, -, 128",
        "start, 1, -, 64",
        "start, compiling, 1, -, 64",
    ];
    if cfg!(target_os = "linux") {
        by_threads.extend(["memory, 1, -, 128", "memory, 1, -, 64"]);
    }
    let threads = by_both.iter().chain(&by_threads);
    let mut expected: Vec<String> = threads.map(|row| format!("{row}, thread")).collect();
    expected.extend(by_both.map(|row| format!("{row}, task")));
    expected.sort();
    assert_eq!(Vec::from_iter(&measured), Vec::from_iter(&expected));
    assert_eq!(rows.len(), expected.len());
}

#[test]
fn a_workload_can_be_measured_alone() {
    let rows = rows(&["--json", "--only", "touch"]);
    assert_eq!(rows.len(), 4);
    assert!(rows.iter().all(|row| row["workload"] == "touch"));
}

#[test]
fn a_key_in_the_environment_is_not_that_of_the_measured_stores() {
    let key = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    let arguments = [&SMALL[..], &["--only", "start"]].concat();
    let ran = bare(&arguments).env("WASI_SESSIONS_KEY", key).output();
    assert_eq!(ran.unwrap().status.code(), Some(0));
}

#[test]
fn every_workload_is_measured_beside_a_plain_table() {
    let rows = rows(&["--json", "--native", "plain"]);
    assert!(rows.iter().any(|row| row["workload"] == "collect"));
    assert!(rows.iter().all(|row| row["native"].as_f64().unwrap() > 0.0));
}
