//! Tests of the schema: older tables are migrated; newer and foreign ones are refused and not
//! changed.

use std::fs;

use wasi_sessions::{Error, Options, Outcome, Sessions};

use crate::fixture::{Home, LIFE, START, create, data, session, written};

fn table(name: &str) -> Options {
    Options {
        table_name: name.to_owned(),
        ..Options::default()
    }
}

/// The message with which the store refuses to open.
fn refusal(home: &Home, options: Options) -> String {
    match home.builder().options(options).open().wait() {
        Ok(_) => panic!("opened"),
        Err(Error::MissingTable(words) | Error::Other(words)) => words,
        Err(error) => panic!("{error:?}"),
    }
}

#[test]
fn several_stores_share_one_file() {
    let home = Home::new();
    let sessions = home.open_with(table("Sessions"));
    let first = create(&sessions, "first");
    drop(sessions);

    let sessions = home.open_with(table("Other"));
    assert_eq!(sessions.get(&first).wait(), Ok(None));
    assert_eq!(sessions.count_sessions(None).wait(), Ok(0));
    let second = create(&sessions, "second");
    assert_eq!(sessions.clear().wait(), Ok(1));
    drop(sessions);

    // Table names are not case-sensitive.
    let sessions = home.open_with(table("SESSIONS"));
    assert_eq!(data(&sessions, &first).as_deref(), Some("first"));
    assert_eq!(
        sessions
            .set(&second, "here", LIFE)
            .wait()
            .map(written)
            .unwrap()
            .version,
        1
    );
    drop(sessions);
    let sessions = home.open_with(table("other"));
    assert_eq!(
        sessions.set(&second, "late", LIFE).wait(),
        Ok(Outcome::Gone)
    );
}

#[test]
fn several_files_share_one_directory() {
    let home = Home::new();
    let open = |name: &str| -> Sessions { home.builder().file_name(name).open().wait().unwrap() };
    let sessions = open("one.db");
    let id = create(&sessions, "{}");
    drop(sessions);
    assert_eq!(open("two.db").get(&id).wait(), Ok(None));
    assert_eq!(data(&open("one.db"), &id).as_deref(), Some("{}"));
}

#[test]
fn a_table_name_is_an_identifier_and_is_checked_before_it_is_used() {
    let home = Home::new();
    for name in ["a", "_", "Sessions_2", "select", "table", &"x".repeat(63)] {
        let sessions = home.open_with(table(name));
        let id = create(&sessions, "{}");
        assert_eq!(session(&sessions, &id).version, 1, "{name}");
    }
    let before = fs::read(home.database()).unwrap();
    for name in [
        "",
        "1a",
        "a b",
        "a-b",
        "é",
        "a\0",
        "a\"; DROP TABLE Sessions_2; --",
        "sqlite_sessions",
        "SQLITE_x",
        "wasi-sessions",
        &"x".repeat(64),
    ] {
        let opened = home.builder().options(table(name)).open().wait();
        match opened {
            Err(Error::InvalidArgument(words)) => assert!(words.contains("tableName"), "{words}"),
            other => panic!("{name:?}: {other:?}"),
        }
    }
    assert!(fs::read(home.database()).unwrap() == before);
}

#[test]
fn the_originals_table_is_migrated_with_its_live_sessions() {
    let home = Home::new();
    let seconds = START / 1000;
    home.native()
        .execute_batch(&format!(
            r#"CREATE TABLE IF NOT EXISTS `Sessions` (`id` VARCHAR(100) PRIMARY KEY, `data` TEXT,
               `expires` BIGINT);
               CREATE INDEX `sessions_expires` ON `Sessions` (`expires`);
               INSERT INTO Sessions VALUES ('live', '{{"name":"日本"}}', {}), ('gone', '{{}}', {seconds}),
               ('empty', NULL, {});"#,
            seconds + 60,
            seconds + 60,
        ))
        .unwrap();
    let sessions = home.open();
    let taken = session(&sessions, "live");
    assert_eq!(taken.data, r#"{"name":"日本"}"#.as_bytes());
    assert_eq!((taken.version, taken.expires), (1, START + 60_000));
    assert_eq!(sessions.count_sessions(None).wait(), Ok(1));
    let set = sessions.set("live", "{}", LIFE).wait().unwrap();
    assert_eq!(written(set).version, 2);
    drop(sessions);

    // After the migration it is a table like any other.
    let sessions = home.open_with(Options {
        sync: false,
        ..Options::default()
    });
    assert_eq!(session(&sessions, "live").version, 2);
    assert_eq!(sessions.check().wait(), Ok(vec![]));
}

#[test]
fn a_migration_that_fails_is_rolled_back() {
    let home = Home::new();
    home.native()
        .execute_batch(
            "CREATE TABLE Sessions (id TEXT, data TEXT, expires BIGINT);
             INSERT INTO Sessions VALUES ('a', '{}', 9000000000), ('b', '{}', 'soon');
             CREATE TABLE \"Sessions expires\" (x);",
        )
        .unwrap();
    assert!(home.builder().open().wait().is_err());
    let rows: i64 = home
        .native()
        .query_row(
            "SELECT count(*) FROM Sessions WHERE id IN ('a', 'b')",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(rows, 2);
}

#[test]
fn a_newer_schema_is_refused_and_not_changed() {
    let home = Home::new();
    drop(home.open());
    home.native()
        .execute_batch(r#"UPDATE "wasi-sessions" SET version = 99"#)
        .unwrap();
    let before = fs::read(home.database()).unwrap();
    let words = refusal(&home, Options::default());
    assert!(
        words.contains("Sessions") && words.contains("99"),
        "{words}"
    );
    assert!(words.contains("newer"), "{words}");
    assert!(fs::read(home.database()).unwrap() == before);

    // Another table of the same file can be used.
    drop(home.open_with(table("Other")));
}

#[test]
fn a_foreign_table_is_refused_and_not_changed() {
    let home = Home::new();
    home.native()
        .execute_batch("CREATE TABLE Sessions (name TEXT); INSERT INTO Sessions VALUES ('x')")
        .unwrap();
    let words = refusal(&home, Options::default());
    assert!(words.contains("`Sessions`"), "{words}");
    let name: String = home
        .native()
        .query_row("SELECT name FROM Sessions", [], |row| row.get(0))
        .unwrap();
    assert_eq!(name, "x");
}

#[test]
fn without_sync_nothing_is_created() {
    let home = Home::new();
    let without_sync = Options {
        sync: false,
        ..Options::default()
    };
    refusal(&home, without_sync.clone());
    assert!(!home.database().exists());

    drop(home.open_with(table("Other")));
    let words = refusal(&home, without_sync.clone());
    assert!(
        words.contains("`Sessions`") && words.contains("missing"),
        "{words}"
    );

    home.native()
        .execute_batch("CREATE TABLE Sessions (id, data, expires)")
        .unwrap();
    let words = refusal(&home, without_sync.clone());
    assert!(words.contains("older"), "{words}");
    drop(home.open());
    drop(home.open_with(without_sync));
}
