//! Tests of tower-sessions on the store: the promises of its trait, and an axum application.

use std::collections::HashMap;

use proptest::prelude::*;
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};
use tokio::task::JoinSet;
use tower_sessions::session::{Id, Record};
use tower_sessions::session_store::Error;
use tower_sessions::{ExpiredDeletion, SessionStore};
use wasi_sessions::{Options, Outcome, Sessions};

use crate::fixture::{END_OF_TIME, Home, LIFE, READ_CACHES, START, create, data, ms};

mod axum_app;

fn date(milliseconds: u64) -> OffsetDateTime {
    OffsetDateTime::UNIX_EPOCH + Duration::milliseconds(milliseconds.try_into().unwrap())
}

/// A record that lives for an hour from [`START`].
fn record(id: i128, data: Value) -> Record {
    Record {
        id: Id(id),
        data: serde_json::from_value(data).unwrap(),
        expiry_date: date(START + 3_600_000),
    }
}

async fn open(home: &Home) -> Sessions {
    home.builder().open().await.unwrap()
}

async fn load(sessions: &Sessions, id: i128) -> Option<Record> {
    sessions.load(&Id(id)).await.unwrap()
}

#[tokio::test]
async fn every_id_is_a_session_of_its_own() {
    let home = Home::new();
    let sessions = open(&home).await;
    let ids = [i128::MIN, -1, 0, 1, 1 << 64, i128::MAX];
    for id in ids {
        let mut record = record(id, json!({ "id": id.to_string() }));
        SessionStore::create(&sessions, &mut record).await.unwrap();
        assert_eq!(record.id, Id(id));
    }
    for id in ids {
        let loaded = load(&sessions, id).await;
        assert_eq!(loaded, Some(record(id, json!({ "id": id.to_string() }))));
    }
    sessions.delete(&Id(-1)).await.unwrap();
    assert_eq!(load(&sessions, -1).await, None);
    assert!(load(&sessions, 1).await.is_some());
    assert_eq!(sessions.count_sessions(None).await, Ok(5));
}

