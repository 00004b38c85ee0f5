//! The table of koa-generic-session-sequelize: recognised, and taken over.
//!
//! It has `id`, `data`, `expires` in whole seconds and, where its option
//! `timestamps` was on, `createdAt` and `updatedAt`.

use super::rows::{Rows, place, signed};
use super::statements::Statements;
use super::{failure, schema};
use crate::error::Error;
use crate::id::Key;
use crate::types::{Session, Timestamp};
use rusqlite::{Connection, Row, Statement, Transaction};
use std::collections::BinaryHeap;

/// Sessions that are taken over in one pass over the original, 16 bytes of memory
/// for each.
const PASS: usize = if cfg!(test) { 3 } else { 1_000_000 };

/// Whether `table` is one of the original's. As taking it over drops it, any
/// doubt makes it somebody else's.
pub fn is_one(connection: &Connection, table: &str) -> Result<bool, Error> {
    let has_its_columns: bool = connection
        .query_row(
            "SELECT EXISTS (SELECT 1 FROM sqlite_schema
                 WHERE type = 'table' AND name = ?1 COLLATE NOCASE)
             AND total(name IN ('id', 'data', 'expires')) = 3
             AND total(name NOT IN ('id', 'data', 'expires', 'createdAt', 'updatedAt')) = 0
             FROM pragma_table_xinfo(?1)",
            [table],
            |row| row.get(0),
        )
        .map_err(failure)?;
    // Times in words are no seconds.
    let times = format!(
        r#"SELECT NOT EXISTS (SELECT 1 FROM "{table}"
           WHERE typeof(expires) NOT IN ('integer', 'null'))"#
    );
    Ok(has_its_columns
        && connection
            .query_row(&times, [], |row| row.get(0))
            .map_err(failure)?)
}

