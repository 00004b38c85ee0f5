//! Tests of the examples in the README and in `docs/`: their commands run, their web
//! component is served, their options are the contract's, and their links lead to files.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Map, Value};

use crate::command::PROGRAM;
use crate::fixture::{CACHE, Home};
use crate::guests;
use crate::served::{Answer, Site};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// The README and the pages in `docs/`, each with its folder.
fn pages() -> Vec<(PathBuf, String)> {
    let root = Path::new(ROOT);
    let mut files = vec![root.join("README.md")];
    let mut docs: Vec<PathBuf> = fs::read_dir(root.join("docs"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    docs.sort();
    files.append(&mut docs);
    let page = |file: PathBuf| {
        let text = fs::read_to_string(&file).unwrap();
        (file.parent().unwrap().to_owned(), text)
    };
    files.into_iter().map(page).collect()
}

/// The code blocks of a language in all pages, those of the README first.
fn blocks(language: &str) -> Vec<String> {
    let start = format!("```{language}\n");
    let blocks_of = |(_, text): (_, String)| {
        text.split(&start)
            .skip(1)
            .map(|block| block.split("```").next().unwrap().to_owned())
            .collect::<Vec<String>>()
    };
    pages().into_iter().flat_map(blocks_of).collect()
}

#[test]
fn links_lead_to_files() {
    let mut links = 0;
    for (folder, text) in pages() {
        for link in text.split("](").skip(1) {
            let link = link.split([')', '#']).next().unwrap();
            if !link.contains("://") && !link.is_empty() {
                assert!(folder.join(link).exists(), "{link}");
                links += 1;
            }
        }
    }
    assert!(links > 10);
}

/// The crate's front page shows this example, too.
#[test]
fn the_program_of_the_readme_is_the_example_embed() {
    let example = include_str!("../host/examples/embed.rs");
    let (_, program) = example.split_once("\n\n").unwrap();
    assert!(blocks("rust,no_run").iter().any(|block| block == program));
}

/// Runs each block in its own folder, as a user whose home is empty at first.
#[test]
fn commands_run_one_after_the_other() {
    let home = Home::new();
    let user = home.beside("user");
    fs::create_dir(&user).unwrap();
    let mut ran = 0;
    for (number, block) in blocks("sh").iter().enumerate() {
        let folder = home.beside(&format!("block {number}"));
        fs::create_dir(&folder).unwrap();
        let commands = block.lines().filter_map(|line| {
            let installed = line.strip_prefix("wasi-sessions ");
            let arguments = installed.or_else(|| line.strip_prefix("cargo run -- "));
            match arguments {
                // `serve` runs until a signal, and has its own tests.
                Some(arguments) if arguments.starts_with("serve") => None,
                Some(arguments) => Some(format!("\"$0\" {arguments}")),
                // Generates a key.
                None => line.starts_with("head ").then(|| line.to_owned()),
            }
        });
        for command in commands {
            let process = Command::new("sh")
                .args(["-c", &command])
                .arg(&*PROGRAM)
                .env("XDG_CACHE_HOME", &*CACHE)
                .env("HOME", &user)
                .current_dir(&folder)
                .output()
                .unwrap();
            let errors = String::from_utf8_lossy(&process.stderr);
            assert!(process.status.success(), "{command}: {errors}");
            ran += 1;
        }
    }
    assert!(ran > 5);
}

/// The guest `counter` is built from the same code.
#[test]
fn the_web_component_of_the_pages_is_the_guest_counter() {
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

    // Other cookies come before the id and in other headers.
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
