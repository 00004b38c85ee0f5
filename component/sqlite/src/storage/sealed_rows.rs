//! The rows of a table with keys: sealing, opening and resealing them.

use super::failure::failure;
use super::keys::{Keys, StoredForm, TOMBSTONE};
use super::rows::{Rows, hash_head, join, signed};
use super::statements::unsigned;
use rusqlite::types::Value;
use rusqlite::{Row, ToSql, params};
use std::borrow::Cow;
use wasi_sessions_rules::error::Error;
use wasi_sessions_rules::id::IdHash;
use wasi_sessions_rules::seal::Binding;
use wasi_sessions_rules::types::{Session, Written};

/// The rows that a resealing step reads for each row that it may reseal.
const SCANNED: u64 = 16;

/// The most rows that a resealing step reads.
const MOST_SCANNED: u64 = 4096;

/// A resealing step ends after this many bytes of payloads.
const MOST_BYTES: usize = 1 << 20;

/// The stored forms of one subject, as the last parameters of a statement.
pub struct SubjectForms(Vec<Value>);

impl SubjectForms {
    /// All parameters of the statement: `first`, then the forms.
    pub fn after<'p>(&'p self, first: &[&'p dyn ToSql]) -> Vec<&'p dyn ToSql> {
        let forms = self.0.iter().map(|form| form as &dyn ToSql);
        first.iter().copied().chain(forms).collect()
    }
}

/// A row that was opened.
struct Opened {
    hash: IdHash,
    version: u64,
    updated: u64,
    state: i64,
    subject: Option<String>,
    data: Vec<u8>,
}

impl Rows<'_, '_> {
    /// The stored form of this session.
    pub fn stored_form<'a>(
        &self,
        hash: &IdHash,
        session: &'a Session,
    ) -> Result<StoredForm<'a, 'a>, Error> {
        let (subject, data) = (session.subject.as_deref(), &session.data);
        match &self.0.keys {
            None => Ok(StoredForm::plain(subject, data)),
            Some(keys) => {
                let times = (session.version, session.updated);
                keys.present.stored_form(hash, times, subject, data)
            }
        }
    }

    /// The stored forms of this subject.
    pub fn forms(&self, subject: &str) -> Result<SubjectForms, Error> {
        let Some(keys) = &self.0.keys else {
            return Ok(SubjectForms(vec![Value::Text(subject.to_owned())]));
        };
        let forms = keys
            .forms(subject)?
            .into_iter()
            .flat_map(|form| match form {
                Some((text, state)) => [Value::Text(text), Value::Integer(state)],
                None => [Value::Null, Value::Null],
            });
        Ok(SubjectForms(forms.collect()))
    }

