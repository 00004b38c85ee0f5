//! Tests of the soak, for a time that is too short to judge memory and disk space.

use serde_json::Value;

use crate::command::{Ran, bare};

fn soak(arguments: &[&str]) -> Ran {
    bare(&[&["soak"], arguments].concat())
        .output()
        .unwrap()
        .into()
}

#[test]
fn a_short_soak_holds_and_leaves_nothing_behind() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().to_str().unwrap();
    let ran = soak(&["--minutes", "0.05", "--json", "--directory", place]);
    assert_eq!((ran.code, ran.errors.as_str()), (0, ""), "{}", ran.output);
    let lines = ran.output.lines().map(serde_json::from_str);
    let lines: Vec<Value> = lines.map(Result::unwrap).collect();
    let (last, measured) = lines.split_last().unwrap();
    assert_eq!(last["flat"], Value::Null);
    assert!(last["operations"].as_u64().unwrap() > 0, "{last}");
    assert!(!measured.is_empty());
    for line in measured {
        assert!(line["database"].as_u64().unwrap() > 0, "{line}");
        assert!(line["milliseconds"].as_f64().unwrap() > 0.0, "{line}");
        let counts = ["operations", "live", "expired", "memory", "wal"];
        assert!(counts.iter().all(|name| line[name].is_u64()), "{line}");
    }
    assert_eq!(directory.path().read_dir().unwrap().count(), 0);
}

#[test]
fn a_soak_takes_a_key() {
    let directory = tempfile::tempdir().unwrap();
    let key = directory.path().join("key");
    std::fs::write(&key, "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n").unwrap();
    let ran = soak(&["--minutes", "0.02", "--key-file", key.to_str().unwrap()]);
    assert_eq!((ran.code, ran.errors.as_str()), (0, ""), "{}", ran.output);
    let last = ran.output.lines().last().unwrap();
    assert!(last.contains(" operations, all as expected"), "{last}");
    assert!(!last.starts_with("0 "), "{last}");
}
