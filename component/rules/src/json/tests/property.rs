//! A property test: merges agree with the algorithm of RFC 7396, whatever the white
//! space and escapes of the JSON.

use super::merge;
use proptest::prelude::*;

/// Names, each with equivalent spellings.
const NAMES: [&[&str]; 6] = [
    &[r#""a""#, r#""\u0061""#],
    &[r#""\ud800""#, r#""\uD800""#],
    &[r#""\\ud800""#],
    &[r#""\"\\ud800\"""#],
    &[r#""""#],
    &["\"é\"", r#""\u00e9""#],
];

/// A JSON value before it is printed.
#[derive(Clone, Debug)]
enum Json {
    Scalar(&'static str),
    Array(Vec<Json>),
    Object(Vec<Named>),
}

/// A member: the index of its name, the index of its spelling, its value.
type Named = (usize, usize, Json);

fn json() -> impl Strategy<Value = Json> {
    let scalars = [
        r#""{[\"\\""#,
        "null",
        "1e400",
        r#""\ud800""#,
        "-0.10",
        "false",
    ];
    let scalar = prop::sample::select(scalars.to_vec()).prop_map(Json::Scalar);
    scalar.prop_recursive(4, 32, 6, |inner| {
        let member = (0..NAMES.len(), 0..2_usize, inner.clone());
        prop_oneof![
            1 => prop::collection::vec(inner, 0..3).prop_map(Json::Array),
            4 => prop::collection::vec(member, 0..6).prop_map(Json::Object),
        ]
    })
}

/// The text, with `space` wherever JSON allows white space.
fn print(value: &Json, space: &str) -> String {
    let list = |items: Vec<String>, open, close| {
        let items = items.join(&format!("{space},{space}"));
        format!("{open}{space}{items}{space}{close}")
    };
    match value {
        Json::Scalar(text) => (*text).to_owned(),
        Json::Array(values) => {
            let values = values.iter().map(|value| print(value, space));
            list(values.collect(), '[', ']')
        }
        Json::Object(members) => {
            let members = members.iter().map(|(name, way, value)| {
                let name = NAMES[*name][way % NAMES[*name].len()];
                format!("{name}{space}:{space}{}", print(value, space))
            });
            list(members.collect(), '{', '}')
        }
    }
}

/// The members of an object; of equal names the last takes the position of the
/// first.
fn distinct(value: Option<&Json>) -> Vec<Named> {
    let mut distinct: Vec<Named> = vec![];
    if let Some(Json::Object(members)) = value {
        for member in members {
            match distinct.iter_mut().find(|known| known.0 == member.0) {
                Some(known) => *known = member.clone(),
                None => distinct.push(member.clone()),
            }
        }
    }
    distinct
}

/// The algorithm as RFC 7396 states it.
fn merged(target: Option<&Json>, patch: &Json) -> Json {
    let Json::Object(_) = patch else {
        return patch.clone();
    };
    let mut result = distinct(target);
    for (name, way, value) in distinct(Some(patch)) {
        let old = result.iter().position(|known| known.0 == name);
        match (old, value) {
            (Some(old), Json::Scalar("null")) => drop(result.remove(old)),
            (None, Json::Scalar("null")) => {}
            (Some(old), value) => result[old].2 = merged(Some(&result[old].2), &value),
            (None, value) => result.push((name, way, merged(None, &value))),
        }
    }
    Json::Object(result)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_merge_agrees_with_the_algorithm_of_rfc_7396(document in json(), patch in json()) {
        let expected = print(&merged(Some(&document), &patch), "");
        let (tight, loose) = (print(&document, ""), print(&document, " \t\r\n"));
        let result = merge(tight.as_bytes(), &print(&patch, "")).unwrap();
        prop_assert_eq!(&result, &expected);
        let result = merge(loose.as_bytes(), &print(&patch, " \t\r\n")).unwrap();
        let tight: String = result.split([' ', '\t', '\r', '\n']).collect();
        prop_assert_eq!(&tight, &expected);
    }
}
