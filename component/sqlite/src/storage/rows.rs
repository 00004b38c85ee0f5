//! The rows of one table: every statement that reads or writes sessions, except listings.
//!
//! A row is a session or, after the session has ended, its tombstone. It counts while
//! `expires > now`; each statement takes `now` as a parameter.
//!
//! Collection finds rows by `due`, which is never later than `expires`. Renewing a row
//! leaves `due` unchanged, so that most writes do not change the index; when collection
//! reads a renewed row, it defers it: it sets `due` to `expires`.

use super::statements::{CachedStatement, Statements, unsigned};
use rusqlite::{Row, params};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use wasi_sessions_rules::error::Error;
use wasi_sessions_rules::id::IdHash;
use wasi_sessions_rules::row::{Head, Stored};
use wasi_sessions_rules::seal::Binding;
use wasi_sessions_rules::types::{END_OF_TIME, Session, Timestamp, Written};

/// The number of rows that are read at a time before each is changed by its own
/// statement.
const CHUNK: u64 = 256;

/// By how much the number of deferred rows may exceed a step's limit; otherwise a step with a
/// small limit would hardly advance past renewed rows.
const EXTRA_DEFERRALS: u64 = 16;

/// The rows of one table, inside one transaction or for one statement.
#[derive(Clone, Copy)]
pub struct Rows<'s, 'c>(pub(super) &'s Statements<'c>);

impl Rows<'_, '_> {
    /// The session with this hash, or its tombstone.
    pub fn find(&self, hash: &IdHash, now: Timestamp) -> Result<Option<Stored<Session>>, Error> {
        stored(&self.0.find, hash, now, |row| {
            let head = head(row)?;
            let updated = unsigned(row, 5)?;
            let (subject, data) = match &self.0.keys {
                None => (row.get(6)?, row.get(7)?),
                Some(keys) => {
                    let binding = Binding {
                        hash,
                        version: head.version,
                        updated,
                        subject: row.get_ref(6)?.as_str_or_null()?,
                    };
                    keys.open(row.get(8)?, &binding, row.get_ref(7)?.as_blob()?)?
                }
            };
            Ok(Session {
                version: head.version,
                created: head.created,
                expires: head.expires,
                updated,
                subject,
                data,
            })
        })
    }

    /// Like [`Rows::find`], without subject and payload.
    pub fn find_head(&self, hash: &IdHash, now: Timestamp) -> Result<Option<Stored<Head>>, Error> {
        stored(&self.0.find_head, hash, now, head)
    }

    /// Inserts a session; replaces an expired row if there is one. Writes nothing and
    /// returns false on a collision: another hash with the same head has a row.
    pub fn insert(&self, hash: &IdHash, session: &Session, now: Timestamp) -> Result<bool, Error> {
        let (hash_head, hash_tail) = split(hash);
        let stored = self.stored_form(hash, session)?;
        let changed = self.0.insert.change(params![
            hash_head,
            hash_tail,
            stored.data,
            stored.subject,
            signed(session.version),
            signed(session.created),
            signed(session.updated),
            signed(session.expires),
            signed(now),
            stored.state,
        ])?;
        Ok(changed == 1)
    }

    /// Writes the payload of a live session. `before` is its previous expiry. A
    /// `created` later than the write, from a clock that was ahead, becomes the time of
    /// the write.
    pub fn write(
        &self,
        hash: &IdHash,
        data: &[u8],
        written: &Written,
        before: Timestamp,
    ) -> Result<(), Error> {
        let (hash_head, _) = split(hash);
        self.0.write.change(params![
            hash_head,
            self.data_to_write(hash, data, written)?,
            signed(written.version),
            signed(written.updated),
            signed(written.expires),
        ])?;
        self.keep_due(hash_head, written.expires, before)
    }

    /// Moves the expiry of a live session from `before` to `expires`. A `created`
    /// later than `now` becomes `now`, as in [`Rows::write`].
    pub fn renew(
        &self,
        hash: &IdHash,
        expires: Timestamp,
        before: Timestamp,
        now: Timestamp,
    ) -> Result<(), Error> {
        let (hash_head, _) = split(hash);
        self.0
            .renew
            .change(params![hash_head, signed(expires), signed(now)])?;
        self.keep_due(hash_head, expires, before)
    }

