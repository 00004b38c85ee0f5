//! Tests with sessions whose payloads together exceed the component's memory.

use wasi_sessions::{Durability, NewSession, Options, Request, Sessions};

use crate::fixture::{Home, LIFE, START, create_for, data};

/// The component's memory limit, in bytes.
const MEMORY: usize = 48 << 20;

/// The number of sessions, and the size of each in bytes; together they exceed that limit.
const COUNT: u64 = 30_000;
const SIZE: usize = 3_500;

/// The number of sessions that are written together.
const BATCH: usize = 1_000;

fn relaxed() -> Options {
    Options {
        durability: Durability::Relaxed,
        ..Options::default()
    }
}

/// A closed database in which all sessions belong to alice.
fn filled() -> Home {
    let home = Home::new();
    let sessions = home.open_with(relaxed());
    let create = Request::Create(NewSession::new(vec![b'x'; SIZE]).ttl(LIFE).subject("alice"));
    for _ in 0..COUNT / BATCH as u64 {
        let replies = sessions.batch(vec![create.clone(); BATCH]).wait().unwrap();
        assert!(replies.iter().all(Result::is_ok));
    }
    home
}

fn open_in_little_memory(home: &Home, options: Options) -> Sessions {
    let builder = home.builder().memory_limit(MEMORY).options(options);
    builder.open().wait().unwrap()
}

#[test]
fn clear_ends_more_sessions_than_fit_into_memory() {
    let home = filled();
    let sessions = open_in_little_memory(&home, relaxed());
    assert_eq!(sessions.clear().wait(), Ok(COUNT));
    assert_eq!(sessions.count_sessions(None).wait(), Ok(0));
    assert_eq!(sessions.stats().wait().unwrap().expired, 0);
}

#[test]
fn terminate_subject_ends_more_sessions_than_fit_into_memory() {
    let home = filled();
    let sessions = open_in_little_memory(&home, relaxed());
    let own = create_for(&sessions, "alice");
    let ended = sessions.terminate_subject("alice", Some(&own)).wait();
    assert_eq!(ended, Ok(COUNT));
    assert_eq!(data(&sessions, &own).as_deref(), Some("{}"));
    assert_eq!(sessions.count_sessions(None).wait(), Ok(1));
}

#[test]
fn a_lower_max_per_subject_ends_more_sessions_than_fit_into_memory() {
    let options = Options {
        max_per_subject: Some(10),
        ..relaxed()
    };
    let home = filled();
    let sessions = open_in_little_memory(&home, options);
    let own = create_for(&sessions, "alice");
    assert_eq!(data(&sessions, &own).as_deref(), Some("{}"));
    assert_eq!(sessions.count_sessions(Some("alice")).wait(), Ok(10));
}

#[test]
fn an_original_table_larger_than_the_memory_is_migrated() {
    let home = Home::new();
    let expires = START / 1000 + 60;
    home.native()
        .execute_batch(&format!(
            "CREATE TABLE Sessions (id VARCHAR(100) PRIMARY KEY, data TEXT, expires BIGINT);
             WITH RECURSIVE numbers (number) AS
                 (SELECT 1 UNION ALL SELECT number + 1 FROM numbers WHERE number < {COUNT})
             INSERT INTO Sessions
             SELECT 'id ' || number, printf('%.*c', {SIZE}, 'x'), {expires} FROM numbers;"
        ))
        .unwrap();
    let sessions = open_in_little_memory(&home, relaxed());
    assert_eq!(sessions.count_sessions(None).wait(), Ok(COUNT));
    for id in ["id 1", "id 30000"] {
        assert_eq!(data(&sessions, id), Some("x".repeat(SIZE)));
    }
    assert_eq!(sessions.check().wait(), Ok(vec![]));
}
