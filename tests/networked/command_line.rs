//! Tests of the command line with `--store`.

use std::net::TcpListener;
use std::process::Stdio;

use super::server::{Server, options};
use crate::command::{Ran, bare};

on_each_server! {
    the_commands_work_on_a_server,
    a_server_that_does_not_answer_in_time_is_named,
    what_only_a_directory_has_is_refused,
}

/// Runs `wasi-sessions` on a table of the server.
fn run(server: &Server, table: &str, arguments: &[&str]) -> Ran {
    let mut command = bare(arguments);
    command.args(["--store", &server.url(), "--table", table]);
    command.args(["--store-timeout", "5m"]);
    let command = command
        .env(server.kind().variable, server.kind().password)
        .stdin(Stdio::null());
    command.output().unwrap().into()
}

fn the_commands_work_on_a_server(server: &Server) {
    let table = options().table_name;
    let run = |arguments: &[&str]| run(server, &table, arguments);
    assert_eq!(
        run(&["list"]).error(),
        format!("no table `{table}` in the database")
    );
    let created = run(&["create", "--subject", "alice", "{}"]);
    let id = created.line().to_owned();
    assert_eq!(
        created.errors,
        format!("wasi-sessions: created a new table `{table}`\n")
    );
    assert_eq!(run(&["create", "{}"]).errors, "");
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

fn a_server_that_does_not_answer_in_time_is_named(server: &Server) {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let url = format!("{}://u@{address}/d", server.kind().scheme);
    let list = |timeout| bare(&["list", "--store", &url, "--store-timeout", timeout]);
    let mut patient = list("10m").stderr(Stdio::null()).spawn().unwrap();
    let hurried: Ran = list("300ms").output().unwrap().into();
    let ended = patient.try_wait().unwrap();
    patient.kill().unwrap();
    patient.wait().unwrap();
    assert_eq!(ended, None);
    assert_eq!(hurried.code, 3, "{}", hurried.errors);
    let words = format!("no server was ready in time: {address}");
    assert!(hurried.error().contains(&words), "{}", hurried.errors);
}

fn what_only_a_directory_has_is_refused(server: &Server) {
    let table = options().table_name;
    run(server, &table, &["create", "{}"]).line();
    for (arguments, words) in [
        (&["backup", "copy"][..], server.kind().dump),
        (&["restore", "copy"], "a server has its own tools"),
    ] {
        let ran = run(server, &table, arguments);
        assert_eq!(ran.code, 3, "{}", ran.errors);
        assert!(ran.error().contains(words), "{}", ran.errors);
    }
    let mut keyed = bare(&["list", "--store", &server.url()]);
    keyed.env(server.kind().variable, server.kind().password);
    keyed.env(
        "WASI_SESSIONS_KEY",
        "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
    );
    let keyed: Ran = keyed.output().unwrap().into();
    assert!(keyed.error().contains("`key`"), "{}", keyed.errors);
    let mut wrong = bare(&["list", "--store", &server.url(), "--store-timeout", "5m"]);
    let wrong: Ran = wrong
        .env(server.kind().variable, "secret")
        .output()
        .unwrap()
        .into();
    assert_eq!(wrong.code, 3);
    assert!(
        wrong.error().contains(server.kind().denied),
        "{}",
        wrong.errors
    );
    assert!(!wrong.errors.contains("secret"));
}
