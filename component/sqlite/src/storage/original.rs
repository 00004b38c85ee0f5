//! The table of koa-generic-session-sequelize: recognised, and migrated.
//!
//! It has `id`, `data`, `expires` in whole seconds and, where its option
//! `timestamps` was on, `createdAt` and `updatedAt`.

use super::failure::failure;
use super::rows::{Rows, hash_head, signed};
use super::sealing;
use super::statements::Statements;
use super::table::{self, Found};
use rusqlite::{Connection, OptionalExtension, Row, Statement, Transaction};
use std::collections::BinaryHeap;
use wasi_sessions_rules::error::Error;
use wasi_sessions_rules::id::IdHash;
use wasi_sessions_rules::options::Options;
use wasi_sessions_rules::types::{Session, Timestamp};

/// The latest plausible expiry, in seconds, in the year 5138. A larger number is in
/// milliseconds: this one as milliseconds is in 1973.
const LAST_SECOND: i64 = 100_000_000_000;

/// The number of sessions that one pass over the original table copies; each needs 16
/// bytes of memory.
const PASS: usize = if cfg!(test) { 3 } else { 1_000_000 };

/// Whether the table of `options` is one of koa-generic-session-sequelize, and whether
/// it can be migrated. Any doubt is an obstacle, since the original table is dropped
/// afterwards.
pub fn recognise(connection: &Connection, options: &Options) -> Result<Found, Error> {
    let table = &options.table_name;
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
    if !has_its_columns {
        return Ok(Found::Foreign);
    }
    let obstacle = match obstacle_around(connection, table)? {
        None => obstacle_inside(connection, options)?,
        found => found,
    };
    Ok(obstacle.map_or(Found::Original, Found::Obstructed))
}

/// An obstacle in the schema: the table is not an ordinary one, or it has references to
/// or from something else.
fn obstacle_around(connection: &Connection, table: &str) -> Result<Option<String>, Error> {
    let first = |sql: &str| {
        connection
            .query_row(sql, [table], |row| row.get::<_, String>(0))
            .optional()
            .map_err(failure)
    };
    let kind = first(
        "SELECT 'it is a virtual table or one `WITHOUT ROWID`' FROM pragma_table_list(?1)
         WHERE schema = 'main' AND (type <> 'table' OR wr)",
    )?;
    if kind.is_some() {
        return Ok(kind);
    }
    let key = first(
        r#"SELECT format('table `%s` has a foreign key to table `%s`', one.name, other."table")
           FROM sqlite_schema AS one, pragma_foreign_key_list(one.name) AS other
           WHERE one.type = 'table'
             AND (one.name = ?1 COLLATE NOCASE OR other."table" = ?1 COLLATE NOCASE)"#,
    )?;
    if key.is_some() {
        return Ok(key);
    }
    // A root page of 0 means a view, a trigger or a virtual table.
    let mut others = connection
        .prepare(
            "SELECT type, name, sql FROM sqlite_schema
             WHERE ifnull(rootpage, 0) = 0 AND sql IS NOT NULL",
        )
        .map_err(failure)?;
    let mut rows = others.query([]).map_err(failure)?;
    while let Some(row) = rows.next().map_err(failure)? {
        let [kind, name, sql] = [row.get(0), row.get(1), row.get(2)]
            .map(|text: rusqlite::Result<String>| text.map_err(failure));
        if mentions(&sql?, table) {
            return Ok(Some(format!("{} `{}` mentions it", kind?, name?)));
        }
    }
    Ok(None)
}

/// Whether the text contains the word `table`, ignoring case.
fn mentions(sql: &str, table: &str) -> bool {
    let is_part_of_word =
        |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '$' || !c.is_ascii();
    sql.split(|c| !is_part_of_word(c))
        .any(|word| word.eq_ignore_ascii_case(table))
}