    /// The new value of the column `data` when a payload is written to a live session.
    /// Opens the row first, since resealing a row would hide that its subject was
    /// changed. If the row has another `state`, also reseals it.
    pub fn data_to_write<'a>(
        &self,
        hash: &IdHash,
        data: &'a [u8],
        written: &Written,
    ) -> Result<Cow<'a, [u8]>, Error> {
        let Some(keys) = &self.0.keys else {
            return Ok(Cow::Borrowed(data));
        };
        let hash_head = hash_head(hash);
        let found = self.0.sealed.first([hash_head], |row| {
            let row = open(keys, hash_head, row)?;
            Ok((row.state, row.subject))
        })?;
        let (state, subject) =
            found.ok_or_else(|| failure(rusqlite::Error::QueryReturnedNoRows))?;
        let times = (written.version, written.updated);
        let subject = subject.as_deref();
        let stored = keys.present.stored_form(hash, times, subject, data)?;
        if state != stored.state {
            self.reseal_as(hash_head, &stored)?;
        }
        Ok(stored.data)
    }

    /// Whether the present key is still that in the record of the table's keys.
    pub fn has_same_key(&self) -> Result<bool, Error> {
        let Some(keys) = &self.0.keys else {
            return Ok(true);
        };
        let found = self.0.key_record.first([], |row| {
            let is_same = keys.present.check() == row.get_ref(1)?.as_blob()?;
            Ok(is_same && row.get::<_, i64>(0)? == keys.present.state)
        })?;
        Ok(found == Some(true))
    }

    /// Whether rows of the previous key may be left to reseal.
    pub fn is_changing_key(&self) -> bool {
        let keys = self.0.keys.as_ref();
        keys.is_some_and(|keys| keys.is_changing.get())
    }

    /// Reseals at most `limit` rows, in the order of their rowids, from where the last
    /// step ended. After the last row, removes the previous key from the record and
    /// returns true. A row that does not open is left as it is.
    pub fn reseal(&self, limit: u64) -> Result<bool, Error> {
        let next = self.0.next_to_reseal.first([], |row| row.get(0))?;
        let (Some(keys), Some(next)) = (&self.0.keys, next.flatten()) else {
            return Ok(true);
        };
        let next: i64 = next;
        let most = limit.saturating_mul(SCANNED).min(MOST_SCANNED);
        let read = |row: &Row| Ok((row.get(0)?, row.get(1)?));
        let rows: Vec<(i64, i64)> = self.0.states.all(params![next, signed(most)], read)?;
        let (mut resealed, mut bytes) = (0, 0);
        for &(hash_head, state) in &rows {
            if state == TOMBSTONE || state == keys.present.state {
                continue;
            }
            if resealed == limit || bytes >= MOST_BYTES {
                self.0.set_next_to_reseal.change([hash_head])?;
                return Ok(false);
            }
            bytes += self.reseal_row(keys, hash_head)?;
            resealed += 1;
        }
        let last = rows.last().filter(|_| rows.len() as u64 == most);
        let next = last.and_then(|(last, _)| last.checked_add(1));
        match next {
            Some(next) => self.0.set_next_to_reseal.change([next])?,
            None => self.0.forget_previous_key.change([])?,
        };
        Ok(next.is_none())
    }

    /// Reseals one row; returns the length of its payload.
    fn reseal_row(&self, keys: &Keys, hash_head: i64) -> Result<usize, Error> {
        let found = self.0.sealed.first([hash_head], |row| {
            // A value of the wrong kind is damage, too.
            Ok(open(keys, hash_head, row).ok())
        })?;
        let Some(row) = found.flatten() else {
            return Ok(0);
        };
        let (times, subject) = ((row.version, row.updated), row.subject.as_deref());
        let stored = keys
            .present
            .stored_form(&row.hash, times, subject, &row.data)?;
        self.reseal_as(hash_head, &stored)?;
        Ok(row.data.len())
    }

    fn reseal_as(&self, hash_head: i64, stored: &StoredForm) -> Result<(), Error> {
        let params = params![hash_head, stored.data, stored.subject, stored.state];
        self.0.reseal.change(params).map(drop)
    }

    /// Records that no rows are left to reseal.
    pub fn stop_changing_key(&self) {
        if let Some(keys) = &self.0.keys {
            keys.is_changing.set(false);
        }
    }

    /// The rowids of the rows that do not open with their key. Opens every row; stops
    /// once it has found `most`.
    pub fn broken(&self, most: usize) -> Result<Vec<i64>, Error> {
        let mut broken = vec![];
        let Some(keys) = &self.0.keys else {
            return Ok(broken);
        };
        self.0.all_sealed.walk([], |row| {
            if broken.len() == most {
                return Ok(false);
            }
            let hash_head = row.get(6)?;
            if open(keys, hash_head, row).is_err() {
                broken.push(hash_head);
            }
            Ok(true)
        })?;
        Ok(broken)
    }
}

/// Opens a row that one of the statements `sealed` and `all_sealed` has read.
fn open(keys: &Keys, hash_head: i64, row: &Row) -> rusqlite::Result<Opened> {
    let hash = join(hash_head, row.get(0)?);
    let (version, updated, state) = (unsigned(row, 1)?, unsigned(row, 2)?, row.get(5)?);
    let binding = Binding {
        hash: &hash,
        version,
        updated,
        subject: row.get_ref(3)?.as_str_or_null()?,
    };
    let (subject, data) = keys.open(state, &binding, row.get_ref(4)?.as_blob()?)?;
    Ok(Opened {
        hash,
        version,
        updated,
        state,
        subject,
        data,
    })
}
