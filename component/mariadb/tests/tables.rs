//! What may be there under the name of the table: nothing, the table of an older store, or
//! something else.

use crate::engine::{Engine, Error, Options, Outcome, Store};
use crate::fixture::{Database, NOW, SETUP, SETUPS, create, is_live};
use crate::networked::connections::opens_after_time_out;
use crate::server::is_mysql;

/// The original's table, as Sequelize creates it, with sessions.
const ORIGINAL: &str = "
    CREATE TABLE IF NOT EXISTS `Sessions` (`id` VARCHAR(100) , `data` TEXT, `expires` BIGINT,
        PRIMARY KEY (`id`)) ENGINE=InnoDB DEFAULT CHARSET utf8mb4;
    ALTER TABLE `Sessions` ADD INDEX `sessions_expires` (`expires`);
    INSERT INTO `Sessions` VALUES ('live', '{\"a\":\"é\"}', 1700000060),
        ('expired', '{}', 1699999990), ('empty', NULL, 1700000060), ('', '{}', 1700000060),
        ('timeless', '{}', NULL);";

fn refusal(database: &Database, sync: bool) -> String {
    match database.try_open(|options| options.sync = sync).err() {
        Some(Error::Other(words)) => words,
        other => panic!("{other:?}"),
    }
}

fn assert_taken_over(database: &Database, store: &mut Store) {
    let session = store.get(NOW, "live").unwrap().unwrap();
    assert_eq!(session.data, r#"{"a":"é"}"#.as_bytes());
    assert_eq!(session.expires, 1_700_000_060_000);
    assert_eq!(session.version, 1);
    // By the server's clock.
    let took = database.since.elapsed().as_millis() as u64;
    assert!(session.created.abs_diff(NOW) <= took + 1, "{session:?}");
    assert_eq!(store.count_sessions(NOW, None), Ok(1));
    assert_eq!(store.check(), Ok(vec![]));
}

#[test]
fn the_originals_table_is_taken_over_with_its_live_sessions() {
    for setup in SETUPS {
        let database = Database::new(setup);
        database.sql(ORIGINAL);
        assert!(refusal(&database, false).contains("older"));
        assert_taken_over(&database, &mut database.open());
        assert_eq!(database.sql("SHOW TABLES").to_lowercase(), "sessions");
    }
}

#[test]
fn a_large_table_of_the_original_is_taken_over_however_long_it_takes() {
    // The second table is for machines that are so fast that the first one is too small.
    for rows in [200_000, 2_000_000] {
        let database = Database::with(SETUP, |options| options.sync_timeout = 1000);
        let depth = match is_mysql() {
            true => "cte_max_recursion_depth",
            false => "max_recursive_iterations",
        };
        database.sql(&format!(
            "{ORIGINAL} SET {depth} = {rows};
             INSERT INTO Sessions WITH RECURSIVE numbers AS
                 (SELECT 1 AS n UNION ALL SELECT n + 1 FROM numbers WHERE n < {rows})
               SELECT CONCAT('many ', n), REPEAT('x', 200), 1700000060 FROM numbers"
        ));
        let is_long = opens_after_time_out(&database);
        let count = (rows + 1).to_string();
        assert_eq!(database.sql("SELECT COUNT(*) FROM Sessions"), count);
        if is_long {
            return;
        }
    }
}

#[test]
fn the_originals_table_may_have_timestamps_and_another_character_set() {
    let database = Database::new(SETUP);
    database.sql(
        "CREATE TABLE Sessions (id VARCHAR(100) PRIMARY KEY, data TEXT, expires INTEGER,
           createdAt DATETIME NOT NULL, updatedAt DATETIME NOT NULL) DEFAULT CHARSET latin1;
         INSERT INTO Sessions VALUES ('é', 'ü', 1700000060, NOW(), NOW())",
    );
    let session = database.open().get(NOW, "é").unwrap().unwrap();
    assert_eq!(session.data, "ü".as_bytes());
}

