//! Tests of the command line: one command after the other on one directory.

use std::fs;

use serde_json::{Value, json};

use crate::command::{Ran, command, run_cli, run_cli_reading};
use crate::fixture::Home;
use crate::guests;
#[cfg(unix)]
use crate::served::Site;

mod refusals;

/// Creates a session with these arguments; returns its id.
fn create(home: &Home, arguments: &[&str]) -> String {
    let ran = run_cli(home, &[&["create"], arguments].concat());
    ran.line().to_owned()
}

/// Runs a command with `--json`; returns the one document that it prints.
fn json(home: &Home, arguments: &[&str]) -> Value {
    run_cli(home, &[&["--json"], arguments].concat()).json()
}

/// Runs a listing with `--json`; returns the document of each line.
fn listed(home: &Home, arguments: &[&str]) -> Vec<Value> {
    let ran = run_cli(home, &[&["list", "--json"], arguments].concat());
    assert_eq!(ran.code, 0, "{}", ran.errors);
    let lines = ran.output.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn a_session_is_created_read_written_renewed_and_destroyed() {
    let home = Home::new();
    let id = create(&home, &[r#"{"cart":[]}"#, "--subject", "alice"]);
    assert_eq!(id.len(), 43);

    let read = run_cli(&home, &["get", &id]);
    assert_eq!((read.code, read.output.as_str()), (0, r#"{"cart":[]}"#));

    let set = run_cli(
        &home,
        &["set", &id, r#"{"cart":["book"]}"#, "--ttl", "60000"],
    );
    assert!(
        set.line().starts_with("version 2, expires 20"),
        "{}",
        set.output
    );
    let touch = run_cli(&home, &["touch", &id, "--ttl", "120000"]);
    assert!(touch.line().starts_with("expires 20"), "{}", touch.output);
    let read = run_cli(&home, &["get", &id]);
    assert_eq!(read.output, r#"{"cart":["book"]}"#);

    assert_eq!(run_cli(&home, &["destroy", &id]).line(), "1 session ended");
    for late in [
        vec!["get", &id],
        vec!["touch", &id],
        vec!["destroy", &id],
        vec!["set", &id, "x"],
    ] {
        let ran = run_cli(&home, &late);
        assert_eq!(ran.code, 1, "{late:?}");
        assert!(!ran.error().contains(&id));
        // Without the tombstone a `set` would start the session again.
        let refused = ran.error().contains("ended less than a minute ago");
        assert_eq!(refused, late[0] == "set", "{}", ran.errors);
    }
}

#[test]
fn every_result_is_json_when_asked_for() {
    let home = Home::new();
    let payload = r#"{"name":"日本"}"#;
    let created = json(
        &home,
        &["create", payload, "--subject", "alice", "--ttl", "60000"],
    );
    let id = created["id"].as_str().unwrap();
    assert_eq!(created["version"], 1);

    let read = json(&home, &["get", id]);
    assert_eq!(read["data"], payload);
    assert_eq!(read["encoding"], "utf-8");
    assert_eq!(read["subject"], "alice");
    assert_eq!(read["expires"], created["expires"]);
    assert_eq!(
        read["expires"].as_u64().unwrap() - read["created"].as_u64().unwrap(),
        60_000
    );

    assert_eq!(
        json(&home, &["set", id, "{}", "--ttl", "90000"])["version"],
        2
    );
    let touched = json(&home, &["touch", id, "--ttl", "120000"]);
    let [entry] = listed(&home, &[]).try_into().unwrap();
    assert_eq!(entry["expires"], touched["expires"]);
    assert_eq!((&entry["version"], &entry["size"]), (&json!(2), &json!(2)));
    assert_eq!(entry["subject"], "alice");
    assert!(!entry.to_string().contains(id));

    let stats = json(&home, &["stats"]);
    assert_eq!((&stats["live"], &stats["expired"]), (&json!(1), &json!(0)));
    assert_eq!(
        json(&home, &["check"]),
        json!({ "sound": true, "damage": [] })
    );
    assert_eq!(json(&home, &["collect"])["removed"], 0);
    let file = home.beside("copy.db");
    let backup = json(&home, &["backup", file.to_str().unwrap()]);
    assert_eq!(backup["size"], fs::metadata(&file).unwrap().len());
    assert_eq!(json(&home, &["destroy", id]), json!({ "ended": 1 }));
    assert_eq!(listed(&home, &[]), Vec::<Value>::new());
}

#[test]
fn a_payload_from_standard_input_is_stored_unchanged() {
    let home = Home::new();
    let binary = b"\x00\xff\n not text \r\n";
    for arguments in [vec!["create"], vec!["create", "-"]] {
        let created = run_cli_reading(&home, &arguments, binary);
        let id = created.line();
        let read = command(&home, &["get", id]).output().unwrap();
        assert_eq!(read.stdout, binary);
        let read = json(&home, &["get", id]);
        assert_eq!(read["encoding"], "base64");
        assert_eq!(read["data"], "AP8KIG5vdCB0ZXh0IA0K");

        let set = run_cli_reading(&home, &["set", id], b"line\n");
        assert!(set.line().starts_with("version 2"));
        assert_eq!(run_cli(&home, &["get", id]).output, "line\n");
    }
    let empty = run_cli_reading(&home, &["create"], b"");
    let read = run_cli(&home, &["get", empty.line()]);
    assert_eq!((read.code, read.output.as_str()), (0, ""));
}

#[test]
fn sessions_are_listed_and_ended_by_handle_and_by_subject() {
    let home = Home::new();
    let own = create(&home, &["{}", "--subject", "alice"]);
    for subject in ["alice", "alice", "bob", "bob"] {
        create(&home, &["{}", "--subject", subject]);
    }
    create(&home, &["{}"]);
    assert_eq!(listed(&home, &[]).len(), 6);
    assert_eq!(listed(&home, &["--limit", "4"]).len(), 4);
    assert_eq!(listed(&home, &["--subject", "unknown"]).len(), 0);
    let table = run_cli(&home, &["list", "--subject", "bob"]);
    assert_eq!(table.output.lines().count(), 3, "{}", table.output);
    assert!(table.output.starts_with("HANDLE"), "{}", table.output);

    let bobs = listed(&home, &["--subject", "bob"]);
    let handle = bobs[0]["handle"].as_str().unwrap();
    assert!(table.output.contains(handle));
    assert_eq!(
        run_cli(&home, &["terminate", handle]).line(),
        "1 session ended"
    );
    assert_eq!(run_cli(&home, &["terminate", handle]).code, 1);

    let others = ["terminate", "--subject", "alice", "--except", &own];
    assert_eq!(run_cli(&home, &others).line(), "2 sessions ended");
    assert_eq!(run_cli(&home, &others).line(), "0 sessions ended");
    assert_eq!(run_cli(&home, &["get", &own]).code, 0);
    assert_eq!(
        json(&home, &["terminate", "--subject", "alice"]),
        json!({ "ended": 1 })
    );
    assert_eq!(json(&home, &["stats"])["live"], 2);
}

#[test]
fn expired_sessions_are_gone_and_collected() {
    let home = Home::new();
    for _ in 0..5 {
        let id = create(&home, &["{}", "--ttl", "0"]);
        assert_eq!(run_cli(&home, &["get", &id]).code, 1);
    }
    let kept = create(&home, &["{}"]);
    assert_eq!(json(&home, &["stats"])["expired"], 5);
    let collected = json(&home, &["collect", "--limit", "2"]);
    assert_eq!(collected["removed"], 5);
    assert!(collected["steps"].as_u64().unwrap() >= 3, "{collected}");
    let again = run_cli(&home, &["collect"]);
    assert!(
        again.line().starts_with("0 rows removed"),
        "{}",
        again.output
    );
    assert_eq!(run_cli(&home, &["get", &kept]).code, 0);
}

#[test]
fn a_backup_opens_as_a_store() {
    let home = Home::new();
    let id = create(&home, &["precious"]);
    let copied = Home::new();
    fs::create_dir(copied.path()).unwrap();
    let file = copied.path().join("copy.db");
    let backup = run_cli(&home, &["backup", file.to_str().unwrap()]);
    assert!(
        backup.line().starts_with("written to "),
        "{}",
        backup.output
    );

    let read = run_cli(&copied, &["--file", "copy.db", "get", &id]);
    assert_eq!(read.output, "precious");
    assert_eq!(
        run_cli(&copied, &["check", "--file", "copy.db"]).line(),
        "sound"
    );
    let again = run_cli(&home, &["backup", file.to_str().unwrap()]);
    assert_eq!(again.code, 3);
    assert!(again.error().contains("copy.db"), "{}", again.errors);
}

#[test]
fn an_id_may_look_like_an_option() {
    let home = Home::new();
    create(&home, &["{}"]);
    for id in ["-x", "--json-or-not", "-V-"] {
        let set = run_cli(&home, &["set", id, "mine"]);
        assert_eq!(set.code, 0, "{id}: {}", set.errors);
        assert_eq!(run_cli(&home, &["get", id]).output, "mine");
        assert_eq!(run_cli(&home, &["destroy", id]).code, 0);
    }
}

#[test]
fn every_command_takes_an_id_from_standard_input() {
    let home = Home::new();
    let id = create(&home, &["{}", "--subject", "alice"]);
    create(&home, &["{}", "--subject", "alice"]);
    let reading = |arguments: &[&str], input: &str| {
        let ran = run_cli_reading(&home, arguments, input.as_bytes());
        assert_eq!(ran.code, 0, "{arguments:?}: {}", ran.errors);
        ran.output
    };
    let line = format!("{id}\n");
    assert_eq!(reading(&["get", "-"], &line), "{}");
    assert_eq!(reading(&["get", "-"], &id), "{}");
    assert_eq!(reading(&["get", "-"], &format!("{id}\r\nmore")), "{}");
    reading(&["set", "-", "[]"], &line);
    assert_eq!(reading(&["get", "-"], &line), "[]");
    // The payload follows the id on standard input.
    for arguments in [vec!["set", "-"], vec!["set", "-", "-"]] {
        reading(&arguments, &format!("{id}\none\ntwo\n"));
        assert_eq!(reading(&["get", "-"], &line), "one\ntwo\n");
    }
    reading(&["touch", "-", "--ttl", "60000"], &line);
    let others = ["terminate", "--subject", "alice", "--except", "-"];
    assert_eq!(reading(&others, &line), "1 session ended\n");
    reading(&["destroy", "-"], &line);

    // A session with the id `-` can be written and read, too.
    reading(&["set", "-", "mine"], "-\n");
    assert_eq!(reading(&["get", "-"], "-\n"), "mine");
    for none in ["", "\n", "\nid"] {
        let ran = run_cli_reading(&home, &["get", "-"], none.as_bytes());
        assert_eq!(
            (ran.code, ran.error()),
            (3, "the first line of standard input holds no id")
        );
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_token_reaches_the_component_but_not_the_list_of_processes() {
    const SECRET: &str = "a secret, and long";
    let home = Home::new();
    let file = home.beside("token");
    fs::write(&file, format!("{SECRET}\nno token\n")).unwrap();
    let serve = |arguments: &[&str]| {
        let guest = [
            "serve",
            "--address",
            "127.0.0.1:0",
            "--admin",
            "--component",
        ];
        command(&home, &[&guest[..], &[guests::FILE], arguments].concat())
    };
    let of_file = serve(&["--operator-token-file", file.to_str().unwrap()]);
    let mut of_input = serve(&["--operator-token-file", "-"]);
    of_input.stdin(fs::File::open(&file).unwrap());
    let mut of_environment = serve(&[]);
    of_environment.env("WASI_SESSIONS_OPERATOR_TOKEN", SECRET);
    let mut of_file_first = serve(&["--operator-token-file", file.to_str().unwrap()]);
    of_file_first.env("WASI_SESSIONS_OPERATOR_TOKEN", "another");
    for serve in [of_file, of_input, of_environment, of_file_first] {
        let site = Site::spawn(serve);
        let environment = format!("OPERATOR_TOKEN={SECRET}");
        assert_eq!(site.get("/environment").body, environment);
        assert!(!site.command_line().contains(SECRET));
        assert!(!site.stop().contains(SECRET));
    }

    let missing = home.beside("missing");
    fs::write(&file, "\n").unwrap();
    let mut empty = serve(&[]);
    empty.env("WASI_SESSIONS_OPERATOR_TOKEN", "");
    for (mut serve, reason) in [
        (
            serve(&["--operator-token-file", missing.to_str().unwrap()]),
            "missing` cannot be read",
        ),
        (
            serve(&["--operator-token-file", file.to_str().unwrap()]),
            "token` holds no token",
        ),
        (
            serve(&["--operator-token-file", "-"]),
            "the first line of standard input holds no token",
        ),
        (empty, "WASI_SESSIONS_OPERATOR_TOKEN is empty"),
    ] {
        let ran = Ran::from(serve.output().unwrap());
        assert_eq!(ran.code, 3);
        assert!(ran.error().contains(reason), "{}", ran.errors);
    }
}
