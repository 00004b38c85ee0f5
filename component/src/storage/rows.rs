//! The rows of one table: every statement that reads or writes sessions.
//!
//! A row is a session or, once that was ended, its tombstone. It counts while
//! `expires > now`; each statement takes `now` as a parameter.
//!
//! Collection finds rows by `due`, which is never later than `expires`. A row
//! that is renewed keeps its `due`, so that most writes leave the index alone;
//! collection gives it the later one when it comes across it.

use super::failure;
use crate::error::Error;
use crate::id::Key;
use crate::types::{END_OF_TIME, Entry, Page, Session, Timestamp, Written};
use rusqlite::{CachedStatement, Connection, OptionalExtension, Params, Row, params};

/// What becomes due in the same minute is collected in the order of the table,
/// page by page.
const MINUTE: u64 = 60_000;

/// Rows that collection reads at once.
const CHUNK: u64 = 256;

/// Renewed rows that a step defers beyond its limit, so that a small one gets
/// past them.
const SOME: u64 = 16;

/// What stands under an id.
pub enum Standing {
    /// A live session.
    Live(Session),
    /// The tombstone of one that was ended a moment ago.
    Ended,
}

/// The statements for one table, formatted once when the store is opened.
pub struct Sql {
    find: String,
    insert: String,
    write: String,
    renew: String,
    advance: String,
    end: String,
    end_subject: String,
    end_all: String,
    end_oldest: String,
    list: String,
    list_subject: String,
    count: String,
    count_subject: String,
    count_expired: String,
    due: String,
    defer: String,
    remove: String,
    any_due: String,
}

impl Sql {
    /// The statements for `table`, whose name has been checked.
    pub fn new(table: &str) -> Sql {
        let end = format!(
            r#"UPDATE "{table}" SET ended = 1, data = x'', subject = NULL, expires = ?1,
               due = ?1 / {MINUTE} * {MINUTE} WHERE"#
        );
        let list = format!(
            r#"SELECT key, rest, subject, version, created, updated, expires, length(data)
               FROM "{table}" WHERE key >= ?1 AND expires > ?2 AND ended = 0"#
        );
        Sql {
            find: format!(
                r#"SELECT ended, data, subject, version, created, updated, expires
                   FROM "{table}" WHERE key = ?1 AND rest = ?2 AND expires > ?3"#
            ),
            insert: format!(
                r#"INSERT INTO "{table}"
                   (key, rest, data, subject, version, created, updated, expires, ended, due)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 0, ?8 / {MINUTE} * {MINUTE})
                   ON CONFLICT (key) DO UPDATE SET
                     rest = excluded.rest, data = excluded.data, subject = excluded.subject,
                     version = excluded.version, created = excluded.created,
                     updated = excluded.updated, expires = excluded.expires, ended = 0,
                     due = excluded.due
                   WHERE expires <= ?9"#
            ),
            write: format!(
                r#"UPDATE "{table}" SET data = ?2, version = ?3, updated = ?4, expires = ?5
                   WHERE key = ?1"#
            ),
            renew: format!(r#"UPDATE "{table}" SET expires = ?2 WHERE key = ?1"#),
            advance: format!(
                r#"UPDATE "{table}" SET due = ?2 / {MINUTE} * {MINUTE} WHERE key = ?1 AND due > ?2"#
            ),
            end_subject: format!(
                r#"{end} subject = ?2 AND expires > ?3 AND ended = 0
                   AND NOT (key = ?4 AND rest = ?5)"#
            ),
            end_all: format!("{end} expires > ?2 AND ended = 0"),
            end_oldest: format!(
                r#"{end} key IN (SELECT key FROM "{table}"
                   WHERE subject = ?2 AND expires > ?3 AND ended = 0 AND key <> ?4
                   ORDER BY created DESC, key LIMIT -1 OFFSET ?5)"#
            ),
            end: format!("{end} key = ?2"),
            list_subject: format!("{list} AND subject = ?4 ORDER BY key LIMIT ?3"),
            list: format!("{list} ORDER BY key LIMIT ?3"),
            // What is not yet due is live, and counted in the index alone.
            count: format!(
                r#"SELECT
                   (SELECT count(*) FROM "{table}" WHERE due > ?1 AND ended = 0) +
                   (SELECT count(*) FROM "{table}" WHERE due <= ?1 AND ended = 0 AND expires > ?1)"#
            ),
            count_subject: format!(
                r#"SELECT count(*) FROM "{table}"
                   WHERE subject = ?2 AND expires > ?1 AND ended = 0"#
            ),
            count_expired: format!(
                r#"SELECT count(*) FROM "{table}" WHERE due <= ?1 AND expires <= ?1"#
            ),
            due: format!(
                r#"SELECT key, expires FROM "{table}" WHERE due <= ?1
                   ORDER BY due, ended, key LIMIT ?2"#
            ),
            defer: format!(r#"UPDATE "{table}" SET due = expires WHERE key = ?1"#),
            remove: format!(r#"DELETE FROM "{table}" WHERE key = ?1"#),
            any_due: format!(r#"SELECT EXISTS (SELECT 1 FROM "{table}" WHERE due <= ?1)"#),
        }
    }
}

/// One table, inside one transaction or for one statement.
#[derive(Clone, Copy)]
pub struct Rows<'a> {
    pub(super) connection: &'a Connection,
    pub(super) sql: &'a Sql,
}

impl Rows<'_> {
    /// What stands under this key now; none when it is missing or expired.
    pub fn find(&self, key: &Key, now: Timestamp) -> Result<Option<Standing>, Error> {
        let mut find = self.prepare(&self.sql.find)?;
        let (place, rest) = split(key);
        find.query_row(params![place, rest, signed(now)], |row| {
            if row.get(0)? {
                return Ok(Standing::Ended);
            }
            Ok(Standing::Live(Session {
                data: row.get(1)?,
                subject: row.get(2)?,
                version: unsigned(row, 3)?,
                created: unsigned(row, 4)?,
                updated: unsigned(row, 5)?,
                expires: unsigned(row, 6)?,
            }))
        })
        .optional()
        .map_err(failure)
    }