#[test]
fn a_takeover_that_was_interrupted_goes_on_after_any_step() {
    let renamed = "RENAME TABLE Sessions TO `-Sessions`;";
    let copied_half = "CREATE TABLE `+Sessions` (hash BINARY(32));";
    let copied = "DROP TABLE IF EXISTS `-Sessions`;";
    for steps in [vec![renamed], vec![renamed, copied_half]] {
        let database = Database::new(SETUP);
        database.sql(&format!("{ORIGINAL} {}", steps.concat()));
        assert!(refusal(&database, false).contains("older"));
        assert_taken_over(&database, &mut database.open());
        assert_eq!(database.sql("SHOW TABLES"), "Sessions");
    }
    // All was copied, and the original is still there.
    let database = Database::new(SETUP);
    database.sql(ORIGINAL);
    drop(database.open());
    database.sql(&format!(
        "{copied} CREATE TABLE `-Sessions` (id VARCHAR(100))"
    ));
    let unready = |options: &mut Options| (options.sync, options.gc_step) = (false, 7);
    assert_taken_over(&database, &mut database.open_with(unready));
    assert_taken_over(
        &database,
        &mut database.open_with(|options| options.gc_step = 7),
    );
    assert_eq!(database.sql("SHOW TABLES"), "Sessions");
}

#[test]
fn a_table_of_which_something_would_be_lost_is_refused_and_not_changed() {
    let refused = [
        ("CREATE VIEW v AS SELECT data FROM Sessions", "view"),
        (
            "CREATE TABLE carts (session VARCHAR(100) CHARSET utf8mb4,
               FOREIGN KEY (session) REFERENCES Sessions (id)) ENGINE = InnoDB",
            "foreign key",
        ),
        (
            "CREATE TRIGGER t BEFORE INSERT ON Sessions FOR EACH ROW SET NEW.data = NEW.data",
            "trigger",
        ),
        ("UPDATE Sessions SET expires = expires * 1000", "1000"),
        (
            "ALTER TABLE Sessions MODIFY expires BIGINT UNSIGNED;
             UPDATE Sessions SET expires = 18446744073709551615",
            "1000",
        ),
        ("ALTER TABLE Sessions DROP PRIMARY KEY", "no sessions"),
        (
            "UPDATE Sessions SET expires = 0 WHERE expires IS NULL;
             ALTER TABLE Sessions DROP PRIMARY KEY, ADD PRIMARY KEY (id, expires)",
            "no sessions",
        ),
        (
            "ALTER TABLE Sessions MODIFY data LONGTEXT;
          UPDATE Sessions SET data = REPEAT('x', 1048577)",
            "maxData",
        ),
        (
            "ALTER TABLE Sessions MODIFY expires DATETIME;",
            "whole seconds",
        ),
        ("ALTER TABLE Sessions ADD owner TEXT", "no sessions"),
        ("ALTER TABLE Sessions DROP data", "no sessions"),
        (
            "ALTER TABLE Sessions DROP data, ADD data VARCHAR(9) AS (id) VIRTUAL",
            "no sessions",
        ),
    ];
    for (statement, words) in refused {
        let database = Database::new(SETUP);
        database.sql(&format!("SET sql_mode = ''; {ORIGINAL} {statement}"));
        let before = database.sql("SELECT * FROM Sessions ORDER BY id");
        let why = refusal(&database, true);
        assert!(why.contains("`Sessions`") && why.contains(words), "{why}");
        assert_eq!(database.sql("SELECT * FROM Sessions ORDER BY id"), before);
    }
    let database = Database::new(SETUP);
    database.sql("CREATE VIEW Sessions AS SELECT 1 AS id");
    assert!(refusal(&database, true).contains("no plain table"));
}

