//! The README's examples hold: its commands run, its web component serves, and
//! its options are the contract's.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use serde_json::{Map, Value};

use crate::command::PROGRAM;
use crate::fixture::{CACHE, Home};
use crate::guests;
use crate::served::{Answer, Site};

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

#[test]
fn its_commands_run_one_after_the_other() {
    let home = Home::new();
    let directory = home.path().display().to_string();
    let blocks = blocks("sh");
    let commands: Vec<&str> = blocks
        .iter()
        .flat_map(|block| block.lines())
        .filter_map(|line| line.strip_prefix("cargo run -- "))
        // `serve` runs until a signal, and has tests of its own.
        .filter(|command| !command.starts_with("serve"))
        .collect();
    assert!(!commands.is_empty());
    for arguments in commands {
        let arguments = arguments.replace("/tmp/shop", &directory);
        let ran = Command::new("sh")
            .args(["-c", &format!("\"$0\" {arguments}")])
            .arg(&*PROGRAM)
            .env("XDG_CACHE_HOME", &*CACHE)
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&ran.stderr);
        assert!(ran.status.success(), "{arguments}: {errors}");
    }
}

/// The component is built from this file, where it is for one target only.
#[test]
fn its_web_component_is_the_one_that_counts_here() {
    let manifest = include_str!("guests/counter/Cargo.toml");
    let uses: BTreeSet<&str> = manifest
        .lines()
        .filter_map(|line| line.strip_suffix(".workspace = true"))
        .collect();
    let toml = blocks("toml").into_iter();
    let toml = toml
        .filter(|block| block.contains("name = \"counter\""))
        .collect::<String>();
    let (_, dependencies) = toml.split_once("[dependencies]\n").unwrap();
    for dependency in dependencies.lines() {
        let (name, _) = dependency.split_once(" = ").unwrap();
        assert!(uses.contains(name), "{name}");
    }

    let source = include_str!("guests/counter/src/lib.rs");
    let source = source.split_once("\n\n").unwrap().1;
    assert!(blocks("rust,ignore").iter().any(|block| block == source));

    let home = Home::new();
    let site = Site::start(&home, &["--component", guests::COUNTER]);
    let first = site.get("/");
    assert_eq!((first.status, &*first.body), (200, "visit 1\n"));
    let cookie = first.headers.iter().find(|(name, _)| name == "set-cookie");
    let cookie = cookie.unwrap().1.split(';').next().unwrap();
    for visit in 2..4 {
        let next = site.ask("GET", "/", &[("Cookie", cookie)], b"");
        assert_eq!(next.body, format!("visit {visit}\n"));
    }
    assert_eq!(site.get("/").body, "visit 1\n");

    // With cookies that others have set, before the id and in other headers.
    let invented = format!("id={}", "A".repeat(43));
    let lines = [
        vec![format!("theme=dark;{cookie};x").into_bytes()],
        vec![[b"name=Zo\xeb; ", cookie.as_bytes()].concat()],
        vec![format!("id=x; {invented}; {cookie}").into_bytes()],
        vec![
            invented.clone().into_bytes(),
            b"a=\xff".to_vec(),
            cookie.into(),
        ],
    ];
    for (visit, cookies) in (4..).zip(lines) {
        let mut request = format!("GET / HTTP/1.0\r\nHost: {}\r\n", site.address).into_bytes();
        for line in &cookies {
            request.extend([b"Cookie: ", &line[..], b"\r\n"].concat());
        }
        request.extend(b"\r\n");
        let answer = Answer::parse(&site.exchange(&request));
        assert_eq!(answer.body, format!("visit {visit}\n"), "{cookies:?}");
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