    /// Moves `due` to an earlier `expires`, since `due` is never later.
    fn keep_due(&self, hash_head: i64, expires: Timestamp, before: Timestamp) -> Result<(), Error> {
        if expires < before {
            self.0.advance.change(params![hash_head, signed(expires)])?;
        }
        Ok(())
    }

    /// Replaces a live session with a tombstone that expires at `until`.
    pub fn end(&self, hash: &IdHash, until: Timestamp) -> Result<(), Error> {
        self.end_at(hash_head(hash), until)
    }

    fn end_at(&self, hash_head: i64, until: Timestamp) -> Result<(), Error> {
        self.0.end.change(params![hash_head, signed(until)])?;
        Ok(())
    }

    /// Ends all live sessions of a subject except the one with the hash `except`;
    /// returns how many.
    pub fn end_subject(
        &self,
        subject: &str,
        except: Option<&IdHash>,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<u64, Error> {
        let spared = match except {
            // After a collision, the row with this head has another hash.
            Some(except) if self.find_head(except, now)?.is_some() => Some(hash_head(except)),
            _ => None,
        };
        let mut ended = 0;
        self.each_live(Some(subject), now, |hash_head, _| {
            if Some(hash_head) == spared {
                return Ok(());
            }
            ended += 1;
            self.end_at(hash_head, until)
        })?;
        Ok(ended)
    }

    /// Ends all live sessions; returns how many.
    pub fn end_all(&self, now: Timestamp, until: Timestamp) -> Result<u64, Error> {
        let mut ended = 0;
        self.each_live(None, now, |hash_head, _| {
            ended += 1;
            self.end_at(hash_head, until)
        })?;
        Ok(ended)
    }

    /// Ends the live sessions of a subject except the one with the hash `newest` and the
    /// `keep` others created last. Needs 16 bytes of memory for each session kept.
    pub fn end_oldest(
        &self,
        subject: &str,
        newest: &IdHash,
        keep: u64,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<(), Error> {
        let newest = hash_head(newest);
        // The top of the heap is the oldest.
        let mut kept = BinaryHeap::new();
        self.each_live(Some(subject), now, |hash_head, created| {
            if hash_head == newest {
                return Ok(());
            }
            kept.push((Reverse(created), hash_head));
            if kept.len() as u64 <= keep {
                return Ok(());
            }
            let oldest = kept.pop();
            oldest.map_or(Ok(()), |(_, hash_head)| self.end_at(hash_head, until))
        })
    }

    /// Visits the live sessions, all or one subject's, in the order of their hashes:
    /// passes the hash's head and the time of creation. No statement is running
    /// during a visit, so a visit may change the session.
    fn each_live(
        &self,
        subject: Option<&str>,
        now: Timestamp,
        mut visit: impl FnMut(i64, i64) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let (now, most) = (signed(now), signed(CHUNK));
        let forms = subject.map(|subject| self.forms(subject)).transpose()?;
        let read = |row: &Row| Ok((row.get(0)?, row.get(1)?));
        let mut start = Some(i64::MIN);
        while let Some(first) = start {
            let chunk: Vec<(i64, i64)> = match &forms {
                None => self.0.live.all(params![first, now, most], read),
                Some(forms) => {
                    let params = forms.after(&[&first, &now, &most]);
                    self.0.live_of_subject.all(&*params, read)
                }
            }?;
            start = match chunk.last() {
                Some(&(last, _)) if chunk.len() as u64 == CHUNK => last.checked_add(1),
                _ => None,
            };
            for (hash_head, created) in chunk {
                visit(hash_head, created)?;
            }
        }
        Ok(())
    }

    /// How many sessions are live, all or one subject's.
    pub fn count(&self, subject: Option<&str>, now: Timestamp) -> Result<u64, Error> {
        match subject {
            None => self.0.count.number([signed(now)]),
            Some(subject) => {
                let forms = self.forms(subject)?;
                self.0.count_subject.number(&*forms.after(&[&signed(now)]))
            }
        }
    }

    /// How many expired rows wait for collection.
    pub fn count_expired(&self, now: Timestamp) -> Result<u64, Error> {
        self.0.count_expired.number([signed(now)])
    }

    /// Removes at most `limit` expired rows, and defers about as many that were
    /// renewed. Returns how many were removed, and whether any row is still due.
    pub fn collect(&self, limit: u64, now: Timestamp) -> Result<(u64, bool), Error> {
        let (mut removed, mut deferred) = (0, 0);
        while removed < limit && deferred < limit.saturating_add(EXTRA_DEFERRALS) {
            let due = self.due(CHUNK.min(limit - removed), now)?;
            if due.is_empty() {
                break;
            }
            for (hash_head, expires) in due {
                if expires > signed(now) {
                    deferred += self.0.defer.change([hash_head])?;
                } else {
                    removed += self.0.remove.change([hash_head])?;
                }
            }
        }
        let more = self.0.any_due.number([signed(now)])? == 1;
        Ok((removed, more))
    }

    /// Adds to the requests counted for this table in the database; returns the sum.
    pub fn count_requests(&self, requests: u64) -> Result<u64, Error> {
        self.0.count_requests.number([signed(requests)])
    }

    /// Sets the requests counted for this table to 0.
    pub fn reset_requests(&self) -> Result<(), Error> {
        self.0.reset_requests.change([])?;
        Ok(())
    }

    /// The first `limit` rows that are due: the head of the hash, and the expiry.
    fn due(&self, limit: u64, now: Timestamp) -> Result<Vec<(i64, i64)>, Error> {
        let params = [signed(now), signed(limit)];
        self.0.due.all(params, |row| Ok((row.get(0)?, row.get(1)?)))
    }
}

/// The columns `expires` and `ended` in the statements that find or list sessions.
const EXPIRES: usize = 1;
pub(super) const ENDED: usize = 2;

/// Reads the head of a session; the statements that find or list begin with its columns.
pub(super) fn head(row: &Row) -> rusqlite::Result<Head> {
    Ok(Head {
        expires: unsigned(row, EXPIRES)?,
        version: unsigned(row, 3)?,
        created: unsigned(row, 4)?,
    })
}

/// Reads the column `expires`. A negative number, which only damage can cause, counts as
/// 0, in the past.
pub(super) fn expires(row: &Row) -> rusqlite::Result<Timestamp> {
    Ok(row.get::<_, i64>(EXPIRES)?.max(0).unsigned_abs())
}

/// Runs `find` for this hash and classifies the row; `read` reads a live session.
fn stored<T>(
    find: &CachedStatement,
    hash: &IdHash,
    now: Timestamp,
    read: impl FnOnce(&Row) -> rusqlite::Result<T>,
) -> Result<Option<Stored<T>>, Error> {
    let (hash_head, hash_tail) = split(hash);
    let found = find.first([hash_head], |row| {
        // After a collision, the row with this head has another hash.
        if row.get_ref(0)?.as_blob()? != hash_tail {
            return Ok(None);
        }
        Stored::classify(expires(row)?, row.get(ENDED)?, now, || read(row))
    })?;
    Ok(found.flatten())
}

/// Splits a hash into its head, the first 8 bytes, and its tail. The head is the
/// rowid, so that finding a row is one descent of one B-tree; the tail is compared.
pub fn split(hash: &IdHash) -> (i64, &[u8]) {
    let (head, tail) = hash.0.split_first_chunk().expect("a hash has 32 bytes");
    (i64::from_be_bytes(*head), tail)
}

/// The first 8 bytes of a hash, which are the rowid.
pub fn hash_head(hash: &IdHash) -> i64 {
    split(hash).0
}

pub fn join(hash_head: i64, hash_tail: [u8; 24]) -> IdHash {
    let mut hash = [0; 32];
    hash[..8].copy_from_slice(&hash_head.to_be_bytes());
    hash[8..].copy_from_slice(&hash_tail);
    IdHash(hash)
}

/// A number as SQLite stores it: saturated at the largest signed one.
pub fn signed(number: u64) -> i64 {
    number.min(END_OF_TIME) as i64
}
