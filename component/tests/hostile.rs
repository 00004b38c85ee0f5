//! Hostile ids, subjects, payloads, handles and cursors: each is stored unchanged or refused,
//! and the store stays sound.

use crate::engine::{Engine, Error, Outcome};
use crate::fixture::{CASES, Database, NOW, SETUP, handle};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use std::collections::BTreeMap;

/// Fragments that could end strings, statements or lines early, exceed lengths, or be
/// misinterpreted.
const PIECES: &[&str] = &[
    "",
    "a",
    "\0",
    "'",
    "\"",
    "\\",
    ";",
    "--",
    "/*",
    "%",
    "_",
    "\r\n",
    "\u{feff}",
    "\u{202e}",
    "\u{301}",
    "é",
    "🎉",
    "\u{10ffff}",
    "\u{fffd}",
    "null",
    "' OR '1'='1",
    "../..",
    "$1",
    "?1",
    "Robert'); DROP TABLE \"Sessions\"; --",
];

fn text() -> impl Strategy<Value = String> {
    let short = vec(select(PIECES), 0..6).prop_map(|pieces| pieces.concat());
    // Lengths around the maximum of 255 bytes.
    let long = (select(PIECES), 250..260_usize).prop_map(|(piece, bytes)| {
        let mut text = piece.to_owned();
        while text.len() < bytes {
            text.push('x');
        }
        text
    });
    prop_oneof![6 => short, 1 => long]
}

#[derive(Clone, Debug)]
enum Step {
    Set(String, Vec<u8>),
    Create(Option<String>, Vec<u8>),
    Get(String),
    Destroy(String),
    List(Option<String>, Option<String>),
    Inspect(String),
    Terminate(String),
    TerminateSubject(String, Option<String>),
}

fn step() -> impl Strategy<Value = Step> {
    let payload = || prop_oneof![text().prop_map(String::into_bytes), vec(any::<u8>(), 0..20)];
    let some_text = || proptest::option::of(text());
    prop_oneof![
        3 => (text(), payload()).prop_map(|(id, data)| Step::Set(id, data)),
        2 => (some_text(), payload()).prop_map(|(subject, data)| Step::Create(subject, data)),
        2 => text().prop_map(Step::Get),
        1 => text().prop_map(Step::Destroy),
        1 => (some_text(), some_text()).prop_map(|(subject, cursor)| Step::List(subject, cursor)),
        1 => text().prop_map(Step::Inspect),
        1 => text().prop_map(Step::Terminate),
        1 => (text(), some_text()).prop_map(|(subject, except)| Step::TerminateSubject(subject, except)),
    ]
}

fn is_valid(text: &str) -> bool {
    (1..=255).contains(&text.len())
}

/// What a session was created with.
type Kept = (Option<String>, Vec<u8>);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES / 2))]

    #[test]
    fn hostile_text_is_stored_unchanged_or_refused(steps in vec(step(), 1..40)) {
        let database = Database::with(SETUP, |options| options.tombstone = 0);
        let mut store = database.open();
        let mut kept: BTreeMap<String, Kept> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Set(id, data) => match store.set(NOW, &id, &data, None) {
                    Ok(Outcome::Written(_)) => {
                        prop_assert!(is_valid(&id));
                        kept.entry(id).or_default().1 = data;
                    }
                    Err(Error::InvalidArgument(_)) => prop_assert!(!is_valid(&id)),
                    other => prop_assert!(false, "{other:?}"),
                },
                Step::Create(subject, data) => {
                    let valid = subject.as_deref().is_none_or(is_valid);
                    match store.create(NOW, &data, None, subject.as_deref()) {
                        Ok(created) => {
                            prop_assert!(valid);
                            kept.insert(created.id, (subject, data));
                        }
                        Err(Error::InvalidArgument(_)) => prop_assert!(!valid),
                        other => prop_assert!(false, "{other:?}"),
                    }
                }
                Step::Get(id) => {
                    let found = store.get(NOW, &id).unwrap();
                    let found = found.map(|session| (session.subject, session.data));
                    prop_assert_eq!(found.as_ref(), kept.get(&id));
                }
                Step::Destroy(id) => {
                    prop_assert_eq!(store.destroy(NOW, &id), Ok(kept.remove(&id).is_some()));
                }
                Step::List(subject, cursor) => {
                    match store.list_sessions(NOW, subject.as_deref(), cursor.as_deref(), 1000) {
                        Ok(page) => {
                            let expected = kept.values().filter(|(of, _)| subject.is_none() || *of == subject);
                            prop_assert!(page.entries.len() <= expected.count());
                        }
                        Err(Error::InvalidArgument(_)) => prop_assert!(cursor.is_some()),
                        other => prop_assert!(false, "{other:?}"),
                    }
                }
                Step::Inspect(text) => prop_assert_eq!(store.inspect(NOW, &text), Ok(None)),
                Step::Terminate(text) => prop_assert_eq!(store.terminate(NOW, &text), Ok(false)),
                Step::TerminateSubject(subject, except) => {
                    let before = kept.len();
                    kept.retain(|id, (of, _)| of.as_ref() != Some(&subject) || Some(id) == except.as_ref());
                    let ended = store.terminate_subject(NOW, &subject, except.as_deref());
                    prop_assert_eq!(ended, Ok((before - kept.len()) as u64));
                }
            }
        }
        for (id, (subject, data)) in &kept {
            let session = store.inspect(NOW, &handle(id)).unwrap().unwrap();
            prop_assert_eq!((&session.subject, &session.data), (subject, data));
        }
        prop_assert_eq!(store.count_sessions(NOW, None), Ok(kept.len() as u64));
        prop_assert_eq!(store.check(), Ok(vec![]));
    }
}