/// An obstacle in the rows: a value that would be lost.
fn obstacle_inside(connection: &Connection, options: &Options) -> Result<Option<String>, Error> {
    let (table, most) = (&options.table_name, options.max_data);
    let (no_numbers, latest, largest): (bool, i64, i64) = connection
        .query_row(
            &format!(
                r#"SELECT total(typeof(expires) NOT IN ('integer', 'null')) > 0,
                       ifnull(max(CAST(expires AS INTEGER)), 0), ifnull(max(octet_length(data)), 0)
                   FROM "{table}""#
            ),
            [],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
        )
        .map_err(failure)?;
    Ok(if no_numbers {
        Some("column `expires` holds something other than whole seconds".into())
    } else if latest > LAST_SECOND {
        Some(
            "column `expires` holds a second after the year 5138: divide it by 1000 if it is in \
             milliseconds"
                .into(),
        )
    } else if largest.unsigned_abs() > most {
        Some(format!(
            "column `data` holds {largest} bytes and `maxData` is {most}"
        ))
    } else {
        None
    })
}

/// Migrates the table: copies its live sessions under the hashes of their ids, sealed if
/// there is a key. Drops sessions that are expired, empty or have an invalid id, and the
/// table's indexes.
pub fn adopt(transaction: &Transaction, options: &Options, now: Timestamp) -> Result<(), Error> {
    let table = &options.table_name;
    let original = format!("{table} original");
    // Nothing refers to the table. The legacy rename leaves the rest of the schema as it
    // is, even a broken view, on which a rename would fail otherwise.
    transaction
        .execute_batch(&format!(
            r#"PRAGMA legacy_alter_table = ON; ALTER TABLE "{table}" RENAME TO "{original}";
               PRAGMA legacy_alter_table = OFF"#
        ))
        .map_err(failure)?;
    table::create(transaction, options)?;
    let statements = Statements::new(transaction, table, sealing::first_keys(options));
    copy(transaction, &original, Rows(&statements), now)?;
    // The connection has `secure_delete`, so no id stays readable. The rows are deleted
    // first, since SQLite would keep a dropped table with rows in memory.
    transaction
        .execute_batch(&format!(
            r#"DELETE FROM "{original}"; DROP TABLE "{original}""#
        ))
        .map_err(failure)
}

/// Copies the sessions in the order of their new rowids, so that the new table is
/// filled from start to end.
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
        let found = lowest_heads(&mut ids, first, now).map_err(failure)?;
        start = match found.last() {
            Some((last, _)) if found.len() == PASS => last.checked_add(1),
            _ => None,
        };
        for (_, rowid) in found {
            let read = |row: &Row| read(row, now);
            let (hash, session) = session.query_row([rowid], read).map_err(failure)?;
            if let Some(hash) = hash {
                adopted.insert(&hash, &session, now)?;
            }
        }
    }
    Ok(())
}

/// The lowest rowids in the new table that are at least `first`, in order, each
/// with its rowid in the original.
fn lowest_heads(
    ids: &mut Statement,
    first: i64,
    now: Timestamp,
) -> rusqlite::Result<Vec<(i64, i64)>> {
    let mut lowest = BinaryHeap::new();
    let mut rows = ids.query([signed(now / 1000)])?;
    while let Some(row) = rows.next()? {
        let Some(hash) = hash(row)? else { continue };
        let hash_head = hash_head(&hash);
        if hash_head >= first {
            lowest.push((hash_head, row.get(1)?));
            if lowest.len() > PASS {
                lowest.pop();
            }
        }
    }
    Ok(lowest.into_sorted_vec())
}

/// The hash of the id in the first column; `None` if no session can have that id.
fn hash(row: &Row) -> rusqlite::Result<Option<IdHash>> {
    // Read as bytes, since a text in a database need not be UTF-8.
    let id = str::from_utf8(row.get_ref(0)?.as_bytes()?).ok();
    Ok(id.and_then(IdHash::of))
}

/// Reads a session and the hash of its id.
fn read(row: &Row, now: Timestamp) -> rusqlite::Result<(Option<IdHash>, Session)> {
    let seconds: i64 = row.get(2)?;
    let session = Session {
        data: row.get_ref(1)?.as_bytes()?.into(),
        subject: None,
        version: 1,
        created: now,
        updated: now,
        expires: seconds.unsigned_abs().saturating_mul(1000),
    };
    Ok((hash(row)?, session))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::Storage;
    use wasi_sessions_rules::options::{Access, Options};
    use wasi_sessions_rules::row::Stored;

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
        let found = storage.read(|rows| rows.find(&IdHash::of(id).unwrap(), NOW));
        match found.unwrap() {
            Some(Stored::Live(session)) => Some(session),
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
    fn ids_that_no_session_can_have_are_dropped() {
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
