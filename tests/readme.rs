//! The README's examples agree with the contract.

use std::collections::BTreeSet;
use std::fs;

use serde_json::{Map, Value};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// The names of the options in the table of the contract.
fn options() -> BTreeSet<String> {
    let contract = fs::read_to_string(format!("{ROOT}/wit/sessions.wit")).unwrap();
    contract
        .lines()
        .filter_map(|line| line.trim().strip_prefix("/// | `"))
        .map(|row| row.split('`').next().unwrap().to_owned())
        .collect()
}

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

#[test]
fn options_in_json_are_options_of_the_contract() {
    let known = options();
    assert_eq!(known.len(), 14);
    for block in blocks("json") {
        let given: Map<String, Value> = serde_json::from_str(&block).unwrap();
        for name in given.keys() {
            assert!(known.contains(name), "{name}");
        }
    }
}
