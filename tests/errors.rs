//! Tests of errors: each names what failed, and none carries a session id or a payload.

use std::fs;
use std::time::Duration;

use wasi_sessions::{Error, NewSession, Options, Request};

use crate::fixture::{Home, LIFE, create, ms};

/// A part of ids, payloads and patches that no error may contain.
const SECRET: &str = "S3CR3T";

#[test]
fn no_error_carries_an_id_or_a_payload() {
    let home = Home::new();
    let options = Options {
        max_data: 100,
        ..Options::default()
    };
    let sessions = home.open_with(options.clone());
    let secret_id = SECRET.repeat(5);
    let not_json = SECRET.to_owned();
    assert!(
        sessions
            .set(&secret_id, not_json.as_str(), LIFE)
            .wait()
            .is_ok()
    );
    drop(sessions);
    home.sabotage("BEFORE UPDATE ON Sessions");
    let sessions = home.open_with(options);

    let long_id = SECRET.repeat(50);
    let large = SECRET.repeat(20);
    let set = Request::Set {
        id: secret_id.clone(),
        data: not_json.clone().into(),
        ttl: LIFE,
    };
    let refused = [
        sessions.set(&long_id, "{}", LIFE).wait().err(),
        sessions.update(&long_id, "{}", LIFE, Some(0)).wait().err(),
        sessions.set(&secret_id, large.as_str(), LIFE).wait().err(),
        sessions
            .create(NewSession::new(large.as_str()).ttl(LIFE))
            .wait()
            .err(),
        sessions.merge(&secret_id, &large, LIFE).wait().err(),
        sessions.merge(&secret_id, &not_json, LIFE).wait().err(),
        sessions.merge(&secret_id, "{}", LIFE).wait().err(),
        sessions
            .create(NewSession::new("{}").ttl(LIFE).subject(&long_id))
            .wait()
            .err(),
        sessions.rotate(&secret_id, Some(&long_id)).wait().err(),
        sessions
            .set(&secret_id, not_json.as_str(), LIFE)
            .wait()
            .err(),
        sessions.touch(&secret_id, Some(ms(1))).wait().err(),
        sessions.destroy(&secret_id).wait().err(),
        sessions.rotate(&secret_id, None).wait().err(),
        sessions.batch(vec![set]).wait().err(),
        sessions.list_sessions(None, Some(SECRET), 10).wait().err(),
        sessions
            .list_sessions(None, Some(&secret_id), 10)
            .wait()
            .err(),
    ];
    for (number, error) in refused.into_iter().enumerate() {
        let error = error.unwrap_or_else(|| panic!("number {number} was not refused"));
        for words in [error.to_string(), format!("{error:?}")] {
            assert!(!words.contains(SECRET), "number {number}: {words}");
        }
    }
}

#[test]
fn a_setting_out_of_range_is_named_and_nothing_is_created() {
    let default = Options::default;
    #[rustfmt::skip]
    let settings = [
        ("tableName", Options { table_name: "1".into(), ..default() }),
        ("modelName", Options { model_name: String::new(), ..default() }),
        ("modelName", Options { model_name: "x".repeat(256), ..default() }),
        ("syncTimeout", Options { sync_timeout: ms(3_600_001), ..default() }),
        ("gcFrequency", Options { gc_frequency: u64::MAX, ..default() }),
        ("gcStep", Options { gc_step: 0, ..default() }),
        ("gcStep", Options { gc_step: 1_000_001, ..default() }),
        ("browserSessionLifetime", Options { browser_session_lifetime: ms(0), ..default() }),
        ("absoluteLifetime", Options { absolute_lifetime: Some(ms(0)), ..default() }),
        ("absoluteLifetime", Options { absolute_lifetime: Some(ms(i64::MAX as u64 + 1)), ..default() }),
        ("renewalStep", Options { renewal_step: ms(u64::MAX), ..default() }),
        ("renewalStep", Options { renewal_step: Duration::MAX, ..default() }),
        ("tombstone", Options { tombstone: ms(u64::MAX), ..default() }),
        ("maxData", Options { max_data: 0, ..default() }),
        ("maxData", Options { max_data: 536_870_913, ..default() }),
        ("maxPerSubject", Options { max_per_subject: Some(0), ..default() }),
        ("maxPerSubject", Options { max_per_subject: Some(1_000_001), ..default() }),
    ];
    let home = Home::new();
    for (name, options) in settings {
        match home.builder().options(options).open().wait() {
            Err(Error::InvalidArgument(words)) => assert!(words.contains(name), "{words}"),
            other => panic!("{name}: {other:?}"),
        }
    }
    assert!(!home.database().exists());
}

#[test]
fn an_error_of_the_database_starts_with_the_stores_name() {
    let home = Home::new();
    let named = || Options {
        model_name: "Visits".to_owned(),
        ..Options::default()
    };
    let sessions = home.open_with(named());
    let id = create(&sessions, "{}");
    drop(sessions);
    home.sabotage("BEFORE UPDATE ON Sessions");
    let sessions = home.open_with(named());
    let failed = sessions.set(&id, "{}", LIFE).wait();
    assert!(matches!(failed, Err(Error::Other(words)) if words.starts_with("Visits: ")));
    let refused = sessions.set("", "{}", LIFE).wait();
    assert!(matches!(refused, Err(Error::InvalidArgument(words)) if words.starts_with("id: ")));
    drop(sessions);
    let elsewhere = Options {
        sync: false,
        table_name: "Elsewhere".into(),
        ..named()
    };
    let missing = home.builder().options(elsewhere).open().wait().err();
    assert!(matches!(missing, Some(Error::MissingTable(words)) if words.starts_with("Visits: ")));
    fs::write(home.database(), "not a database".repeat(99)).unwrap();
    let damaged = home.builder().options(named()).open().wait().err();
    assert!(matches!(damaged, Some(Error::Corrupt(words)) if words.starts_with("Visits: ")));
}

#[test]
fn every_setting_in_range_is_accepted() {
    let home = Home::new();
    let sessions = home.open_with(Options {
        table_name: "t".into(),
        model_name: "m".into(),
        sync: true,
        sync_timeout: ms(3_600_000),
        gc_frequency: i64::MAX as u64,
        gc_step: 1_000_000,
        browser_session_lifetime: ms(i64::MAX as u64),
        absolute_lifetime: Some(ms(i64::MAX as u64)),
        renewal_step: ms(i64::MAX as u64),
        tombstone: ms(i64::MAX as u64),
        max_data: 536_870_912,
        max_per_subject: Some(1_000_000),
        durability: wasi_sessions::Durability::Relaxed,
        key: None,
        previous_key: None,
    });
    let id = create(&sessions, "{}");
    assert_eq!(sessions.destroy(&id).wait(), Ok(true));
    assert_eq!(sessions.stats().wait().unwrap().name, "m");
}

#[test]
fn a_file_name_that_is_not_plain_is_refused_before_anything_is_created() {
    let home = Home::new();
    for name in [
        "",
        ".",
        "..",
        "a/b",
        "/etc/passwd",
        "../x",
        "a\0b",
        ".wasi-sessions.lock",
    ] {
        let opened = home.builder().file_name(name).open().wait();
        assert!(matches!(opened, Err(Error::InvalidArgument(_))), "{name:?}");
    }
    assert!(!home.path().exists());
}

#[test]
fn errors_are_ordinary_errors() {
    fn ordinary<T: std::error::Error + Clone + Send + Sync + 'static>() {}
    ordinary::<Error>();
    let words = Error::TooLarge(7).to_string();
    assert!(words.contains('7'), "{words}");
}
