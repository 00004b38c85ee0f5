//! Tests of errors of the command line: exit codes, and one line without secrets.

use std::process::Stdio;

use crate::command::{bare, command, run_cli, run_cli_reading};
use crate::fixture::Home;

use super::create;

#[test]
fn a_wrong_command_is_a_usage_error() {
    let home = Home::new();
    for arguments in [
        vec!["dance"],
        vec!["get"],
        vec!["create", "{}", "--ttl", "soon"],
        vec!["create", "{}", "--ttl", "-1"],
        vec!["get", "id", "--sessions", "5"],
        vec!["terminate"],
        vec!["terminate", "handle", "--subject", "alice"],
        vec!["list", "--limit", "0"],
        vec!["get", ""],
        vec!["create", "{}", "--subject", ""],
        vec!["--sessions", "0"],
    ] {
        let ran = run_cli(&home, &arguments);
        assert_eq!(ran.code, 2, "{arguments:?}: {}", ran.errors);
        assert_eq!(ran.output, "");
        assert!(!ran.errors.is_empty());
    }
    let without_directory = bare(&["stats"]).output().unwrap();
    assert_eq!(without_directory.status.code(), Some(2));
    let errors = String::from_utf8(without_directory.stderr).unwrap();
    let usage = "Usage: wasi-sessions stats <--directory <DIR>|--store <URL>> [OPTIONS]\n";
    assert!(errors.contains(usage), "{errors}");
    assert!(!home.path().exists());
}

#[test]
fn only_a_command_that_starts_a_session_creates_a_database() {
    let home = Home::new();
    let copy = home.beside("copy.db");
    let copy = copy.to_str().unwrap();
    for arguments in [
        vec!["get", "id"],
        vec!["touch", "id"],
        vec!["destroy", "id"],
        vec!["list"],
        vec!["terminate", "handle"],
        vec!["terminate", "--subject", "alice"],
        vec!["collect"],
        vec!["stats"],
        vec!["check"],
        vec!["backup", copy],
    ] {
        let ran = run_cli(&home, &arguments);
        assert_eq!(ran.code, 3, "{arguments:?}");
        assert!(ran.error().contains("no database"), "{}", ran.errors);
        assert!(!home.path().exists(), "{arguments:?}");
    }
    let directory = home.path().display().to_string();
    assert!(run_cli(&home, &["stats"]).error().contains(&directory));
    let made = run_cli(&home, &["set", "mine", "{}"]);
    assert_eq!(made.code, 0);
    let database = home.database().display().to_string();
    assert_eq!(
        made.errors,
        format!("wasi-sessions: created a new database `{database}`\n")
    );
    assert!(home.database().exists());
    assert_eq!(run_cli(&home, &["create", "{}"]).errors, "");

    let no_table = run_cli(&home, &["list", "--table", "Missing"]);
    assert_eq!(no_table.code, 3);
    assert_eq!(
        no_table.error(),
        format!("no table `Missing` in database `{database}`")
    );
}

#[test]
fn an_error_is_one_line_without_ids_and_payloads() {
    let home = Home::new();
    create(&home, &["S3CR3T"]);
    let long_id = "S3CR3T".repeat(50);
    let large = vec![b'x'; 1_048_577];
    for (ran, code) in [
        (run_cli(&home, &["get", "S3CR3T"]), 1),
        (run_cli(&home, &["touch", "S3CR3T"]), 1),
        (run_cli(&home, &["destroy", "S3CR3T"]), 1),
        (run_cli(&home, &["terminate", "S3CR3T"]), 1),
        (run_cli(&home, &["get", "S3CR3T", "--json"]), 1),
        (run_cli(&home, &["set", &long_id, "S3CR3T"]), 3),
        (
            run_cli(&home, &["create", "S3CR3T", "--subject", &long_id]),
            3,
        ),
        (run_cli_reading(&home, &["create"], &large), 3),
        (run_cli(&home, &["list", "--table", "no table!"]), 3),
        (run_cli(&home, &["list", "--file", "../sessions.db"]), 3),
        (run_cli(&home, &["list", "--table", "Missing"]), 3),
    ] {
        assert_eq!(ran.code, code, "{}", ran.errors);
        assert!(!ran.error().contains("S3CR3T"), "{}", ran.errors);
        assert!(!ran.error().is_empty());
    }
}

#[test]
fn a_closed_output_pipe_causes_no_panic() {
    let home = Home::new();
    for _ in 0..3 {
        create(&home, &["{}"]);
    }
    let mut child = command(&home, &["list"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let ended = child.wait_with_output().unwrap();
    assert_eq!(ended.stderr, b"");
    assert_eq!(ended.status.code(), Some(141));
}