    /// Writes a session under a key where nothing stands, over what expired
    /// there. False, with nothing written, when the row's place in the table
    /// belongs to another key.
    pub fn insert(&self, key: &Key, session: &Session, now: Timestamp) -> Result<bool, Error> {
        let (place, rest) = split(key);
        let changed = self.change(
            &self.sql.insert,
            params![
                place,
                rest,
                session.data,
                session.subject,
                signed(session.version),
                signed(session.created),
                signed(session.updated),
                signed(session.expires),
                signed(now),
            ],
        )?;
        Ok(changed == 1)
    }

    /// Writes the payload of a live session that would have expired at `before`.
    pub fn write(
        &self,
        key: &Key,
        data: &[u8],
        written: &Written,
        before: Timestamp,
        now: Timestamp,
    ) -> Result<(), Error> {
        let (place, _) = split(key);
        self.change(
            &self.sql.write,
            params![
                place,
                data,
                signed(written.version),
                signed(now),
                signed(written.expires),
            ],
        )?;
        self.keep_due(place, written.expires, before)
    }

    /// Moves the expiry of a live session from `before`.
    pub fn renew(&self, key: &Key, expires: Timestamp, before: Timestamp) -> Result<(), Error> {
        let (place, _) = split(key);
        self.change(&self.sql.renew, params![place, signed(expires)])?;
        self.keep_due(place, expires, before)
    }

    /// A row is never due later than it expires.
    fn keep_due(&self, place: i64, expires: Timestamp, before: Timestamp) -> Result<(), Error> {
        if expires < before {
            self.change(&self.sql.advance, params![place, signed(expires)])?;
        }
        Ok(())
    }

    /// Turns a live session into a tombstone that counts until `until`.
    pub fn end(&self, key: &Key, until: Timestamp) -> Result<(), Error> {
        let (place, _) = split(key);
        self.change(&self.sql.end, params![signed(until), place])?;
        Ok(())
    }

