//! Tests of the command line with `--store`.

use std::process::Stdio;

use super::place::{SERVER, options, url};
use super::server::PASSWORD;
use crate::command::{Ran, bare};

/// Runs `wasi-sessions` on a table of the server.
fn run(table: &str, arguments: &[&str]) -> Ran {
    let mut command = bare(arguments);
    command.args(["--store", &url(&SERVER), "--table", table]);
    let command = command.env("PGPASSWORD", PASSWORD).stdin(Stdio::null());
    command.output().unwrap().into()
}

#[test]
#[cfg_attr(not(postgres), ignore = "needs PostgreSQL in /usr/lib/postgresql")]
fn the_commands_work_on_a_server() {
    let table = options().table_name;
    let run = |arguments: &[&str]| run(&table, arguments);
    assert_eq!(
        run(&["list"]).error(),
        format!("no table `{table}` in the database")
    );
    let id = run(&["create", "--subject", "alice", "{}"])
        .line()
        .to_owned();
    run(&["create", "{}"]).line();
    assert_eq!(run(&["get", &id]).output, "{}");
    assert_eq!(run(&["set", &id, "new", "--json"]).json()["version"], 2);
    assert!(run(&["touch", &id]).line().starts_with("expires "));
    let listed = run(&["list", "--subject", "alice", "--json"]).json();
    assert_eq!(listed["subject"], "alice");
    assert_eq!(run(&["stats", "--json"]).json()["live"], 2);
    assert_eq!(run(&["check"]).line(), "sound");
    let handle = listed["handle"].as_str().unwrap();
    assert_eq!(run(&["terminate", handle]).line(), "1 session ended");
    assert_eq!(run(&["get", &id]).code, 1);
    assert!(run(&["collect"]).line().starts_with("0 rows removed"));
}

#[test]
#[cfg_attr(not(postgres), ignore = "needs PostgreSQL in /usr/lib/postgresql")]
fn what_only_a_directory_has_is_refused() {
    let table = options().table_name;
    run(&table, &["create", "{}"]).line();
    for (arguments, words) in [
        (&["backup", "copy"][..], "pg_dump"),
        (&["restore", "copy"], "a server has its own tools"),
    ] {
        let ran = run(&table, arguments);
        assert_eq!(ran.code, 3, "{}", ran.errors);
        assert!(ran.error().contains(words), "{}", ran.errors);
    }
    let mut keyed = bare(&["list", "--store", &url(&SERVER)]);
    keyed.env("PGPASSWORD", PASSWORD);
    keyed.env(
        "WASI_SESSIONS_KEY",
        "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
    );
    let keyed: Ran = keyed.output().unwrap().into();
    assert!(keyed.error().contains("`key`"), "{}", keyed.errors);
    let mut wrong = bare(&["list", "--store", &url(&SERVER)]);
    let wrong: Ran = wrong.env("PGPASSWORD", "secret").output().unwrap().into();
    assert_eq!(wrong.code, 3);
    assert!(
        wrong.error().contains("password authentication failed"),
        "{}",
        wrong.errors
    );
    assert!(!wrong.errors.contains("secret"));
}
