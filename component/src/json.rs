//! What the store reads and changes in payloads that are JSON.
//!
//! Values that are only passed along are never parsed into numbers or maps:
//! they stay the text they were.

use indexmap::IndexMap;
use serde::Deserializer;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// JSON nested deeper than this is not JSON here.
const DEEPEST: usize = 128;

/// The members of an object in their order, by their names without escapes; of
/// equal names the last one counts.
type Object<'a> = IndexMap<Cow<'a, str>, Member<'a>>;

/// A member as it is written.
#[derive(Clone, Copy)]
struct Member<'a> {
    name: &'a RawValue,
    value: &'a RawValue,
}

/// The `cookie.maxAge` of a payload, in milliseconds and without its fraction;
/// none when the payload is not JSON or that is not a number of 1 or more.
pub fn cookie_max_age(payload: &[u8]) -> Option<u64> {
    let document = parse(std::str::from_utf8(payload).ok()?)?;
    let cookie = member(document, "cookie")?;
    let max_age = member(cookie, "maxAge")?.get();
    let whole = max_age.parse::<u64>().or_else(|_| {
        // `as` cuts the fraction off, saturates, and makes negatives 0.
        max_age.parse::<f64>().map(|number| number as u64)
    });
    whole.ok().filter(|&milliseconds| milliseconds > 0)
}

/// A merge patch (RFC 7396).
pub struct Patch<'a>(&'a RawValue);

impl<'a> Patch<'a> {
    /// None when the text is not JSON.
    pub fn parse(text: &'a str) -> Option<Patch<'a>> {
        parse(text).map(Patch)
    }

    /// The patched document; none when the document is not JSON. What the patch
    /// does not name stays as it was: the order of members, the digits of
    /// numbers, the escapes in strings.
    pub fn apply(&self, document: &[u8]) -> Option<String> {
        let document = parse(std::str::from_utf8(document).ok()?)?;
        let mut merged = String::new();
        write_merged(&mut merged, Some(document), self.0).ok()?;
        Some(merged)
    }
}

fn parse(text: &str) -> Option<&RawValue> {
    if depth(text) > DEEPEST {
        return None;
    }
    serde_json::from_str(text).ok()
}

/// How deep arrays and objects are nested in `text`, if it is JSON. The parser
/// itself skips over values without a bound on their depth.
fn depth(text: &str) -> usize {
    let (mut depth, mut deepest) = (0usize, 0);
    let mut bytes = text.bytes();
    let mut in_string = false;
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => in_string = !in_string,
            b'\\' if in_string => drop(bytes.next()),
            b'{' | b'[' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

fn is_object(value: &RawValue) -> bool {
    value.get().starts_with('{')
}

fn is_null(value: &RawValue) -> bool {
    value.get() == "null"
}

/// The value of the member with this name, if this is an object that has one.
fn member<'a>(object: &'a RawValue, name: &str) -> Option<&'a RawValue> {
    let mut found = None;
    each_member(object, |member| {
        if without_escapes(member.name) == name {
            found = Some(member.value);
        }
    })
    .ok()?;
    found
}

/// All members, if this is an object; else none.
fn members(value: &RawValue) -> serde_json::Result<Object<'_>> {
    let mut members = Object::new();
    if is_object(value) {
        each_member(value, |member| {
            members.insert(without_escapes(member.name), member);
        })?;
    }
    Ok(members)
}

/// A name is compared by what it means. Half of a surrogate pair, which
/// JavaScript allows there, means nothing else than how it is written.
fn without_escapes(name: &RawValue) -> Cow<'_, str> {
    let written = name.get();
    match written.contains('\\') {
        true => serde_json::from_str(written).map_or(Cow::Borrowed(written), Cow::Owned),
        false => Cow::Borrowed(written.trim_matches('"')),
    }
}

/// Calls `take` for each member of an object, in their order.
fn each_member<'a>(object: &'a RawValue, take: impl FnMut(Member<'a>)) -> serde_json::Result<()> {
    struct Each<F>(F);

    impl<'de, F: FnMut(Member<'de>)> Visitor<'de> for Each<F> {
        type Value = ();

        fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<M: MapAccess<'de>>(mut self, mut members: M) -> Result<(), M::Error> {
            while let Some((name, value)) = members.next_entry()? {
                self.0(Member { name, value });
            }
            Ok(())
        }
    }

    serde_json::Deserializer::from_str(object.get()).deserialize_map(Each(take))
}

fn write_merged(
    out: &mut String,
    target: Option<&RawValue>,
    patch: &RawValue,
) -> serde_json::Result<()> {
    if !is_object(patch) {
        out.push_str(patch.get());
        return Ok(());
    }
    let patch = members(patch)?;
    let target = target.map(members).transpose()?.unwrap_or_default();
    out.push('{');
    for (name, old) in &target {
        match patch.get(name) {
            None => {
                write_name(out, old);
                out.push_str(old.value.get());
            }
            Some(new) if is_null(new.value) => {}
            Some(new) => {
                write_name(out, old);
                write_merged(out, Some(old.value), new.value)?;
            }
        }
    }
    for (name, new) in &patch {
        if !target.contains_key(name) && !is_null(new.value) {
            write_name(out, new);
            write_merged(out, None, new.value)?;
        }
    }
    out.push('}');
    Ok(())
}

/// Starts the next member of the object that `out` ends in.
fn write_name(out: &mut String, member: &Member) {
    if !out.ends_with('{') {
        out.push(',');
    }
    out.push_str(member.name.get());
    out.push(':');
}

#[cfg(test)]
mod tests {
    use super::*;

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
            "0", "0.5", "-5", "-1e400", "\"5\"", "null", "true", "[5]", "{}",
        ] {
            let payload = format!(r#"{{"cookie":{{"maxAge":{not_given}}}}}"#);
            assert_eq!(max_age(&payload), None, "{not_given}");
        }
    }

    #[test]
    fn of_equal_members_the_last_counts() {
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
        let target = r#"{"z":1.10, "big":12345678901234567890123, "s":"\u00e9\ud800", "a":{"y":1e2,"x":[ 1 ]}}"#;
        assert_eq!(
            merge(target.as_bytes(), r#"{"a":{"n":2}}"#).unwrap(),
            r#"{"z":1.10,"big":12345678901234567890123,"s":"\u00e9\ud800","a":{"y":1e2,"x":[ 1 ],"n":2}}"#
        );
    }

    #[test]
    fn names_keep_their_escapes_and_are_compared_without() {
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
    fn merge_refuses_what_is_not_json() {
        assert!(merge(b"x", "{}").is_none());
        assert!(merge(b"{}", "x").is_none());
        assert!(merge(b"\xff", "{}").is_none());
        assert!(merge(b"{}", "").is_none());
    }
}
