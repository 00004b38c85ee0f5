//! Tests that values written in several places agree: the version, and the age of a dead
//! lock.

use std::fs;

use serde_json::Value;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

fn file(path: &str) -> String {
    fs::read_to_string(format!("{ROOT}/{path}")).unwrap()
}

#[test]
fn crates_contract_changelog_and_npm_package_have_one_version() {
    let version = env!("CARGO_PKG_VERSION");
    for name in ["admin", "sessions", "types", "world"] {
        let contract = file(&format!("wit/{name}.wit"));
        let package = format!("package wasi-sessions:store@{version};");
        assert!(contract.starts_with(&package), "{name}.wit");
    }
    let changelog = file("CHANGELOG.md");
    let newest = changelog.split("\n## ").nth(1).unwrap();
    let heading = newest.lines().next().unwrap();
    assert_eq!(heading.split([',', ' ']).next(), Some(version));
    let npm: Value = serde_json::from_str(&file("koa/package.json")).unwrap();
    assert_eq!(npm["version"], version);
    for (page, name) in [
        ("web-components.md", "wasi-sessions:store/sessions@"),
        ("registries.md", "wasi-sessions:store/sessions@"),
        ("registries.md", "wasi-sessions:sqlite@"),
        ("registries.md", "wasi-sessions/sqlite:"),
    ] {
        let page = file(&format!("docs/{page}"));
        let used = page.matches(name).count();
        let current = format!("{name}{version}");
        assert_eq!(page.matches(&current).count(), used);
        assert!(used > 0, "{name}");
    }
}

/// The number between these texts in a file.
fn between(path: &str, before: &str, after: &str) -> u64 {
    let text = file(path);
    let (_, rest) = text.split_once(before).unwrap_or_else(|| panic!("{path}"));
    rest.split_once(after).unwrap().0.parse().unwrap()
}

#[test]
fn the_host_knows_at_how_many_pages_the_component_checkpoints() {
    let component = "component/sqlite/src/storage/wal.rs";
    assert_eq!(
        between("host/src/sandbox/wal.rs", "const CHECKPOINT: u64 = ", ";"),
        between(component, "Durability::Relaxed => ", ",")
    );
}

#[test]
fn a_lock_is_dead_at_the_same_age_in_contract_component_and_host() {
    let contract = between(
        "wit/sessions.wit",
        "a lock that was not renewed for ",
        " seconds",
    );
    let constant = "const DEAD_AFTER: Duration = Duration::from_secs(";
    for path in [
        "component/sqlite/src/storage/lock/lease.rs",
        "host/src/sandbox/lease.rs",
    ] {
        assert_eq!(between(path, constant, ")"), contract, "{path}");
    }
}
