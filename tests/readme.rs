//! The README's examples hold: its commands run, and its options are the contract's.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use serde_json::{Map, Value};

use crate::command::PROGRAM;
use crate::fixture::{CACHE, Home};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// The code blocks of a language in the README.
fn blocks(language: &str) -> Vec<String> {
    let readme = fs::read_to_string(format!("{ROOT}/README.md")).unwrap();
    let start = format!("```{language}\n");
    readme
        .split(&start)
        .skip(1)
        .map(|block| block.split("```").next().unwrap().to_owned())
        .collect()
}

#[cfg(unix)]
#[test]
fn its_commands_run_one_after_the_other() {
    let home = Home::new();
    let directory = home.path().display().to_string();
    let blocks = blocks("sh");
    let commands: Vec<&str> = blocks
        .iter()
        .flat_map(|block| block.lines())
        .filter_map(|line| line.strip_prefix("cargo run -- "))
        .collect();
    assert!(!commands.is_empty());
    for arguments in commands {
        let arguments = arguments.replace("/tmp/shop", &directory);
        let ran = Command::new("sh")
            .args(["-c", &format!("\"$0\" {arguments}"), PROGRAM])
            .env("XDG_CACHE_HOME", &*CACHE)
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&ran.stderr);
        assert!(ran.status.success(), "{arguments}: {errors}");
    }
}

#[test]
fn options_in_json_are_options_of_the_contract() {
    let contract = fs::read_to_string(format!("{ROOT}/wit/sessions.wit")).unwrap();
    let known: BTreeSet<&str> = contract
        .lines()
        .filter_map(|line| line.trim().strip_prefix("/// | `"))
        .filter_map(|row| row.split('`').next())
        .collect();
    assert!(known.contains("tableName"));
    for block in blocks("json") {
        let given: Map<String, Value> = serde_json::from_str(&block).unwrap();
        for name in given.keys() {
            assert!(known.contains(name.as_str()), "{name}");
        }
    }
}