    /// Ends all live sessions of a subject but the one under `except`; how many.
    pub fn end_subject(
        &self,
        subject: &str,
        except: Option<&Key>,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<u64, Error> {
        let (place, rest) = except.map(split).unzip();
        // No row has a key with an empty rest, so this spares none.
        let (place, rest) = (place.unwrap_or(0), rest.unwrap_or(&[]));
        self.change(
            &self.sql.end_subject,
            params![signed(until), subject, signed(now), place, rest],
        )
    }

    /// Ends all live sessions; how many.
    pub fn end_all(&self, now: Timestamp, until: Timestamp) -> Result<u64, Error> {
        self.change(&self.sql.end_all, params![signed(until), signed(now)])
    }

    /// Ends the live sessions of a subject but the one under `newest` and the
    /// `keep` others created last.
    pub fn end_oldest(
        &self,
        subject: &str,
        newest: &Key,
        keep: u64,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<(), Error> {
        let (place, _) = split(newest);
        self.change(
            &self.sql.end_oldest,
            params![signed(until), subject, signed(now), place, signed(keep)],
        )?;
        Ok(())
    }

    /// At most `limit` live sessions, all or one subject's, in the order of
    /// their keys, from behind the one named `cursor`.
    pub fn list(
        &self,
        subject: Option<&str>,
        cursor: Option<&Key>,
        limit: u32,
        now: Timestamp,
    ) -> Result<Page, Error> {
        let start = match cursor.map(|key| split(key).0.checked_add(1)) {
            None => i64::MIN,
            Some(Some(place)) => place,
            Some(None) => {
                return Ok(Page {
                    entries: vec![],
                    next: None,
                });
            }
        };
        // One more than asked for tells whether there is a next page.
        let (now, most) = (signed(now), i64::from(limit) + 1);
        let mut entries = match subject {
            None => self.entries(&self.sql.list, params![start, now, most]),
            Some(subject) => {
                self.entries(&self.sql.list_subject, params![start, now, most, subject])
            }
        }?;
        let more = entries.len() > limit as usize;
        entries.truncate(limit as usize);
        let next = entries
            .last()
            .filter(|_| more)
            .map(|entry| entry.handle.clone());
        Ok(Page { entries, next })
    }

    /// How many sessions are live, all or one subject's.
    pub fn count(&self, subject: Option<&str>, now: Timestamp) -> Result<u64, Error> {
        match subject {
            None => self.number(&self.sql.count, [signed(now)]),
            Some(subject) => self.number(&self.sql.count_subject, params![signed(now), subject]),
        }
    }

    /// How many rows wait for collection.
    pub fn count_expired(&self, now: Timestamp) -> Result<u64, Error> {
        self.number(&self.sql.count_expired, [signed(now)])
    }

    /// Removes at most `limit` rows that no longer count, and defers about as
    /// many that were renewed; how many were removed, and whether any are left
    /// to look at.
    pub fn collect(&self, limit: u64, now: Timestamp) -> Result<(u64, bool), Error> {
        let (mut removed, mut deferred) = (0, 0);
        while removed < limit && deferred < limit.saturating_add(SOME) {
            let due = self.due(CHUNK.min(limit - removed), now)?;
            if due.is_empty() {
                break;
            }
            for (place, expires) in due {
                if expires > signed(now) {
                    deferred += self.change(&self.sql.defer, [place])?;
                } else {
                    removed += self.change(&self.sql.remove, [place])?;
                }
            }
        }
        let more = self.number(&self.sql.any_due, [signed(now)])? == 1;
        Ok((removed, more))
    }

    /// The places of so many rows that are due, and when they expire.
    fn due(&self, limit: u64, now: Timestamp) -> Result<Vec<(i64, i64)>, Error> {
        self.prepare(&self.sql.due)?
            .query_map([signed(now), signed(limit)], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .and_then(|rows| rows.collect())
            .map_err(failure)
    }

    fn prepare(&self, sql: &str) -> Result<CachedStatement<'_>, Error> {
        self.connection.prepare_cached(sql).map_err(failure)
    }

    fn change(&self, sql: &str, params: impl Params) -> Result<u64, Error> {
        let changed = self.prepare(sql)?.execute(params).map_err(failure)?;
        Ok(changed as u64)
    }

    fn number(&self, sql: &str, params: impl Params) -> Result<u64, Error> {
        self.prepare(sql)?
            .query_row(params, |row| unsigned(row, 0))
            .map_err(failure)
    }

    fn entries(&self, sql: &str, params: impl Params) -> Result<Vec<Entry>, Error> {
        let mut list = self.prepare(sql)?;
        let entries = list.query_map(params, |row| {
            Ok(Entry {
                handle: join(row.get(0)?, row.get(1)?).handle(),
                subject: row.get(2)?,
                version: unsigned(row, 3)?,
                created: unsigned(row, 4)?,
                updated: unsigned(row, 5)?,
                expires: unsigned(row, 6)?,
                size: unsigned(row, 7)?,
            })
        });
        entries
            .and_then(|entries| entries.collect())
            .map_err(failure)
    }
}

/// A row's place in the table is the first 8 bytes of its key, so that finding
/// it is one descent of one tree; the rest of the key is compared.
fn split(key: &Key) -> (i64, &[u8]) {
    let (place, rest) = key.0.split_first_chunk().expect("a key has 32 bytes");
    (i64::from_be_bytes(*place), rest)
}

fn join(place: i64, rest: [u8; 24]) -> Key {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&place.to_be_bytes());
    key[8..].copy_from_slice(&rest);
    Key(key)
}

/// A number as SQLite keeps it, saturated.
pub(super) fn signed(number: u64) -> i64 {
    number.min(END_OF_TIME) as i64
}

fn unsigned(row: &Row, column: usize) -> rusqlite::Result<u64> {
    let number: i64 = row.get(column)?;
    u64::try_from(number).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, number))
}