#[tokio::test]
async fn a_record_is_stored_as_json_under_the_id_in_the_cookie() {
    let home = Home::new();
    let sessions = open(&home).await;
    let mut record = record(7, json!({ "cookie": { "maxAge": 5 } }));
    SessionStore::create(&sessions, &mut record).await.unwrap();
    let session = sessions.get(&record.id.to_string()).await.unwrap().unwrap();
    assert_eq!(session.data, br#"{"cookie":{"maxAge":5}}"#);
    assert_eq!(session.expires, START + 3_600_000);
}

#[tokio::test]
async fn create_never_overwrites_a_session() {
    let home = Home::new();
    let sessions = open(&home).await;
    let mut first = record(1, json!({ "user": "alice" }));
    SessionStore::create(&sessions, &mut first).await.unwrap();

    let mut second = record(1, json!({ "user": "bob" }));
    SessionStore::create(&sessions, &mut second).await.unwrap();
    assert_ne!(second.id, first.id);
    assert_eq!(load(&sessions, 1).await, Some(first));
    assert_eq!(load(&sessions, second.id.0).await, Some(second));
}

#[tokio::test]
async fn create_does_not_use_an_id_that_was_ended_recently() {
    let home = Home::new();
    let sessions = open(&home).await;
    let mut first = record(1, json!({}));
    SessionStore::create(&sessions, &mut first).await.unwrap();
    sessions.delete(&first.id).await.unwrap();

    let mut second = record(1, json!({}));
    SessionStore::create(&sessions, &mut second).await.unwrap();
    assert_ne!(second.id, Id(1));
    assert_eq!(load(&sessions, 1).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_creations_of_one_id_each_get_a_session() {
    let home = Home::new();
    let sessions = open(&home).await;
    let mut tasks = JoinSet::new();
    for number in 0..32 {
        let sessions = sessions.clone();
        tasks.spawn(async move {
            let mut record = record(9, json!({ "number": number }));
            SessionStore::create(&sessions, &mut record).await.unwrap();
            record
        });
    }
    let records: HashMap<Id, Record> = tasks
        .join_all()
        .await
        .into_iter()
        .map(|record| (record.id, record))
        .collect();
    assert_eq!(records.len(), 32);
    assert!(records.contains_key(&Id(9)));
    for (id, record) in records {
        assert_eq!(load(&sessions, id.0).await, Some(record));
    }
}

#[tokio::test]
async fn save_replaces_the_data_and_renews_the_life() {
    let home = Home::new();
    let sessions = open(&home).await;
    let mut record = record(1, json!({ "count": 1, "name": "a" }));
    SessionStore::create(&sessions, &mut record).await.unwrap();

    record.data = HashMap::from([("count".to_owned(), json!(2))]);
    for moved in [Duration::hours(1), Duration::minutes(-90)] {
        record.expiry_date += moved;
        home.advance(1);
        sessions.save(&record).await.unwrap();
        assert_eq!(load(&sessions, 1).await, Some(record.clone()));
    }
}

#[tokio::test]
async fn save_does_not_restore_a_session_that_was_deleted_however_long_ago() {
    for bytes in READ_CACHES {
        let home = Home::new();
        let sessions = home.builder().read_cache(bytes).open().await.unwrap();
        let mut record = record(1, json!({}));
        SessionStore::create(&sessions, &mut record).await.unwrap();
        sessions.delete(&record.id).await.unwrap();

        let tombstone = Options::default().tombstone.as_millis() as u64;
        for later in [0, tombstone - 1, 1, tombstone] {
            home.advance(later);
            sessions.save(&record).await.unwrap();
            assert_eq!(load(&sessions, 1).await, None);
            // Deleting again is no error.
            sessions.delete(&record.id).await.unwrap();
        }
        assert_eq!(sessions.count_sessions(None).await, Ok(0));
    }
}

#[tokio::test]
async fn save_does_not_start_a_session() {
    let home = Home::new();
    let sessions = open(&home).await;
    sessions.save(&record(1, json!({}))).await.unwrap();
    assert_eq!(load(&sessions, 1).await, None);
}

#[tokio::test]
async fn a_record_exists_until_the_millisecond_it_expires() {
    for bytes in READ_CACHES {
        let home = Home::new();
        let sessions = home.builder().read_cache(bytes).open().await.unwrap();
        let mut record = record(1, json!({}));
        // A fraction of a millisecond is cut off.
        record.expiry_date = date(START + 1000) + Duration::nanoseconds(999_999);
        SessionStore::create(&sessions, &mut record).await.unwrap();

        home.set_clock(START + 999);
        let loaded = load(&sessions, 1).await.unwrap();
        assert_eq!(loaded.expiry_date, date(START + 1000));
        home.set_clock(START + 1000);
        assert_eq!(load(&sessions, 1).await, None);
        sessions.save(&record).await.unwrap();
        assert_eq!(load(&sessions, 1).await, None);
    }
}

#[tokio::test]
async fn a_life_counts_from_the_clocks_time_even_after_a_step_back() {
    let home = Home::new();
    let sessions = open(&home).await;
    home.set_clock(START - 3_600_000);
    let mut record = record(1, json!({}));
    record.expiry_date = date(START - 1);
    SessionStore::create(&sessions, &mut record).await.unwrap();
    assert_eq!(load(&sessions, 1).await, Some(record));
}

#[tokio::test]
async fn any_expiry_date_is_accepted() {
    let home = Home::new();
    let sessions = open(&home).await;
    for past in [date(START), date(0), date(0) - Duration::days(700_000)] {
        let mut record = record(1, json!({}));
        record.expiry_date = past;
        SessionStore::create(&sessions, &mut record).await.unwrap();
        assert_eq!(load(&sessions, 1).await, None);
    }

    let mut far = record(2, json!({}));
    far.expiry_date = date(253_402_300_799_999);
    SessionStore::create(&sessions, &mut far).await.unwrap();
    assert_eq!(load(&sessions, 2).await, Some(far.clone()));

    // Saved with a date in the past, it ends.
    far.expiry_date = date(START);
    sessions.save(&far).await.unwrap();
    assert_eq!(load(&sessions, 2).await, None);
}

#[tokio::test]
async fn a_session_without_end_has_the_latest_possible_date() {
    let home = Home::new();
    let sessions = open(&home).await;
    let id = Id(3);
    let set = sessions
        .set(&id.to_string(), "{}", Some(ms(u64::MAX)))
        .await;
    let Ok(Outcome::Written(written)) = set else {
        panic!("{set:?}");
    };
    assert_eq!(written.expires, END_OF_TIME);
    let record = load(&sessions, 3).await.unwrap();
    assert_eq!(record.expiry_date.year(), 9999);
    sessions.save(&record).await.unwrap();
    assert!(load(&sessions, 3).await.is_some());
}

#[tokio::test]
async fn delete_expired_removes_expired_sessions_and_no_others() {
    let home = Home::new();
    let sessions = open(&home).await;
    for id in 0..1000 {
        let mut record = record(id, json!({}));
        if id % 2 == 0 {
            record.expiry_date = date(START + 1);
        }
        SessionStore::create(&sessions, &mut record).await.unwrap();
    }
    home.advance(1);
    sessions.delete_expired().await.unwrap();
    let stats = sessions.stats().await.unwrap();
    assert_eq!((stats.collected, stats.live), (500, 500));
    assert!(load(&sessions, 999).await.is_some());
}

#[tokio::test]
async fn errors_name_the_cause_but_not_the_payload() {
    let home = Home::new();
    let options = Options {
        max_data: 20,
        ..Options::default()
    };
    let sessions = home.builder().options(options).open().await.unwrap();
    let too_large = record(1, json!({ "secret": "a text that is too long" }));
    for written in [
        SessionStore::create(&sessions, &mut too_large.clone()).await,
        sessions.save(&too_large).await,
    ] {
        let error = written.unwrap_err();
        assert!(matches!(error, Error::Backend(_)), "{error}");
        assert_eq!(error.to_string(), "the payload is longer than 20 bytes");
    }

    for payload in ["\"secret\"", "[1]", "", "secret", "\u{ff}"] {
        let set = sessions.set(&Id(2).to_string(), payload, LIFE).await;
        assert!(matches!(set, Ok(Outcome::Written(_))));
        let error = sessions.load(&Id(2)).await.unwrap_err();
        assert!(matches!(error, Error::Decode(_)), "{error}");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}

#[test]
fn a_session_with_another_kind_of_payload_is_not_changed() {
    let home = Home::new();
    let sessions = home.open();
    let id = create(&sessions, "not JSON");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let mut record = record(1, json!({}));
        SessionStore::create(&sessions, &mut record).await.unwrap();
        sessions.delete_expired().await.unwrap();
        sessions.delete(&record.id).await.unwrap();
    });
    assert_eq!(data(&sessions, &id).as_deref(), Some("not JSON"));
}

#[tokio::test]
async fn data_that_could_not_be_loaded_is_refused_and_changes_nothing() {
    /// A value nested `depth` deep.
    fn nested(depth: usize, in_arrays: bool) -> Value {
        (0..depth).fold(json!(1), |inner, _| match in_arrays {
            true => json!([inner]),
            false => json!({ "a": inner }),
        })
    }
    let home = Home::new();
    let sessions = open(&home).await;
    let mut kept = record(1, json!({ "kept": true }));
    SessionStore::create(&sessions, &mut kept).await.unwrap();

    let accepted = [
        json!({ "deep": nested(126, true) }),
        json!({ "deep": nested(126, false) }),
        // In the record's own object such names are ordinary names.
        json!({ "$serde_json::private::RawValue": "[1]" }),
        json!({ "a": ["$serde_json::private::RawValue"] }),
        json!({ "": {}, "\u{0}": [], "\u{10ffff}\"\\": null }),
        json!({ "numbers": [u64::MAX, i64::MIN, f64::MAX, f64::MIN_POSITIVE, 5e-324, -0.0, 1.0] }),
        json!({}),
    ];
    for (id, data) in (2..).zip(accepted) {
        let mut accepted = record(id, data);
        SessionStore::create(&sessions, &mut accepted)
            .await
            .unwrap();
        assert_eq!(load(&sessions, id).await, Some(accepted.clone()));
        sessions.save(&accepted).await.unwrap();
        assert_eq!(load(&sessions, id).await, Some(accepted));
    }
    let live = sessions.count_sessions(None).await;

    for data in [
        nested(127, true),
        nested(127, false),
        json!([1, nested(126, true)]),
        nested(2_000, true),
        json!({ "$serde_json::private::RawValue": "[1]" }),
        json!([{ "$serde_json::private::RawValue": 1 }]),
        json!({ "$serde_json::private::Number": "x" }),
    ] {
        // The data is inserted afterwards, because `record` would parse it and fail.
        let mut refused = record(1, json!({}));
        refused.data.insert("a".to_owned(), data);
        let words = match sessions.save(&refused).await {
            Err(Error::Encode(words)) => words,
            other => panic!("not refused: {other:?}"),
        };
        assert!(words.contains("nested more than 127 deep"), "{words}");
        assert_eq!(load(&sessions, 1).await, Some(kept.clone()));
        let created = SessionStore::create(&sessions, &mut refused).await;
        assert!(matches!(created, Err(Error::Encode(_))), "{created:?}");
    }
    assert_eq!(sessions.count_sessions(None).await, live);
}

#[test]
fn a_loaded_record_equals_the_saved_one() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let home = Home::new();
    let sessions = home.open();
    let values = prop::collection::hash_map(any::<String>(), value(), 0..4);
    proptest!(ProptestConfig::with_cases(256), |(id: i128, data in values)| {
        let mut record = record(id, json!({}));
        record.data = data;
        let loaded = runtime.block_on(async {
            SessionStore::create(&sessions, &mut record).await.unwrap();
            sessions.save(&record).await.unwrap();
            sessions.load(&record.id).await.unwrap()
        });
        prop_assert_eq!(loaded, Some(record));
    });
}

/// Any JSON value of limited size.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (prop::num::f64::NORMAL | prop::num::f64::SUBNORMAL | prop::num::f64::ZERO)
            .prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map(any::<String>(), inner, 0..4)
                .prop_map(|members| members.into_iter().collect()),
        ]
    })
}
