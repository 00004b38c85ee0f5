//! The rows of one table: every statement that reads or writes sessions.
//!
//! A row is a session or, once that was ended, its tombstone. It counts while
//! `expires > now`; each statement takes `now` as a parameter.
//!
//! Collection finds rows by `due`, which is never later than `expires`. A row
//! that is renewed keeps its `due`, so that most writes leave the index alone;
//! collection gives it the later one when it comes across it.

use super::statements::{Kept, Statements, unsigned};
use crate::error::Error;
use crate::id::Key;
use crate::types::{END_OF_TIME, Entry, Page, Session, Timestamp, Written};
use rusqlite::{Row, params};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// The number of rows that are read at once before each is changed by its own
/// statement.
const CHUNK: u64 = 256;

/// The most rows that one page of a listing reads, live or not.
const MOST_SCANNED: u64 = 10_000;

/// Renewed rows that a step defers beyond its limit, so that a small one gets
/// past them.
const SOME: u64 = 16;

/// What stands under an id.
pub enum Standing<T> {
    /// A live session, or what of it was asked for.
    Live(T),
    /// The tombstone of one that was ended a moment ago.
    Ended,
}

/// What of a session a write depends on.
pub struct Head {
    pub version: u64,
    pub created: Timestamp,
    pub expires: Timestamp,
}

impl Head {
    /// The same of a session that was read whole.
    pub fn of(session: &Session) -> Head {
        Head {
            version: session.version,
            created: session.created,
            expires: session.expires,
        }
    }
}

/// One table, inside one transaction or for one statement.
#[derive(Clone, Copy)]
pub struct Rows<'s, 'c>(pub(super) &'s Statements<'c>);

impl Rows<'_, '_> {
    /// The session under this key; none when nothing stands there.
    pub fn find(&self, key: &Key, now: Timestamp) -> Result<Option<Standing<Session>>, Error> {
        standing(&self.0.find, key, now, |row| {
            let head = head(row)?;
            Ok(Session {
                version: head.version,
                created: head.created,
                expires: head.expires,
                updated: unsigned(row, 5)?,
                subject: row.get(6)?,
                data: row.get(7)?,
            })
        })
    }

    /// The same without what only a reader wants.
    pub fn find_head(&self, key: &Key, now: Timestamp) -> Result<Option<Standing<Head>>, Error> {
        standing(&self.0.find_head, key, now, head)
    }

    /// Writes a session under a key where nothing stands, over what expired
    /// there. False, with nothing written, when the row's place in the table
    /// belongs to another key.
    pub fn insert(&self, key: &Key, session: &Session, now: Timestamp) -> Result<bool, Error> {
        let (place, rest) = split(key);
        let changed = self.0.insert.change(params![
            place,
            rest,
            session.data,
            session.subject,
            signed(session.version),
            signed(session.created),
            signed(session.updated),
            signed(session.expires),
            signed(now),
        ])?;
        Ok(changed == 1)
    }

    /// Writes the payload of a live session that would have expired at `before`.
    /// If `created` is later than `updated`, because a clock was ahead, it becomes
    /// `updated`.
    pub fn write(
        &self,
        key: &Key,
        data: &[u8],
        written: &Written,
        before: Timestamp,
    ) -> Result<(), Error> {
        let (place, _) = split(key);
        self.0.write.change(params![
            place,
            data,
            signed(written.version),
            signed(written.updated),
            signed(written.expires),
        ])?;
        self.keep_due(place, written.expires, before)
    }

    /// Moves the expiry of a live session from `before` to `expires`. A `created`
    /// later than `now` becomes `now`, as in [`Rows::write`].
    pub fn renew(
        &self,
        key: &Key,
        expires: Timestamp,
        before: Timestamp,
        now: Timestamp,
    ) -> Result<(), Error> {
        let (place, _) = split(key);
        self.0
            .renew
            .change(params![place, signed(expires), signed(now)])?;
        self.keep_due(place, expires, before)
    }