#[test]
fn a_takeover_that_fails_says_where_the_sessions_are() {
    let database = Database::new(SETUP);
    database.sql(&format!(
        "{ORIGINAL} RENAME TABLE Sessions TO `-Sessions`;
         CREATE VIEW `+Sessions` AS SELECT 1 AS id"
    ));
    let why = refusal(&database, true);
    assert!(why.contains("`-Sessions`"), "{why}");
    database.sql("DROP VIEW `+Sessions`");
    assert_taken_over(&database, &mut database.open());
}

#[test]
fn a_storage_engine_that_loses_sessions_is_refused() {
    let database = Database::new(SETUP);
    drop(database.open());
    database.sql("ALTER TABLE Sessions ENGINE = MyISAM");
    let newer = database.try_open(|options| options.gc_step = 7);
    assert!(matches!(newer.err(), Some(Error::Other(words)) if words.contains("MyISAM")));
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
    database.sql("ALTER TABLE Sessions COMMENT = 'wasi-sessions schema 2'");
    let newer = database.try_open(|options| options.gc_step = 7);
    assert!(matches!(newer.err(), Some(Error::Other(words)) if words.contains("version 2")));
}

#[test]
fn a_table_name_ignores_case_and_may_be_as_long_as_any() {
    for setup in SETUPS {
        let database = Database::new(setup);
        let id = create(&mut database.open(), NOW, None);
        let mut same = database.open_with(|options| options.table_name = "SESSIONS".into());
        assert!(is_live(&mut same, NOW, &id));
        let mut long = database.open_with(|options| options.table_name = "x".repeat(63));
        assert!(!is_live(&mut long, NOW, &id));
        create(&mut long, NOW, Some("alice"));
    }
}

#[test]
fn a_role_that_may_not_create_uses_a_table_that_is_ready() {
    let database = Database::new(SETUP);
    drop(database.open());
    let name = &database.name;
    database.sql(&format!(
        "CREATE USER {name}; GRANT SELECT, INSERT, UPDATE, DELETE ON {name}.Sessions TO {name}"
    ));
    let url = database.url().replace("tester@", &format!("{name}@"));
    let mut store = Store::open(&url, database.options.clone(), NOW).unwrap();
    let id = create(&mut store, NOW, Some("alice"));
    assert_eq!(store.clear(NOW), Ok(1));
    assert_eq!(store.set(NOW, &id, b"", None), Ok(Outcome::Gone));
    assert_eq!(store.collect(NOW + 60_000, 9).unwrap().removed, 1);
    assert_eq!(store.check(), Ok(vec![]));
    let other = Options {
        table_name: "Other".into(),
        ..database.options.clone()
    };
    let refused = Store::open(&url, other, NOW).err();
    assert!(matches!(refused, Some(Error::Other(words)) if words.contains("1142")));
}

#[test]
fn a_check_names_what_is_damaged() {
    let database = Database::new(SETUP);
    let mut store = database.open();
    store.set(NOW, "a", b"", None).unwrap();
    store.set(NOW, "b", b"", None).unwrap();
    database.sql("UPDATE Sessions SET due = expires + 1, version = 0");
    let damage = store.check().unwrap();
    assert_eq!(damage.len(), 2, "{damage:?}");
    assert!(damage.iter().all(|one| one.ends_with(": 2 rows")));
    database.sql("UPDATE Sessions SET version = -1");
    assert!(matches!(store.get(NOW, "a"), Err(Error::Corrupt(_))));
}

#[test]
fn renewals_change_no_index() {
    let database = Database::with(SETUP, |options| options.gc_frequency = 0);
    let mut store = database.open();
    store.set(NOW, "mine", b"", None).unwrap();
    let due = database.number("SELECT due FROM Sessions");
    for step in 1..=10 {
        let now = NOW + step * 2000;
        store.set(now, "mine", b"", None).unwrap();
        store.touch(now, "mine", Some(90_000_000)).unwrap();
    }
    assert_eq!(database.number("SELECT due FROM Sessions"), due);
    assert!(database.number("SELECT expires FROM Sessions") > due);
}
