//! A connection and the statements for one table, which stay prepared.
//!
//! They are fields, since rusqlite's own cache finds statements by their text, which
//! took a fifth of the time of a read.

use super::failure::failure;
use super::keys::Keys;
use rusqlite::{Connection, Params, PrepFlags, Row, Statement};
use self_cell::self_cell;
use std::cell::Cell;
use wasi_sessions_rules::error::Error;

/// A minute in milliseconds, to which `due` is rounded down, so that rows that are due
/// in the same minute are collected in the order of the table, page by page.
const MINUTE: u64 = 60_000;

self_cell!(
    /// A connection with the statements that borrow it.
    pub struct Prepared {
        owner: Connection,
        #[not_covariant]
        dependent: Statements,
    }
);

/// One statement: its text and, after its first use, the prepared statement.
pub struct CachedStatement<'c> {
    connection: &'c Connection,
    text: String,
    statement: Cell<Option<Statement<'c>>>,
}

impl<'c> CachedStatement<'c> {
    fn new(connection: &'c Connection, text: &str) -> Self {
        CachedStatement {
            connection,
            text: text.to_owned(),
            statement: Cell::new(None),
        }
    }

    /// Runs the statement; returns how many rows it changed.
    pub fn change(&self, params: impl Params) -> Result<u64, Error> {
        self.with(|statement| Ok(statement.execute(params)? as u64))
    }

    /// Runs the statement and reads the first row, if there is one.
    pub fn first<T>(
        &self,
        params: impl Params,
        read: impl FnOnce(&Row) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, Error> {
        self.with(|statement| {
            let mut rows = statement.query(params)?;
            rows.next()?.map(read).transpose()
        })
    }

    /// Runs the statement and reads the number in its first row.
    pub fn number(&self, params: impl Params) -> Result<u64, Error> {
        let number = self.first(params, |row| unsigned(row, 0))?;
        number.ok_or_else(|| failure(rusqlite::Error::QueryReturnedNoRows))
    }

    /// Runs the statement and reads row after row until `read` returns false.
    pub fn walk(
        &self,
        params: impl Params,
        mut read: impl FnMut(&Row) -> rusqlite::Result<bool>,
    ) -> Result<(), Error> {
        self.with(|statement| {
            let mut rows = statement.query(params)?;
            while let Some(row) = rows.next()? {
                if !read(row)? {
                    break;
                }
            }
            Ok(())
        })
    }

    /// Runs the statement and reads all rows.
    pub fn all<T>(
        &self,
        params: impl Params,
        read: impl FnMut(&Row) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, Error> {
        self.with(|statement| statement.query_map(params, read)?.collect())
    }

    fn with<T>(
        &self,
        work: impl FnOnce(&mut Statement<'c>) -> rusqlite::Result<T>,
    ) -> Result<T, Error> {
        let statement = match self.statement.take() {
            Some(statement) => Ok(statement),
            None => self
                .connection
                .prepare_with_flags(&self.text, PrepFlags::SQLITE_PREPARE_PERSISTENT),
        };
        let mut statement = statement.map_err(failure)?;
        let done = work(&mut statement).map_err(failure);
        // Ids and payloads must not stay in memory.
        statement.clear_bindings();
        self.statement.set(Some(statement));
        done
    }
}

/// Reads a number; fails if it is negative, which only damage can cause.
pub fn unsigned(row: &Row, column: usize) -> rusqlite::Result<u64> {
    let number: i64 = row.get(column)?;
    u64::try_from(number).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, number))
}

/// The statements for one table, and for the file that it is in.
pub struct Statements<'c> {
    /// The keys of the table; `None` if it never had one.
    pub keys: Option<Keys>,
    pub begin: CachedStatement<'c>,
    pub begin_writing: CachedStatement<'c>,
    pub commit: CachedStatement<'c>,
    pub roll_back: CachedStatement<'c>,
    pub find: CachedStatement<'c>,
    pub find_head: CachedStatement<'c>,
    pub insert: CachedStatement<'c>,
    pub write: CachedStatement<'c>,
    pub renew: CachedStatement<'c>,
    pub advance: CachedStatement<'c>,
    pub end: CachedStatement<'c>,
    pub live: CachedStatement<'c>,
    pub live_of_subject: CachedStatement<'c>,
    pub list: CachedStatement<'c>,
    pub list_subject: CachedStatement<'c>,
    pub count: CachedStatement<'c>,
    pub count_subject: CachedStatement<'c>,
    pub count_expired: CachedStatement<'c>,
    pub due: CachedStatement<'c>,
    pub defer: CachedStatement<'c>,
    pub remove: CachedStatement<'c>,
    pub any_due: CachedStatement<'c>,
    pub count_requests: CachedStatement<'c>,
    pub reset_requests: CachedStatement<'c>,
    pub all_pages: CachedStatement<'c>,
    pub free_pages: CachedStatement<'c>,
    pub inspect_wal: CachedStatement<'c>,
    pub sealed: CachedStatement<'c>,
    pub all_sealed: CachedStatement<'c>,
    pub reseal: CachedStatement<'c>,
    pub states: CachedStatement<'c>,
    pub next_to_reseal: CachedStatement<'c>,
    pub set_next_to_reseal: CachedStatement<'c>,
    pub forget_previous_key: CachedStatement<'c>,
    pub key_record: CachedStatement<'c>,
    pub checkpoint: CachedStatement<'c>,
    pub truncate_wal: CachedStatement<'c>,
}