    /// A row is never due later than it expires.
    fn keep_due(&self, place: i64, expires: Timestamp, before: Timestamp) -> Result<(), Error> {
        if expires < before {
            self.0.advance.change(params![place, signed(expires)])?;
        }
        Ok(())
    }

    /// Turns a live session into a tombstone that counts until `until`.
    pub fn end(&self, key: &Key, until: Timestamp) -> Result<(), Error> {
        self.end_at(place(key), until)
    }

    fn end_at(&self, place: i64, until: Timestamp) -> Result<(), Error> {
        self.0.end.change(params![place, signed(until)])?;
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
        let spared = match except {
            // The row at this rowid may have another key: a hash collision.
            Some(key) if self.find_head(key, now)?.is_some() => Some(place(key)),
            _ => None,
        };
        let mut ended = 0;
        self.each_live(Some(subject), now, |place, _| {
            if Some(place) == spared {
                return Ok(());
            }
            ended += 1;
            self.end_at(place, until)
        })?;
        Ok(ended)
    }

    /// Ends all live sessions; how many.
    pub fn end_all(&self, now: Timestamp, until: Timestamp) -> Result<u64, Error> {
        let mut ended = 0;
        self.each_live(None, now, |place, _| {
            ended += 1;
            self.end_at(place, until)
        })?;
        Ok(ended)
    }

    /// Ends the live sessions of a subject but the one under `newest` and the
    /// `keep` others created last. Needs 16 bytes of memory for each of these.
    pub fn end_oldest(
        &self,
        subject: &str,
        newest: &Key,
        keep: u64,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<(), Error> {
        let newest = place(newest);
        // The top of the heap is the oldest.
        let mut kept = BinaryHeap::new();
        self.each_live(Some(subject), now, |place, created| {
            if place == newest {
                return Ok(());
            }
            kept.push((Reverse(created), place));
            if kept.len() as u64 <= keep {
                return Ok(());
            }
            let oldest = kept.pop();
            oldest.map_or(Ok(()), |(_, place)| self.end_at(place, until))
        })
    }

    /// Visits the live sessions, all or one subject's, in the order of their keys,
    /// with the rowid of each and its time of creation. No statement is running
    /// during a visit, so a visit may change the session.
    fn each_live(
        &self,
        subject: Option<&str>,
        now: Timestamp,
        mut visit: impl FnMut(i64, i64) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let (now, most) = (signed(now), signed(CHUNK));
        let read = |row: &Row| Ok((row.get(0)?, row.get(1)?));
        let mut start = Some(i64::MIN);
        while let Some(first) = start {
            let chunk: Vec<(i64, i64)> = match subject {
                None => self.0.live.all(params![first, now, most], read),
                Some(subject) => {
                    let params = params![first, now, most, subject];
                    self.0.live_of_subject.all(params, read)
                }
            }?;
            start = match chunk.last() {
                Some(&(last, _)) if chunk.len() as u64 == CHUNK => last.checked_add(1),
                _ => None,
            };
            for (place, created) in chunk {
                visit(place, created)?;
            }
        }
        Ok(())
    }

    /// At most `limit` live sessions, all or one subject's, in the order of
    /// their keys, starting after `cursor`. Fewer, or none, when the page has read
    /// too many rows that are not live.
    pub fn list(
        &self,
        subject: Option<&str>,
        cursor: Option<&Key>,
        limit: u32,
        now: Timestamp,
    ) -> Result<Page, Error> {
        let (mut entries, mut next) = (vec![], None);
        let start = match cursor {
            None => Some(i64::MIN),
            Some(key) => place(key).checked_add(1),
        };
        let Some(start) = start else {
            return Ok(Page { entries, next });
        };
        let (mut scanned, mut last) = (0, None);
        let read = |row: &Row| {
            let is_live = row.get::<_, i64>(EXPIRES)? > signed(now) && !row.get::<_, bool>(2)?;
            if is_live && entries.len() == limit as usize {
                next = entries.last().map(|entry: &Entry| entry.handle.clone());
                return Ok(false);
            }
            if scanned == MOST_SCANNED {
                next = last.as_ref().map(Key::handle);
                return Ok(false);
            }
            let key = join(row.get(5)?, row.get(0)?);
            if is_live {
                entries.push(entry(&key, row)?);
            }
            scanned += 1;
            last = Some(key);
            Ok(true)
        };
        match subject {
            None => self.0.list.walk([start], read),
            Some(subject) => self.0.list_subject.walk(params![start, subject], read),
        }?;
        Ok(Page { entries, next })
    }

    /// How many sessions are live, all or one subject's.
    pub fn count(&self, subject: Option<&str>, now: Timestamp) -> Result<u64, Error> {
        match subject {
            None => self.0.count.number([signed(now)]),
            Some(subject) => self.0.count_subject.number(params![signed(now), subject]),
        }
    }

    /// How many rows wait for collection.
    pub fn count_expired(&self, now: Timestamp) -> Result<u64, Error> {
        self.0.count_expired.number([signed(now)])
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
                    deferred += self.0.defer.change([place])?;
                } else {
                    removed += self.0.remove.change([place])?;
                }
            }
        }
        let more = self.0.any_due.number([signed(now)])? == 1;
        Ok((removed, more))
    }

    /// Adds to the requests counted for this table in the database; their sum.
    pub fn count_requests(&self, requests: u64) -> Result<u64, Error> {
        self.0.count_requests.number([signed(requests)])
    }

    /// Starts counting requests at 0 again.
    pub fn reset_requests(&self) -> Result<(), Error> {
        self.0.reset_requests.change([])?;
        Ok(())
    }

    /// The places of so many rows that are due, and when they expire.
    fn due(&self, limit: u64, now: Timestamp) -> Result<Vec<(i64, i64)>, Error> {
        let params = [signed(now), signed(limit)];
        self.0.due.all(params, |row| Ok((row.get(0)?, row.get(1)?)))
    }
}

