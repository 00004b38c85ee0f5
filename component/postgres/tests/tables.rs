//! What may exist under the name of the table: nothing, the table of
//! koa-generic-session-sequelize (the original), or something else.

use crate::engine::{Engine, Error, Outcome, Store};
use crate::fixture::{Database, NOW, SETUP, create, is_live};
use crate::networked::connections::opens_after_time_out;
use std::time::{Duration, Instant};

/// The original's table, as Sequelize creates it, with sessions.
const ORIGINAL: &str = r#"
    CREATE TABLE IF NOT EXISTS "Sessions" ("id" VARCHAR(100) , "data" TEXT, "expires" BIGINT,
        PRIMARY KEY ("id"));
    CREATE INDEX "sessions_expires" ON "Sessions" ("expires");
    INSERT INTO "Sessions" VALUES ('live', '{"a":"é"}', 1700000060),
        ('expired', '{}', 1699999990), ('empty', NULL, 1700000060), ('', '{}', 1700000060),
        ('timeless', '{}', NULL);"#;

fn refusal(database: &Database, sync: bool) -> String {
    match database.try_open(|options| options.sync = sync).err() {
        Some(Error::Other(words)) => words,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_originals_table_is_migrated_with_its_live_sessions() {
    let database = Database::new(SETUP);
    database.sql(ORIGINAL);
    assert!(refusal(&database, false).contains("older"));
    let started = Instant::now();
    let mut store = database.open();
    let took = started.elapsed().as_millis() as u64;
    let session = store.get(NOW, "live").unwrap().unwrap();
    assert_eq!(session.data, r#"{"a":"é"}"#.as_bytes());
    assert_eq!(session.expires, 1_700_000_060_000);
    assert_eq!(session.version, 1);
    // By the server's clock.
    assert!(session.created.abs_diff(NOW) <= took + 1, "{session:?}");
    assert_eq!(store.count_sessions(NOW, None), Ok(1));
    assert_eq!(store.check(), Ok(vec![]));
    let tables = "SELECT count(*) FROM pg_class WHERE relkind = 'r'
                  AND relnamespace = current_schema()::regnamespace";
    assert_eq!(database.sql(tables), "2");
}

#[test]
fn a_large_table_of_the_original_is_migrated_however_long_it_takes() {
    // The second table is for machines that are so fast that the first one is too small.
    for rows in [400_000, 4_000_000] {
        let database = Database::with(SETUP, |options| options.sync_timeout = 1000);
        database.sql(ORIGINAL);
        database.sql(&format!(
            r#"INSERT INTO "Sessions" SELECT 'many ' || n, repeat('x', 200), 1700000060
                 FROM generate_series(1, {rows}) n"#
        ));
        let is_long = opens_after_time_out(&database);
        let count = (rows + 1).to_string();
        assert_eq!(database.sql(r#"SELECT count(*) FROM "Sessions""#), count);
        if is_long {
            return;
        }
    }
}

#[test]
fn a_migration_drops_what_has_expired_by_the_servers_clock() {
    let database = Database::new(SETUP);
    database.sql(ORIGINAL);
    // The server is a day ahead of this host.
    database.sql(
        r#"INSERT INTO "Sessions" VALUES ('long', '{}', 1700200000);
           CREATE FUNCTION statement_timestamp() RETURNS timestamptz LANGUAGE sql AS
           $$ SELECT pg_catalog.statement_timestamp() + interval '1 day' $$"#,
    );
    let path = format!("search%5Fpath%3D{}", database.schema);
    let url = database.url();
    let url = url.replace(&format!("{path}%20"), &format!("{path}%2Cpg%5Fcatalog%20"));
    assert!(url.contains("catalog"), "{url}");
    let started = Instant::now();
    let mut store = Store::open(&url, database.options.clone(), NOW).unwrap();
    let offset = store.clock_offset();
    let took = started.elapsed().as_millis() as u64;
    let error = offset.abs_diff(86_400_000);
    assert!(error <= took + 1, "{offset} after {took}");
    assert!(is_live(&mut store, NOW, "long"));
    assert_eq!(store.count_sessions(NOW, None), Ok(1));
}

#[test]
fn the_originals_table_may_have_the_columns_of_timestamps() {
    let database = Database::new(SETUP);
    database.sql(
        r#"CREATE TABLE "Sessions" (id VARCHAR(100) PRIMARY KEY, data TEXT, expires BIGINT,
             "createdAt" TIMESTAMP WITH TIME ZONE NOT NULL,
             "updatedAt" TIMESTAMP WITH TIME ZONE NOT NULL);
           INSERT INTO "Sessions" VALUES ('é', 'ü', 1700000060, now(), now())"#,
    );
    let session = database.open().get(NOW, "é").unwrap().unwrap();
    assert_eq!(session.data, "ü".as_bytes());
}

#[test]
fn a_table_that_would_lose_something_is_refused_and_not_changed() {
    let refused = [
        (r#"CREATE VIEW v AS SELECT data FROM "Sessions""#, "view"),
        (
            r#"CREATE TABLE carts (session VARCHAR(100) REFERENCES "Sessions")"#,
            "foreign key",
        ),
        (
            r#"CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS
               $$ BEGIN RETURN NEW; END $$;
               CREATE TRIGGER t BEFORE INSERT ON "Sessions" FOR EACH ROW EXECUTE FUNCTION f()"#,
            "trigger",
        ),
        (r#"CREATE TABLE child () INHERITS ("Sessions")"#, "children"),
        (r#"UPDATE "Sessions" SET expires = expires * 1000"#, "1000"),
        (
            r#"UPDATE "Sessions" SET data = repeat('x', 1048577)"#,
            "maxData",
        ),
        (
            r#"ALTER TABLE "Sessions" ALTER expires TYPE timestamptz USING now()"#,
            "whole seconds",
        ),
        (
            r#"ALTER TABLE "Sessions" ADD owner TEXT"#,
            "not a table of sessions",
        ),
        (
            r#"ALTER TABLE "Sessions" DROP data"#,
            "not a table of sessions",
        ),
        (
            r#"CREATE FUNCTION g("Sessions") RETURNS int LANGUAGE sql AS 'SELECT 1'"#,
            "refers to it",
        ),
    ];
    for (statement, words) in refused {
        let database = Database::new(SETUP);
        database.sql(&format!("{ORIGINAL} {statement}"));
        let before = database.sql(r#"SELECT * FROM "Sessions" ORDER BY id"#);
        let why = refusal(&database, true);
        assert!(why.contains("`Sessions`") && why.contains(words), "{why}");
        assert_eq!(
            database.sql(r#"SELECT * FROM "Sessions" ORDER BY id"#),
            before
        );
    }
    let database = Database::new(SETUP);
    database.sql(r#"CREATE VIEW "Sessions" AS SELECT 1 AS id"#);
    assert!(refusal(&database, true).contains("no plain table"));
}

#[test]
fn without_sync_a_missing_table_is_an_error() {
    let database = Database::new(SETUP);
    let opened = database.try_open(|options| options.sync = false);
    assert!(matches!(opened.err(), Some(Error::MissingTable(words)) if words.contains("Sessions")));
    database.open();
    assert!(database.try_open(|options| options.sync = false).is_ok());
}

#[test]
fn a_newer_schema_is_refused() {
    let database = Database::new(SETUP);
    database.open();
    database.sql(r#"UPDATE "wasi-sessions" SET version = 2"#);
    let newer = database.try_open(|options| options.gc_step = 7);
    assert!(matches!(newer.err(), Some(Error::Other(words)) if words.contains("version 2")));
}

#[test]
fn a_table_name_ignores_case_and_may_be_as_long_as_any() {
    let database = Database::new(SETUP);
    let id = create(&mut database.open(), NOW, None);
    let mut same = database.open_with(|options| options.table_name = "SESSIONS".into());
    assert!(is_live(&mut same, NOW, &id));
    let mut long = database.open_with(|options| options.table_name = "x".repeat(63));
    assert!(!is_live(&mut long, NOW, &id));
    create(&mut long, NOW, Some("alice"));
}

#[test]
fn a_role_without_the_right_to_create_can_use_a_table_that_is_ready() {
    let database = Database::new(SETUP);
    drop(database.open());
    let schema = &database.schema;
    database.sql(&format!(
        r#"CREATE ROLE "{schema}" LOGIN; GRANT USAGE ON SCHEMA {schema} TO "{schema}";
           GRANT SELECT ON "wasi-sessions" TO "{schema}";
           GRANT SELECT, INSERT, UPDATE, DELETE ON "Sessions" TO "{schema}""#
    ));
    let url = database.url().replace("tester@", &format!("{schema}@"));
    let mut store = crate::engine::Store::open(&url, database.options.clone(), NOW).unwrap();
    let id = create(&mut store, NOW, Some("alice"));
    assert_eq!(store.clear(NOW), Ok(1));
    assert_eq!(store.set(NOW, &id, b"", None), Ok(Outcome::Gone));
    assert_eq!(store.collect(NOW + 60_000, 9).unwrap().removed, 1);
    assert_eq!(store.check(), Ok(vec![]));
    let other = wasi_sessions_rules::options::Options {
        table_name: "Other".into(),
        ..database.options.clone()
    };
    let refused = crate::engine::Store::open(&url, other, NOW).err();
    assert!(matches!(refused, Some(Error::Other(words)) if words.contains("42501")));
}

#[test]
fn a_check_describes_the_damage() {
    let database = Database::new(SETUP);
    let mut store = database.open();
    store.set(NOW, "a", b"", None).unwrap();
    store.set(NOW, "b", b"", None).unwrap();
    database.sql(r#"UPDATE "Sessions" SET due = expires + 1, version = 0"#);
    let damage = store.check().unwrap();
    assert_eq!(damage.len(), 2, "{damage:?}");
    assert!(damage.iter().all(|one| one.ends_with(": 2 rows")));
    database.sql(r#"UPDATE "Sessions" SET version = -1"#);
    assert!(matches!(store.get(NOW, "a"), Err(Error::Corrupt(_))));
}

#[test]
fn renewals_change_no_index() {
    let database = Database::with(SETUP, |options| options.gc_frequency = 0);
    let mut store = database.open();
    store.set(NOW, "mine", &[b'x'; 500], None).unwrap();
    for step in 1..=100 {
        let now = NOW + step * 2000;
        store.set(now, "mine", &[b'y'; 500], None).unwrap();
        store.touch(now, "mine", Some(90_000_000)).unwrap();
    }
    // The server updates its statistics when a session ends.
    database.sql(&format!(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE usename = 'tester' AND query LIKE '%{}.%'",
        database.schema
    ));
    let counts = format!(
        "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables
         WHERE schemaname = '{}' AND relname = 'Sessions'",
        database.schema
    );
    let started = Instant::now();
    let counted = std::iter::repeat_with(|| database.sql(&counts))
        .take_while(|_| started.elapsed() < Duration::from_secs(120))
        .find(|counts| counts.starts_with("200|"));
    let (_, hot) = counted.as_deref().unwrap().split_once('|').unwrap();
    let hot: u32 = hot.parse().unwrap();
    // A new version of a row goes to another page only if its page is full.
    assert!(hot > 180, "{hot} of 200");
}
