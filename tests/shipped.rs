//! Tests of the files that the program contains for other tools: component, completions and
//! manual pages.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;
use wac_graph::types::Package;
use wac_graph::{CompositionGraph, EncodeOptions, plug};
use wasi_sessions::{COMPONENT, Database};

use crate::command::bare;
use crate::guests::COUNTER;

/// Writes the component over SQLite to this file.
fn write(file: &Path) -> Output {
    let file = file.to_str().unwrap();
    bare(&["component", "--output", file]).output().unwrap()
}

/// Runs the program, which must report no error; returns what it prints.
fn printed(arguments: &[&str]) -> String {
    let ran = bare(arguments).output().unwrap();
    let errors = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success() && errors.is_empty(), "{errors}");
    String::from_utf8(ran.stdout).unwrap()
}

#[test]
fn the_written_component_is_the_one_that_runs_and_wac_composes_it() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("store.wasm");
    let ran = write(&file);
    assert!(ran.status.success());
    let written = fs::read(&file).unwrap();
    assert!(written == COMPONENT);
    let said = String::from_utf8(ran.stdout).unwrap();
    assert!(said.starts_with(&format!("written to {}, ", file.display())));

    let mut graph = CompositionGraph::new();
    let mut register = |name, bytes| {
        let package = Package::from_bytes(name, None, bytes, graph.types_mut()).unwrap();
        graph.register_package(package).unwrap()
    };
    let store = register("store", written);
    let counter = register("counter", fs::read(COUNTER).unwrap());
    plug(&mut graph, vec![store], counter).unwrap();
    assert!(!graph.encode(EncodeOptions::default()).unwrap().is_empty());
}

#[test]
fn the_components_over_servers_are_written_too() {
    let folder = TempDir::new().unwrap();
    for (engine, url) in [("postgres", "postgres://"), ("mariadb", "mariadb://")] {
        let file = folder.path().join(engine);
        let name = file.to_str().unwrap();
        let arguments = ["component", "--engine", engine, "--output", name];
        let ran = bare(&arguments).output().unwrap();
        match Database::new(url).component() {
            Ok(component) => assert!(fs::read(&file).unwrap() == component),
            // Only that of MariaDB is missing where Rust has no target of its own.
            Err(_) => {
                let errors = String::from_utf8(ran.stderr).unwrap();
                assert!(errors.contains("MariaDB"), "{errors}");
                assert!(!file.exists());
            }
        }
    }
}

#[test]
fn no_file_is_replaced_and_a_failure_leaves_nothing() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("mine.wasm");
    fs::write(&file, "mine").unwrap();
    for refused in [&file, &folder.path().join("missing/store.wasm")] {
        let ran = write(refused);
        assert_eq!(ran.status.code(), Some(3));
        let errors = String::from_utf8(ran.stderr).unwrap();
        assert!(errors.contains(refused.to_str().unwrap()), "{errors}");
        assert_eq!(errors.lines().count(), 1, "{errors}");
    }
    assert_eq!(fs::read(&file).unwrap(), b"mine");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn completions_offer_what_the_help_shows() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = printed(&["completions", shell]);
        for word in ["wasi-sessions", "restore", "operator-token-file"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
        assert!(!script.contains("write-until-killed"), "{shell}");
    }
    let script = printed(&["completions", "bash"]);
    let checked = Command::new("bash").args(["-n", "-c", &script]).status();
    assert!(checked.unwrap().success());
    let unknown = bare(&["completions", "command.com"]).output().unwrap();
    assert_eq!(unknown.status.code(), Some(2));
}

#[test]
fn each_command_that_the_manual_names_has_a_page() {
    let page = printed(&["man"]);
    assert!(page.contains(".TH wasi-sessions 1"), "{page}");
    assert!(!page.contains("write\\-until\\-killed"));
    let named = page.lines().filter_map(|line| {
        let name = line.strip_prefix("wasi\\-sessions\\-")?;
        name.strip_suffix("(1)").map(|name| name.replace('\\', ""))
    });
    let commands: Vec<String> = named.filter(|name| name != "help").collect();
    assert!(commands.len() > 10, "{page}");
    for command in commands {
        let page = printed(&["man", &command]);
        let title = format!(".TH wasi-sessions-{command} 1");
        assert!(page.contains(&title), "{page}");
    }
    let unknown = bare(&["man", "write-until-killed"]).output().unwrap();
    assert_eq!(unknown.status.code(), Some(2));
}