/// The column `expires` in the statements that find or list sessions.
const EXPIRES: usize = 1;

/// Reads the columns with which these statements begin.
fn head(row: &Row) -> rusqlite::Result<Head> {
    Ok(Head {
        expires: unsigned(row, EXPIRES)?,
        version: unsigned(row, 3)?,
        created: unsigned(row, 4)?,
    })
}

/// What stands under this key, as `find` tells it and `read` makes of it.
fn standing<T>(
    find: &Kept,
    key: &Key,
    now: Timestamp,
    read: impl FnOnce(&Row) -> rusqlite::Result<T>,
) -> Result<Option<Standing<T>>, Error> {
    let (place, rest) = split(key);
    let found = find.first([place], |row| {
        // The place may be another key's, and its session over.
        let is_its = row.get_ref(0)?.as_blob()? == rest;
        if !is_its || row.get::<_, i64>(EXPIRES)? <= signed(now) {
            return Ok(None);
        }
        Ok(Some(match row.get(2)? {
            true => Standing::Ended,
            false => Standing::Live(read(row)?),
        }))
    })?;
    Ok(found.flatten())
}

/// A listing's entry for a live session.
fn entry(key: &Key, row: &Row) -> rusqlite::Result<Entry> {
    let head = head(row)?;
    Ok(Entry {
        handle: key.handle(),
        subject: row.get(6)?,
        version: head.version,
        created: head.created,
        updated: unsigned(row, 7)?,
        expires: head.expires,
        size: unsigned(row, 8)?,
    })
}

/// A row's place in the table is the first 8 bytes of its key, so that finding
/// it is one descent of one tree; the rest of the key is compared.
fn split(key: &Key) -> (i64, &[u8]) {
    let (place, rest) = key.0.split_first_chunk().expect("a key has 32 bytes");
    (i64::from_be_bytes(*place), rest)
}

pub(super) fn place(key: &Key) -> i64 {
    split(key).0
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
