//! A connection and the statements for one table, which it keeps prepared.
//!
//! rusqlite's own cache finds statements by their text, which took a fifth of the
//! time of a read.

use super::failure;
use crate::error::Error;
use rusqlite::{Connection, Params, PrepFlags, Row, Statement};
use self_cell::self_cell;
use std::cell::Cell;

/// What becomes due in the same minute is collected in the order of the table,
/// page by page.
const MINUTE: u64 = 60_000;

self_cell!(
    /// A connection with the statements that borrow it.
    pub struct Prepared {
        owner: Connection,
        #[not_covariant]
        dependent: Statements,
    }
);

/// One statement: its text, and what SQLite made of it when it was last used.
pub struct Kept<'c> {
    connection: &'c Connection,
    text: String,
    statement: Cell<Option<Statement<'c>>>,
}

impl<'c> Kept<'c> {
    fn new(connection: &'c Connection, text: &str) -> Self {
        Kept {
            connection,
            text: text.to_owned(),
            statement: Cell::new(None),
        }
    }

    /// Runs the statement; how many rows it changed.
    pub fn change(&self, params: impl Params) -> Result<u64, Error> {
        self.with(|statement| Ok(statement.execute(params)? as u64))
    }

    /// What `read` makes of the first row, if there is one.
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

    /// The number that is the answer.
    pub fn number(&self, params: impl Params) -> Result<u64, Error> {
        let number = self.first(params, |row| unsigned(row, 0))?;
        number.ok_or_else(|| failure(rusqlite::Error::QueryReturnedNoRows))
    }

    /// Reads row after row until `read` returns false.
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

    /// What `read` makes of each row.
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
        // What was asked for is not to stay in memory.
        statement.clear_bindings();
        self.statement.set(Some(statement));
        done
    }
}

/// A number of which there are no negative ones.
pub fn unsigned(row: &Row, column: usize) -> rusqlite::Result<u64> {
    let number: i64 = row.get(column)?;
    u64::try_from(number).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, number))
}

/// The statements for one table, and for the file that it is in.
pub struct Statements<'c> {
    pub begin: Kept<'c>,
    pub begin_writing: Kept<'c>,
    pub commit: Kept<'c>,
    pub roll_back: Kept<'c>,
    pub find: Kept<'c>,
    pub find_head: Kept<'c>,
    pub insert: Kept<'c>,
    pub write: Kept<'c>,
    pub renew: Kept<'c>,
    pub advance: Kept<'c>,
    pub end: Kept<'c>,
    pub live: Kept<'c>,
    pub live_of_subject: Kept<'c>,
    pub list: Kept<'c>,
    pub list_subject: Kept<'c>,
    pub count: Kept<'c>,
    pub count_subject: Kept<'c>,
    pub count_expired: Kept<'c>,
    pub due: Kept<'c>,
    pub defer: Kept<'c>,
    pub remove: Kept<'c>,
    pub any_due: Kept<'c>,
    pub count_requests: Kept<'c>,
    pub reset_requests: Kept<'c>,
    pub all_pages: Kept<'c>,
    pub free_pages: Kept<'c>,
    pub look_at_log: Kept<'c>,
    pub copy_log: Kept<'c>,
    pub empty_log: Kept<'c>,
}

