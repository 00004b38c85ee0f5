//! Tests of the story that `wasi-sessions` runs without a command.

use std::fs;

use serde_json::Value;

use crate::command::{bare, run_cli};
use crate::fixture::Home;

const SMALL: [&str; 4] = ["--sessions", "200", "--users", "10"];

/// The number of promises of the story, all of which must hold.
fn promises(story: &Value) -> usize {
    let phases = story["phases"].as_array().unwrap();
    let promises = phases
        .iter()
        .flat_map(|phase| phase["promises"].as_array().unwrap());
    promises
        .inspect(|promise| assert_eq!(promise["holds"], true, "{promise}"))
        .count()
}

#[test]
fn the_story_holds_with_small_numbers() {
    let ran = bare(&[&SMALL[..], &["--json"]].concat()).output().unwrap();
    let errors = String::from_utf8_lossy(&ran.stderr);
    assert_eq!(ran.status.code(), Some(0), "{errors}");
    assert_eq!(errors, "");
    let story: Value = serde_json::from_slice(&ran.stdout).unwrap();
    assert_eq!(story["holds"], true);
    let took = |of: &Value| of["milliseconds"].as_f64().unwrap();
    let phases: f64 = story["phases"].as_array().unwrap().iter().map(took).sum();
    assert!(phases > 0.0 && phases <= took(&story), "{story}");
    assert_eq!(
        (&story["sessions"], &story["users"]),
        (&200.into(), &10.into())
    );
    let names: Vec<&str> = story["phases"]
        .as_array()
        .unwrap()
        .iter()
        .map(|phase| phase["phase"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "open", "create", "read", "update", "log-in", "log-out", "expire", "collect", "shrink",
            "kill", "check"
        ]
    );
    assert!(promises(&story) >= names.len());

    // The table and the note about the kill agree.
    let kill = &story["phases"][9];
    let note = kill["notes"][0].as_str().unwrap();
    assert!(
        note.contains(&format!("{} writes", kill["operations"])),
        "{kill}"
    );
}

#[test]
fn the_story_is_printed_as_text_and_leaves_a_store_in_a_given_directory() {
    let home = Home::new();
    let ran = run_cli(&home, &SMALL);
    assert_eq!(ran.code, 0, "{}", ran.errors);
    for word in ["create", "collect", "killed", "sound"] {
        assert!(ran.output.contains(word), "{word}: {}", ran.output);
    }
    assert_eq!(run_cli(&home, &["check"]).line(), "sound");

    // The story refuses an existing store.
    let again = run_cli(&home, &SMALL);
    assert_eq!(again.code, 3);
    assert!(again.errors.lines().count() == 1, "{}", again.errors);
}

#[test]
fn the_story_holds_with_a_key_from_a_file() {
    let home = Home::new();
    let key = home.beside("key");
    fs::write(&key, "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n").unwrap();
    let key = ["--key-file", key.to_str().unwrap()];
    let ran = run_cli(&home, &[&SMALL[..], &key].concat());
    assert_eq!(ran.code, 0, "{}", ran.errors);
    assert_eq!(run_cli(&home, &["check"]).code, 3);
    assert_eq!(
        run_cli(&home, &[&["check"][..], &key].concat()).line(),
        "sound"
    );
}

#[test]
fn one_session_of_one_user_is_enough_for_a_story() {
    let ran = bare(&["--sessions", "1", "--users", "1", "--json"])
        .output()
        .unwrap();
    assert_eq!(
        ran.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&ran.stdout)
    );
}

#[test]
fn help_names_commands_options_and_exit_codes() {
    let ran = bare(&["--help"]).output().unwrap();
    assert_eq!(ran.status.code(), Some(0));
    let help = String::from_utf8(ran.stdout).unwrap();
    for word in [
        "create",
        "get",
        "set",
        "touch",
        "destroy",
        "list",
        "terminate",
        "collect",
        "stats",
        "check",
        "backup",
        "--sessions",
        "--users",
        "--directory",
        "--json",
        "XDG_CACHE_HOME",
        "rotate",
        "interrupted",
        "4",
    ] {
        assert!(help.contains(word), "{word}");
    }
    assert!(!help.contains("write-until-killed"), "{help}");
}
