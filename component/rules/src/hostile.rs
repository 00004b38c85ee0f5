//! Property tests with hostile text: options, patches and payloads are accepted only if
//! they are valid JSON, and nothing panics.

use crate::json::{Patch, cookie_max_age};
use crate::options::Options;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

/// Valid and nearly valid texts.
const CORPUS: &[&str] = &[
    r#"{"tableName":"Sessions","modelName":"Session","sync":true,"syncTimeout":3000}"#,
    r#"{"gcFrequency":0,"gcStep":1,"browserSessionLifetime":1,"absoluteLifetime":null}"#,
    r#"{"maxData":536870912,"maxPerSubject":3,"access":"shared","durability":"relaxed"}"#,
    r#"{"renewalStep":9223372036854775807,"tombstone":18446744073709551615}"#,
    r#"{"cookie":{"maxAge":86400000.5,"path":"/"},"user":"älice","n":[1,2,{"a":null}]}"#,
    r#"{"cookie":{"maxAge":1e400},"a":{"b":{"c":{"d":"\ud83c\udf89\u0000"}}}}"#,
    r#"{"a":null,"b":{"c":null},"":{"":{"":0}},"cookie":null}"#,
    " \t\r\n[ -0.10 , \"\\ud800\" , true ] ",
    "null",
    "",
];

/// Fragments that often break parsers.
const PIECES: &[&str] = &[
    "\0",
    "\"",
    "\\",
    "\\u",
    "\\ud800",
    "\\udc00",
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "null",
    "-",
    "1e",
    "e999999999",
    "0x1",
    "00",
    "NaN",
    "99999999999999999999",
    "\u{feff}",
    "\u{202e}",
    "é",
    "🎉",
    "\u{10ffff}",
    "{\"\":",
    "\"cookie\":",
    "\"maxAge\":",
    "'; DROP TABLE Sessions; --",
    "/**/",
];

/// A text of the corpus in which some ranges of up to 3 characters are replaced with
/// fragments.
fn text() -> impl Strategy<Value = String> {
    let edit = (any::<Index>(), 0..4_usize, select(PIECES));
    (select(CORPUS), vec(edit, 0..6)).prop_map(|(seed, edits)| {
        edits
            .iter()
            .fold(seed.to_owned(), |text, (at, length, piece)| {
                let characters: Vec<char> = text.chars().collect();
                let at = at.index(characters.len() + 1);
                let end = (at + length).min(characters.len());
                let (before, after) = (&characters[..at], &characters[end..]);
                before.iter().collect::<String>() + piece + &after.iter().collect::<String>()
            })
    })
}

fn is_json(text: &str) -> bool {
    serde_json::from_str::<&serde_json::value::RawValue>(text).is_ok()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn options_are_json_objects_within_their_limits_or_refused(text in text()) {
        match Options::parse(&text, &[]) {
            Ok(options) => {
                prop_assert!(text.is_empty() || is_json(&text));
                prop_assert!((1..=63).contains(&options.table_name.len()));
                prop_assert!((1..=255).contains(&options.model_name.len()));
                prop_assert!(options.sync_timeout <= 3_600_000);
                prop_assert!((1..=1_000_000).contains(&options.gc_step));
                prop_assert!((1..=536_870_912).contains(&options.max_data));
                prop_assert!(options.tombstone <= i64::MAX as u64);
            }
            // A refusal can be logged, so it does not repeat long input.
            Err(error) => {
                let length = format!("{error:?}").len();
                prop_assert!(length < 2_000);
            }
        }
    }

    #[test]
    fn a_patch_and_its_document_are_json_or_refused(patch in text(), document in text()) {
        let parsed = Patch::parse(&patch);
        prop_assert_eq!(parsed.is_some(), is_json(&patch));
        if let Some(parsed) = parsed {
            let merged = parsed.apply(document.as_bytes());
            prop_assert_eq!(merged.is_some(), is_json(&document));
            if let Some(merged) = merged {
                prop_assert!(is_json(&merged));
                prop_assert!(merged.len() <= patch.len() + document.len());
            }
        }
    }

    #[test]
    fn a_payload_has_a_max_age_only_if_it_is_json(
        text in text(),
        bytes in vec(any::<u8>(), 0..64),
    ) {
        if cookie_max_age(text.as_bytes()).is_some() {
            prop_assert!(is_json(&text));
        }
        prop_assert_ne!(cookie_max_age(text.as_bytes()), Some(0));
        let cut = [text.as_bytes(), &bytes].concat();
        if cookie_max_age(&cut).is_some() {
            prop_assert!(std::str::from_utf8(&cut).is_ok_and(is_json));
        }
    }
}

#[test]
fn json_nested_too_deep_is_refused_however_long_it_is() {
    for (open, close) in [("[", "]"), ("{\"a\":", "}"), ("{\"cookie\":", "}")] {
        for depth in [129, 100_000, 2_000_000] {
            let text = open.repeat(depth) + "0" + &close.repeat(depth);
            assert!(Patch::parse(&text).is_none());
            assert!(Patch::parse("{}").unwrap().apply(text.as_bytes()).is_none());
            assert_eq!(cookie_max_age(text.as_bytes()), None);
        }
        let text = open.repeat(128) + "0" + &close.repeat(128);
        assert!(Patch::parse(&text).is_some());
    }
}

#[test]
fn a_payload_of_10_megabytes_is_read_like_a_small_one() {
    let filler = "x".repeat(10_000_000);
    let text = format!(r#"{{"filler":"{filler}","cookie":{{"maxAge":5}}}}"#);
    assert_eq!(cookie_max_age(text.as_bytes()), Some(5));
    let patch = Patch::parse(r#"{"filler":null}"#).unwrap();
    let merged = patch.apply(text.as_bytes()).unwrap();
    assert_eq!(merged, r#"{"cookie":{"maxAge":5}}"#);
}