impl<'c> Statements<'c> {
    /// The statements for `table`, a name that has been checked.
    pub fn new(connection: &'c Connection, table: &str, keys: Option<Keys>) -> Self {
        let statement = |text: &str| CachedStatement::new(connection, text);
        // A table with keys has the column `state` instead of `ended`, and a subject may
        // have two stored forms.
        let (column, ended, is_live, state) = match &keys {
            None => ("ended", "ended", "ended = 0", ""),
            Some(_) => ("state", "state = 1", "state <> 1", ", state"),
        };
        let live = format!(
            r#"SELECT key, created FROM "{table}" WHERE key >= ?1 AND expires > ?2 AND {is_live}"#
        );
        let list = format!(
            r#"SELECT rest, expires, {ended}, version, created, key, subject, updated, length(data)
               {state} FROM "{table}" WHERE key >= ?1"#
        );
        let count_subject = format!(
            r#"SELECT count(*) FROM "{table}" WHERE subject = ?2 AND expires > ?1 AND {is_live}"#
        );
        let (live_of_subject, list_subject, count_subject) = match &keys {
            None => (
                format!("{live} AND subject = ?4"),
                format!("{list} AND subject = ?2"),
                count_subject,
            ),
            Some(_) => (
                format!(
                    "{live} AND subject = ?4 AND state = ?5
                     UNION ALL {live} AND subject = ?6 AND state = ?7"
                ),
                format!(
                    "{list} AND subject = ?2 AND state = ?3
                     UNION ALL {list} AND subject = ?4 AND state = ?5"
                ),
                format!(
                    "SELECT ({count_subject} AND state = ?3)
                     + ({} AND state = ?5)",
                    count_subject.replace("?2", "?4")
                ),
            ),
        };
        Statements {
            begin: statement("BEGIN"),
            begin_writing: statement("BEGIN IMMEDIATE"),
            commit: statement("COMMIT"),
            roll_back: statement("ROLLBACK"),
            // Expired rows and hash collisions are filtered after reading; see `stored`.
            find: statement(&format!(
                r#"SELECT rest, expires, {ended}, version, created, updated, subject, data {state}
                   FROM "{table}" WHERE key = ?1"#
            )),
            find_head: statement(&format!(
                r#"SELECT rest, expires, {ended}, version, created FROM "{table}" WHERE key = ?1"#
            )),
            insert: statement(&format!(
                r#"INSERT INTO "{table}"
                   (key, rest, data, subject, version, created, updated, expires, {column}, due)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?10, ?8 / {MINUTE} * {MINUTE})
                   ON CONFLICT (key) DO UPDATE SET
                     rest = excluded.rest, data = excluded.data, subject = excluded.subject,
                     version = excluded.version, created = excluded.created,
                     updated = excluded.updated, expires = excluded.expires,
                     {column} = excluded.{column}, due = excluded.due
                   WHERE expires <= ?9"#
            )),
            write: statement(&format!(
                r#"UPDATE "{table}" SET data = ?2, version = ?3, updated = ?4, expires = ?5,
                   created = min(created, ?4) WHERE key = ?1"#
            )),
            renew: statement(&format!(
                r#"UPDATE "{table}" SET expires = ?2, created = min(created, ?3)
                   WHERE key = ?1"#
            )),
            advance: statement(&format!(
                r#"UPDATE "{table}" SET due = ?2 / {MINUTE} * {MINUTE} WHERE key = ?1 AND due > ?2"#
            )),
            // Ends one row at a time, since a statement that changes many rows keeps
            // all of them in memory.
            end: statement(&format!(
                r#"UPDATE "{table}" SET {column} = 1, data = x'', subject = NULL, expires = ?2,
                   due = ?2 / {MINUTE} * {MINUTE} WHERE key = ?1"#
            )),
            live: statement(&format!("{live} ORDER BY key LIMIT ?3")),
            live_of_subject: statement(&format!("{live_of_subject} ORDER BY key LIMIT ?3")),
            // Without a LIMIT: the caller counts the rows that it reads.
            list: statement(&format!("{list} ORDER BY key")),
            list_subject: statement(&format!("{list_subject} ORDER BY key")),
            // A row that is not due has not expired, so it is counted in the index
            // without reading the table. Only rows that are due are read.
            count: statement(&format!(
                r#"SELECT
                   (SELECT count(*) FROM "{table}" WHERE due > ?1 AND {is_live}) +
                   (SELECT count(*) FROM "{table}" WHERE due <= ?1 AND {is_live} AND expires > ?1)"#
            )),
            count_subject: statement(&count_subject),
            count_expired: statement(&format!(
                r#"SELECT count(*) FROM "{table}" WHERE due <= ?1 AND expires <= ?1"#
            )),
            due: statement(&format!(
                r#"SELECT key, expires FROM "{table}" WHERE due <= ?1
                   ORDER BY due, {column}, key LIMIT ?2"#
            )),
            defer: statement(&format!(
                r#"UPDATE "{table}" SET due = expires WHERE key = ?1"#
            )),
            remove: statement(&format!(r#"DELETE FROM "{table}" WHERE key = ?1"#)),
            any_due: statement(&format!(
                r#"SELECT EXISTS (SELECT 1 FROM "{table}" WHERE due <= ?1)"#
            )),
            // Clamped, so that a damaged count does not make requests fail.
            count_requests: statement(&format!(
                r#"UPDATE "wasi-sessions"
                   SET requests = max(0, min(requests, 4611686018427387903)) + ?1
                   WHERE name = '{table}' RETURNING requests"#
            )),
            reset_requests: statement(&format!(
                r#"UPDATE "wasi-sessions" SET requests = 0 WHERE name = '{table}' AND requests > 0"#
            )),
            all_pages: statement("PRAGMA page_count"),
            free_pages: statement("PRAGMA freelist_count"),
            inspect_wal: statement("PRAGMA wal_checkpoint(NOOP)"),
            sealed: statement(&format!(
                r#"SELECT rest, version, updated, subject, data, state FROM "{table}"
                   WHERE key = ?1"#
            )),
            all_sealed: statement(&format!(
                r#"SELECT rest, version, updated, subject, data, state, key FROM "{table}"
                   WHERE state <> 1"#
            )),
            reseal: statement(&format!(
                r#"UPDATE "{table}" SET data = ?2, subject = ?3, state = ?4 WHERE key = ?1"#
            )),
            states: statement(&format!(
                r#"SELECT key, state FROM "{table}" WHERE key >= ?1 ORDER BY key LIMIT ?2"#
            )),
            next_to_reseal: statement(&format!(
                r#"SELECT next FROM "wasi-sessions keys" WHERE name = '{table}'"#
            )),
            set_next_to_reseal: statement(&format!(
                r#"UPDATE "wasi-sessions keys" SET next = ?1 WHERE name = '{table}'"#
            )),
            forget_previous_key: statement(&format!(
                r#"UPDATE "wasi-sessions keys"
                   SET next = NULL, previous_state = NULL, previous_check = NULL
                   WHERE name = '{table}'"#
            )),
            key_record: statement(&format!(
                r#"SELECT state, key_check FROM "wasi-sessions keys" WHERE name = '{table}'"#
            )),
            keys,
            checkpoint: statement("PRAGMA wal_checkpoint(PASSIVE)"),
            truncate_wal: statement("PRAGMA wal_checkpoint(TRUNCATE)"),
        }
    }
}