/// Takes the live sessions of the original's table over, under the hashes of
/// their ids; those that are expired or empty, or whose id nobody can ask for,
/// stay behind. Its indexes go with it.
pub fn adopt(transaction: &Transaction, table: &str, now: Timestamp) -> Result<(), Error> {
    let original = format!("{table} original");
    transaction
        .execute_batch(&format!(r#"ALTER TABLE "{table}" RENAME TO "{original}""#))
        .map_err(failure)?;
    schema::create(transaction, table)?;
    let statements = Statements::new(transaction, table);
    copy(transaction, &original, Rows(&statements), now)?;
    // The ids must not stay readable in the pages that this sets free. To drop
    // a table that is not empty would keep all of it in memory meanwhile.
    transaction
        .execute_batch(&format!(
            r#"PRAGMA secure_delete = ON; DELETE FROM "{original}"; DROP TABLE "{original}";
               PRAGMA secure_delete = OFF"#
        ))
        .map_err(failure)
}

/// Copies the sessions in the order of their new keys, so that the new table is
/// filled from its start to its end.
fn copy(
    transaction: &Transaction,
    original: &str,
    adopted: Rows,
    now: Timestamp,
) -> Result<(), Error> {
    let prepare = |sql: &str| transaction.prepare(sql).map_err(failure);
    let mut ids = prepare(&format!(
        r#"SELECT CAST(id AS TEXT), rowid FROM "{original}"
           WHERE id IS NOT NULL AND octet_length(data) > 0 AND expires > ?1"#
    ))?;
    let mut session = prepare(&format!(
        r#"SELECT CAST(id AS TEXT), CAST(data AS TEXT), expires FROM "{original}" WHERE rowid = ?1"#
    ))?;
    let mut start = Some(i64::MIN);
    while let Some(first) = start {
        let found = lowest_places(&mut ids, first, now).map_err(failure)?;
        start = match found.last() {
            Some((last, _)) if found.len() == PASS => last.checked_add(1),
            _ => None,
        };
        for (_, rowid) in found {
            let read = |row: &Row| read(row, now);
            let (key, session) = session.query_row([rowid], read).map_err(failure)?;
            if let Some(key) = key {
                adopted.insert(&key, &session, now)?;
            }
        }
    }
    Ok(())
}

/// Where the sessions are to be in the new table, from `first` on, and where they
/// are in the original: the lowest places, in order.
fn lowest_places(
    ids: &mut Statement,
    first: i64,
    now: Timestamp,
) -> rusqlite::Result<Vec<(i64, i64)>> {
    let mut lowest = BinaryHeap::new();
    let mut rows = ids.query([signed(now / 1000)])?;
    while let Some(row) = rows.next()? {
        let Some(key) = key(row)? else { continue };
        let place = place(&key);
        if place >= first {
            lowest.push((place, row.get(1)?));
            if lowest.len() > PASS {
                lowest.pop();
            }
        }
    }
    Ok(lowest.into_sorted_vec())
}

/// The key of a row that starts with an id, if somebody can ask for that.
fn key(row: &Row) -> rusqlite::Result<Option<Key>> {
    // As bytes, since what is kept as text need not be UTF-8.
    let id = str::from_utf8(row.get_ref(0)?.as_bytes()?).ok();
    Ok(id.and_then(Key::of))
}

/// A session, and its key.
fn read(row: &Row, now: Timestamp) -> rusqlite::Result<(Option<Key>, Session)> {
    let seconds: i64 = row.get(2)?;
    let session = Session {
        data: row.get_ref(1)?.as_bytes()?.into(),
        subject: None,
        version: 1,
        created: now,
        updated: now,
        expires: seconds.unsigned_abs().saturating_mul(1000),
    };
    Ok((key(row)?, session))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::{Access, Options};
    use crate::storage::{Standing, Storage};

    const NOW: Timestamp = 1_000_000_000;

    /// Makes a database with these statements and opens it with either access.
    fn adopt(statements: &str, test: impl Fn(&Storage)) {
        for access in [Access::Shared, Access::Exclusive] {
            let directory = tempfile::tempdir().unwrap();
            let file = directory.path().join("sessions.db");
            let original = Connection::open(&file).unwrap();
            original.execute_batch(statements).unwrap();
            drop(original);
            let options = Options {
                access,
                ..Options::default()
            };
            let storage = Storage::open(file.to_str().unwrap(), &options, NOW).unwrap();
            test(&storage);
            assert_eq!(storage.check(), Ok(vec![]));
        }
    }

    fn live(storage: &Storage, id: &str) -> Option<Session> {
        let found = storage.read(|rows| rows.find(&Key::of(id).unwrap(), NOW));
        match found.unwrap() {
            Some(Standing::Live(session)) => Some(session),
            _ => None,
        }
    }

    #[test]
    fn the_originals_table_is_adopted_with_its_live_sessions() {
        let statements = r#"
            CREATE TABLE `Sessions` (`id` VARCHAR(100) PRIMARY KEY, `data` TEXT,
                `expires` BIGINT);
            CREATE INDEX `sessions_expires` ON `Sessions` (`expires`);
            INSERT INTO Sessions VALUES ('live', '{"a":"é"}', 1000001), ('expired', '{}', 1000000),
                ('empty', NULL, 1000001), ('', '{}', 1000001), ('timeless', '{}', NULL);"#;
        adopt(statements, |storage| {
            let session = live(storage, "live").unwrap();
            assert_eq!(session.data, r#"{"a":"é"}"#.as_bytes());
            assert_eq!(session.expires, 1_000_001_000);
            assert_eq!((session.version, session.created), (1, NOW));
            assert_eq!(storage.read(|rows| rows.count(None, NOW)), Ok(1));
        });
    }

    #[test]
    fn it_may_have_the_columns_of_timestamps_and_another_encoding() {
        let statements = "
            PRAGMA encoding = 'UTF-16';
            CREATE TABLE sessions (id VARCHAR(100) PRIMARY KEY, data TEXT, expires BIGINT,
                createdAt DATETIME NOT NULL, updatedAt DATETIME NOT NULL);
            INSERT INTO sessions VALUES ('é', 'ü', 1000001, '2020-01-01', '2020-01-01');";
        adopt(statements, |storage| {
            assert_eq!(live(storage, "é").unwrap().data, "ü".as_bytes());
        });
    }

    #[test]
    fn ids_that_nobody_can_ask_for_are_left_behind() {
        let statements = "
            CREATE TABLE Sessions (id VARCHAR(100) PRIMARY KEY, data TEXT, expires BIGINT);
            INSERT INTO Sessions VALUES (NULL, '{}', 1000001), (x'ff', '{}', 1000001),
                (CAST(x'c3' AS TEXT), '{}', 1000001), (zeroblob(256), '{}', 1000001),
                ('live', CAST(x'ff' AS TEXT), 1000001), ('bytes', x'fe', 1000001);";
        adopt(statements, |storage| {
            assert_eq!(live(storage, "live").unwrap().data, [0xff]);
            assert_eq!(live(storage, "bytes").unwrap().data, [0xfe]);
            assert_eq!(storage.read(|rows| rows.count(None, NOW)), Ok(2));
        });
    }

    #[test]
    fn several_passes_take_every_session_over_once() {
        let statements = "
            CREATE TABLE Sessions (id VARCHAR(100) PRIMARY KEY, data TEXT, expires BIGINT);
            WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 30)
            INSERT INTO Sessions SELECT i, 'data ' || i, 1000001 FROM n;";
        adopt(statements, |storage| {
            for number in 0..=30 {
                let session = live(storage, &number.to_string()).unwrap();
                assert_eq!(session.data, format!("data {number}").as_bytes());
            }
            assert_eq!(storage.read(|rows| rows.count(None, NOW)), Ok(31));
        });
    }
}
