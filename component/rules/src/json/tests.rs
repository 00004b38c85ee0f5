mod property;

use super::*;
use std::cell::Cell;

thread_local! {
    /// The number of bytes that cursors of this thread have moved past.
    pub static TAKEN: Cell<usize> = const { Cell::new(0) };
}

/// The number of bytes that a merge reads, and the lengths of both texts together.
fn taken(document: &str, patch: &str) -> (usize, usize) {
    TAKEN.set(0);
    merge(document.as_bytes(), patch).unwrap();
    (TAKEN.get(), document.len() + patch.len())
}

fn merge(document: &[u8], patch: &str) -> Option<String> {
    Patch::parse(patch)?.apply(document)
}

fn max_age(payload: &str) -> Option<u64> {
    cookie_max_age(payload.as_bytes())
}

#[test]
fn max_age_is_a_positive_number_without_its_fraction() {
    assert_eq!(max_age(r#"{"cookie":{"maxAge":1500}}"#), Some(1500));
    assert_eq!(
        max_age(r#" {"a":[], "cookie":{"maxAge":1.9e3}} "#),
        Some(1900)
    );
    assert_eq!(max_age(r#"{"cookie":{"maxAge":2.9}}"#), Some(2));
    assert_eq!(max_age(r#"{"cookie":{"maxAge":1e400}}"#), Some(u64::MAX));
    assert_eq!(
        max_age(r#"{"cookie":{"maxAge":9007199254740993}}"#),
        Some(9007199254740993)
    );
    for not_given in [
        "0",
        "0.5",
        "0.9999999999999999",
        "-5",
        "-1e400",
        "\"5\"",
        "null",
        "true",
        "[5]",
        "{}",
    ] {
        let payload = format!(r#"{{"cookie":{{"maxAge":{not_given}}}}}"#);
        assert_eq!(max_age(&payload), None, "{not_given}");
    }
}

#[test]
fn a_max_age_with_more_digits_than_a_double_has_is_rounded_before_its_fraction_is_cut_off() {
    let nines = "9".repeat(20);
    for (number, expected) in [
        (format!("0.{nines}"), 1),
        (format!("1.{nines}"), 2),
        ("9007199254740993.0".to_owned(), 9007199254740992),
        ("9007199254740993".to_owned(), 9007199254740993),
    ] {
        let payload = format!(r#"{{"cookie":{{"maxAge":{number}}}}}"#);
        assert_eq!(max_age(&payload), Some(expected), "{number}");
    }
}

#[test]
fn the_last_of_equal_members_counts() {
    assert_eq!(
        max_age(r#"{"cookie":{"maxAge":1},"cookie":{"maxAge":2,"maxAge":3}}"#),
        Some(3)
    );
}

#[test]
fn a_payload_that_is_not_json_has_no_max_age() {
    for payload in [
        "",
        "x",
        "[]",
        "7",
        "{",
        r#"{"cookie":{"maxAge":5}} x"#,
        r#"{"cookie":{"maxAge":5},}"#,
        r#"{"cookie":5}"#,
    ] {
        assert_eq!(max_age(payload), None, "{payload}");
    }
    assert_eq!(
        cookie_max_age(b"{\"a\":\"\xff\",\"cookie\":{\"maxAge\":5}}"),
        None
    );
}

#[test]
fn json_nested_128_deep_is_json_and_deeper_is_not() {
    let nested = |depth: usize| {
        let value = "[".repeat(depth - 1) + &"]".repeat(depth - 1);
        format!(r#"{{"a":{value},"cookie":{{"maxAge":5}}}}"#)
    };
    assert_eq!(max_age(&nested(128)), Some(5));
    assert_eq!(max_age(&nested(129)), None);
    assert_eq!(max_age(&nested(100_000)), None);
    let patch = r#"{"a":1}"#;
    assert!(merge(nested(128).as_bytes(), patch).is_some());
    assert!(merge(nested(129).as_bytes(), patch).is_none());
    assert!(merge(b"{}", &nested(128)).is_some());
    assert!(merge(b"{}", &nested(129)).is_none());
    let objects = r#"{"a":"#.repeat(127) + "{}" + &"}".repeat(127);
    assert_eq!(merge(b"{}", &objects).unwrap(), objects);
}

#[test]
fn brackets_in_strings_do_not_nest() {
    let payload = format!(
        r#"{{"a":"\"{}","cookie":{{"maxAge":5}}}}"#,
        "[{".repeat(500)
    );
    assert_eq!(max_age(&payload), Some(5));
}

#[test]
fn merge_agrees_with_the_examples_of_rfc_7396() {
    for (target, patch, result) in [
        (r#"{"a":"b"}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
        (r#"{"a":"b"}"#, r#"{"b":"c"}"#, r#"{"a":"b","b":"c"}"#),
        (r#"{"a":"b"}"#, r#"{"a":null}"#, "{}"),
        (r#"{"a":"b","b":"c"}"#, r#"{"a":null}"#, r#"{"b":"c"}"#),
        (r#"{"a":["b"]}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
        (r#"{"a":"c"}"#, r#"{"a":["b"]}"#, r#"{"a":["b"]}"#),
        (
            r#"{"a":{"b":"c"}}"#,
            r#"{"a":{"b":"d","c":null}}"#,
            r#"{"a":{"b":"d"}}"#,
        ),
        (r#"{"a":[{"b":"c"}]}"#, r#"{"a":[1]}"#, r#"{"a":[1]}"#),
        (r#"["a","b"]"#, r#"["c","d"]"#, r#"["c","d"]"#),
        (r#"{"a":"b"}"#, r#"["c"]"#, r#"["c"]"#),
        (r#"{"a":"foo"}"#, "null", "null"),
        (r#"{"a":"foo"}"#, r#""bar""#, r#""bar""#),
        (r#"{"e":null}"#, r#"{"a":1}"#, r#"{"e":null,"a":1}"#),
        ("[1,2]", r#"{"a":"b","c":null}"#, r#"{"a":"b"}"#),
        ("{}", r#"{"a":{"bb":{"ccc":null}}}"#, r#"{"a":{"bb":{}}}"#),
    ] {
        assert_eq!(merge(target.as_bytes(), patch).unwrap(), result);
    }
}

#[test]
fn merge_leaves_what_the_patch_does_not_name_as_it_was() {
    let target =
        r#"{"z":1.10, "big":12345678901234567890123, "s":"\u00e9\ud800", "a":{"y":1e2,"x":[ 1 ]}}"#;
    assert_eq!(
        merge(target.as_bytes(), r#"{"a":{"n":2}}"#).unwrap(),
        r#"{"z":1.10,"big":12345678901234567890123,"s":"\u00e9\ud800","a":{"y":1e2,"x":[ 1 ],"n":2}}"#
    );
}

#[test]
fn names_keep_their_escapes_and_are_compared_unescaped() {
    let target = r#"{"\ud800":1,"caf\u00e9":{"a":1},"\u0062":2,"cookie":{"max\u0041ge":5}}"#;
    assert_eq!(max_age(target), Some(5));
    assert_eq!(
        merge(
            target.as_bytes(),
            r#"{"caf\u00e9":{"b":1},"b":null,"\ud800":3}"#
        )
        .unwrap(),
        r#"{"\ud800":3,"caf\u00e9":{"a":1,"b":1},"cookie":{"max\u0041ge":5}}"#
    );
    assert_eq!(
        merge(r#"{"café":1}"#.as_bytes(), r#"{"caf\u00e9":2}"#).unwrap(),
        r#"{"café":2}"#
    );
}

#[test]
fn names_are_equal_when_their_content_is() {
    // An unpaired surrogate, and a name that looks like the escape of one.
    for (one, other) in [
        (r#""\ud800""#, r#""\"\\ud800\"""#),
        (r#""\ud800""#, r#""\\ud800""#),
        (r#""\ud800""#, r#""\ud801""#),
        (r#""\ud800""#, r#""\udc00""#),
        (r#""\ud800""#, r#""\ufffd""#),
        (r#""\ud800""#, r#""\u00ed\u00a0\u0080""#),
        (r#""\udc00\ud800""#, r#""\ud800\udc00""#),
        (r#""\ud800x""#, r#""\ud800""#),
        (r#""a""#, r#""\"a\"""#),
        (r#""""#, r#""\u0000""#),
    ] {
        let document = format!("{{{one}:1,{other}:2}}");
        assert_eq!(merge(document.as_bytes(), "{}"), Some(document.clone()));
        for (patched, merged) in [
            (one, format!("{{{one}:3,{other}:2}}")),
            (other, format!("{{{one}:1,{other}:3}}")),
        ] {
            let patch = format!("{{{patched}:3}}");
            assert_eq!(merge(document.as_bytes(), &patch), Some(merged));
        }
    }
    for (one, same) in [
        (r#""\ud800""#, r#""\uD800""#),
        (r#""\ud83d\ude00""#, "\"\u{1f600}\""),
        (r#""\ud800\ud83d\ude00""#, "\"\\ud800\u{1f600}\""),
        (r#""\ud800\n""#, r#""\ud800\u000a""#),
        (r#""\/""#, r#""/""#),
    ] {
        let document = format!("{{{one}:1}}");
        let patch = format!("{{{same}:2}}");
        let merged = format!("{{{one}:2}}");
        assert_eq!(merge(document.as_bytes(), &patch), Some(merged));
    }
}

#[test]
fn the_last_member_of_a_name_takes_the_position_of_the_first() {
    for (document, patch, merged) in [
        (r#"{"a":1,"b":2,"\u0061":3}"#, "{}", r#"{"\u0061":3,"b":2}"#),
        (
            r#"{"a":{"x":1},"b":2,"a":{"y":2}}"#,
            r#"{"a":{"z":3}}"#,
            r#"{"a":{"y":2,"z":3},"b":2}"#,
        ),
        (
            r#"{"a":{"x":1},"a":2}"#,
            r#"{"a":{"z":3}}"#,
            r#"{"a":{"z":3}}"#,
        ),
        (
            "{}",
            r#"{"a":{"x":1},"a":{"y":null},"b":null}"#,
            r#"{"a":{}}"#,
        ),
        (r#"{"a":1}"#, r#"{"a":2,"a":null}"#, "{}"),
    ] {
        assert_eq!(merge(document.as_bytes(), patch).unwrap(), merged);
    }
}

#[test]
fn white_space_is_kept_in_unchanged_values_only() {
    let document = " {\t\"a\" : { \"x\" : [ 1 , { } ] , \"y\" : 2 }\n,\r\"b\" : { } } ";
    assert_eq!(
        merge(document.as_bytes(), " { \"c\" : [ ] } ").unwrap(),
        r#"{"a":{ "x" : [ 1 , { } ] , "y" : 2 },"b":{ },"c":[ ]}"#
    );
    assert_eq!(
        merge(document.as_bytes(), r#"{ "a" : { "y" : null } }"#).unwrap(),
        r#"{"a":{"x":[ 1 , { } ]},"b":{ }}"#
    );
    assert_eq!(merge(b" [ ] ", " [ 1 , 2 ] ").unwrap(), "[ 1 , 2 ]");
}

#[test]
fn a_merge_reads_each_byte_once_however_it_is_nested() {
    let nested = |depth: usize, inner: &str| r#"{"a":"#.repeat(depth) + inner + &"}".repeat(depth);
    let long = format!("[{}0]", "0,".repeat(10_000));
    let members: String = (0..2_000)
        .map(|number| format!(r#""{number}":0,"#))
        .collect();
    let members = format!("{{{members}\"last\":0}}");
    let equal = format!("{{{}\"a\":0}}", r#""a":{},"#.repeat(2_000));
    for depth in [0, 1, 63, 126] {
        for inner in [&long, &members, &equal] {
            for (document, patch) in [
                (nested(depth, inner), nested(depth, r#"{"b":1}"#)),
                (nested(depth, inner), nested(depth, &members)),
                (nested(depth, "{}"), nested(depth, inner)),
                (nested(depth, inner), "{}".to_owned()),
            ] {
                let (taken, length) = taken(&document, &patch);
                assert!(taken <= length, "{taken} of {length}");
            }
        }
    }
    TAKEN.set(0);
    let payload = format!(r#"{{"a":{},"cookie":{{"maxAge":5}}}}"#, nested(126, &long));
    assert_eq!(max_age(&payload), Some(5));
    assert!(TAKEN.get() <= 2 * payload.len());
}

#[test]
fn merge_refuses_what_is_not_json() {
    assert!(merge(b"x", "{}").is_none());
    assert!(merge(b"{}", "x").is_none());
    assert!(merge(b"\xff", "{}").is_none());
    assert!(merge(b"{}", "").is_none());
}