impl<'c> Statements<'c> {
    /// The statements for `table`, whose name has been checked.
    pub fn new(connection: &'c Connection, table: &str) -> Self {
        let kept = |text: &str| Kept::new(connection, text);
        let live = format!(
            r#"SELECT key, created FROM "{table}" WHERE key >= ?1 AND expires > ?2 AND ended = 0"#
        );
        let list = format!(
            r#"SELECT rest, expires, ended, version, created, key, subject, updated, length(data)
               FROM "{table}" WHERE key >= ?1"#
        );
        Statements {
            begin: kept("BEGIN"),
            begin_writing: kept("BEGIN IMMEDIATE"),
            commit: kept("COMMIT"),
            roll_back: kept("ROLLBACK"),
            // What does not count or is another's is told from the row itself.
            find: kept(&format!(
                r#"SELECT rest, expires, ended, version, created, updated, subject, data
                   FROM "{table}" WHERE key = ?1"#
            )),
            find_head: kept(&format!(
                r#"SELECT rest, expires, ended, version, created FROM "{table}" WHERE key = ?1"#
            )),
            insert: kept(&format!(
                r#"INSERT INTO "{table}"
                   (key, rest, data, subject, version, created, updated, expires, ended, due)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 0, ?8 / {MINUTE} * {MINUTE})
                   ON CONFLICT (key) DO UPDATE SET
                     rest = excluded.rest, data = excluded.data, subject = excluded.subject,
                     version = excluded.version, created = excluded.created,
                     updated = excluded.updated, expires = excluded.expires, ended = 0,
                     due = excluded.due
                   WHERE expires <= ?9"#
            )),
            write: kept(&format!(
                r#"UPDATE "{table}" SET data = ?2, version = ?3, updated = ?4, expires = ?5,
                   created = min(created, ?4) WHERE key = ?1"#
            )),
            renew: kept(&format!(
                r#"UPDATE "{table}" SET expires = ?2, created = min(created, ?3)
                   WHERE key = ?1"#
            )),
            advance: kept(&format!(
                r#"UPDATE "{table}" SET due = ?2 / {MINUTE} * {MINUTE} WHERE key = ?1 AND due > ?2"#
            )),
            // Ends one row: a statement that changes many rows keeps them in memory
            // until it is done.
            end: kept(&format!(
                r#"UPDATE "{table}" SET ended = 1, data = x'', subject = NULL, expires = ?2,
                   due = ?2 / {MINUTE} * {MINUTE} WHERE key = ?1"#
            )),
            live: kept(&format!("{live} ORDER BY key LIMIT ?3")),
            live_of_subject: kept(&format!("{live} AND subject = ?4 ORDER BY key LIMIT ?3")),
            // The limit on the rows that a page reads is counted by the caller.
            list: kept(&format!("{list} ORDER BY key")),
            list_subject: kept(&format!("{list} AND subject = ?2 ORDER BY key")),
            // What is not yet due is live, and counted in the index alone.
            count: kept(&format!(
                r#"SELECT
                   (SELECT count(*) FROM "{table}" WHERE due > ?1 AND ended = 0) +
                   (SELECT count(*) FROM "{table}" WHERE due <= ?1 AND ended = 0 AND expires > ?1)"#
            )),
            count_subject: kept(&format!(
                r#"SELECT count(*) FROM "{table}"
                   WHERE subject = ?2 AND expires > ?1 AND ended = 0"#
            )),
            count_expired: kept(&format!(
                r#"SELECT count(*) FROM "{table}" WHERE due <= ?1 AND expires <= ?1"#
            )),
            due: kept(&format!(
                r#"SELECT key, expires FROM "{table}" WHERE due <= ?1
                   ORDER BY due, ended, key LIMIT ?2"#
            )),
            defer: kept(&format!(
                r#"UPDATE "{table}" SET due = expires WHERE key = ?1"#
            )),
            remove: kept(&format!(r#"DELETE FROM "{table}" WHERE key = ?1"#)),
            any_due: kept(&format!(
                r#"SELECT EXISTS (SELECT 1 FROM "{table}" WHERE due <= ?1)"#
            )),
            // A sum that was damaged makes no request fail.
            count_requests: kept(&format!(
                r#"UPDATE "wasi-sessions"
                   SET requests = max(0, min(requests, 4611686018427387903)) + ?1
                   WHERE name = '{table}' RETURNING requests"#
            )),
            reset_requests: kept(&format!(
                r#"UPDATE "wasi-sessions" SET requests = 0 WHERE name = '{table}' AND requests > 0"#
            )),
            all_pages: kept("PRAGMA page_count"),
            free_pages: kept("PRAGMA freelist_count"),
            look_at_log: kept("PRAGMA wal_checkpoint(NOOP)"),
            copy_log: kept("PRAGMA wal_checkpoint(PASSIVE)"),
            empty_log: kept("PRAGMA wal_checkpoint(TRUNCATE)"),
        }
    }
}
