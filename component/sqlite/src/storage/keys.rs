//! The keys that seal the rows of one table, and the stored form of a row.
//!
//! A table of schema version 3 has the column `state`: 0 for a session that is not
//! sealed, 1 for a tombstone, and from 2 on the number of the key that sealed the
//! session. While the key is being changed, sessions of two states are accepted.

use rusqlite::types::Type;
use std::borrow::Cow;
use std::cell::Cell;
use std::error;
use std::fmt;
use wasi_sessions_rules::error::Error;
use wasi_sessions_rules::id::IdHash;
use wasi_sessions_rules::seal::{Binding, SEAL_LENGTH, Seal};
use wasi_sessions_rules::types::{END_OF_TIME, Timestamp};

/// The `state` of a session that is not sealed.
pub const NOT_SEALED: i64 = 0;

/// The `state` of a tombstone.
pub const TOMBSTONE: i64 = 1;

/// The `state` of the sessions that the first key of a table seals.
pub const FIRST_KEY: i64 = 2;

/// The keys of a table.
pub struct Keys {
    /// Seals every row that is written.
    pub present: Sealer,
    /// Opens the rows that collection has not resealed yet.
    pub previous: Option<Sealer>,
    /// Whether collection has rows left to reseal.
    pub is_changing: Cell<bool>,
}

/// A key and the `state` of its rows; without a key they are not sealed.
pub struct Sealer {
    /// The column `state` of its rows.
    pub state: i64,
    /// Seals and opens its rows.
    pub seal: Option<Seal>,
}

/// A session as its row stores it.
pub struct StoredForm<'s, 'd> {
    /// The column `state`.
    pub state: i64,
    /// The column `subject`.
    pub subject: Option<Cow<'s, str>>,
    /// The column `data`.
    pub data: Cow<'d, [u8]>,
}

/// The error for a row that does not open with its key, since it was changed.
#[derive(Debug)]
pub struct BrokenSeal;

impl Keys {
    /// The key of the rows with this `state`.
    fn sealer(&self, state: i64) -> Result<&Sealer, BrokenSeal> {
        let sealers = [Some(&self.present), self.previous.as_ref()];
        let mut known = sealers.into_iter().flatten();
        known.find(|sealer| sealer.state == state).ok_or(BrokenSeal)
    }

    /// Opens a row: its subject and its payload.
    pub fn open(
        &self,
        state: i64,
        binding: &Binding,
        data: &[u8],
    ) -> Result<(Option<String>, Vec<u8>), BrokenSeal> {
        let sealer = self.sealer(state)?;
        let data = match &sealer.seal {
            None => data.to_vec(),
            Some(seal) => seal.open(binding, data).ok_or(BrokenSeal)?,
        };
        let subject = binding.subject.map(|subject| sealer.open_subject(subject));
        Ok((subject.transpose()?, data))
    }

    /// Opens the part of a row that a listing shows: the subject, and the length of the
    /// payload. `length` is that of the column `data`.
    pub fn open_entry(
        &self,
        state: i64,
        subject: Option<&str>,
        length: u64,
    ) -> Result<(Option<String>, u64), BrokenSeal> {
        let sealer = self.sealer(state)?;
        let length = match sealer.seal {
            None => length,
            Some(_) => length.checked_sub(SEAL_LENGTH as u64).ok_or(BrokenSeal)?,
        };
        let subject = subject.map(|subject| sealer.open_subject(subject));
        Ok((subject.transpose()?, length))
    }

    /// The stored forms of this subject, each with the `state` of its rows: the present
    /// form and, while the key is being changed, the previous one.
    pub fn forms(&self, subject: &str) -> Result<[Option<(String, i64)>; 2], Error> {
        let form = |sealer: &Sealer| Ok((sealer.subject(subject)?.into_owned(), sealer.state));
        Ok([
            Some(form(&self.present)?),
            self.previous.as_ref().map(form).transpose()?,
        ])
    }
}

impl Sealer {
    /// The stored form of a session.
    pub fn stored_form<'s, 'd>(
        &self,
        hash: &IdHash,
        (version, updated): (u64, Timestamp),
        subject: Option<&'s str>,
        data: &'d [u8],
    ) -> Result<StoredForm<'s, 'd>, Error> {
        let subject = subject.map(|subject| self.subject(subject)).transpose()?;
        let data = match &self.seal {
            None => Cow::Borrowed(data),
            Some(seal) => {
                let binding = Binding {
                    hash,
                    version: version.min(END_OF_TIME),
                    updated: updated.min(END_OF_TIME),
                    subject: subject.as_deref(),
                };
                Cow::Owned(seal.seal(&binding, data)?)
            }
        };
        Ok(StoredForm {
            state: self.state,
            subject,
            data,
        })
    }

    /// The check value of the key; empty without a key.
    pub fn check(&self) -> Vec<u8> {
        let check = self.seal.as_ref().map(|seal| seal.check().to_vec());
        check.unwrap_or_default()
    }

    fn subject<'a>(&self, subject: &'a str) -> Result<Cow<'a, str>, Error> {
        Ok(match &self.seal {
            None => Cow::Borrowed(subject),
            Some(seal) => Cow::Owned(seal.seal_subject(subject)?),
        })
    }

    fn open_subject(&self, stored: &str) -> Result<String, BrokenSeal> {
        match &self.seal {
            None => Ok(stored.to_owned()),
            Some(seal) => seal.open_subject(stored).ok_or(BrokenSeal),
        }
    }
}

impl<'s, 'd> StoredForm<'s, 'd> {
    /// The form in a table without the column `state`.
    pub fn plain(subject: Option<&'s str>, data: &'d [u8]) -> StoredForm<'s, 'd> {
        StoredForm {
            state: NOT_SEALED,
            subject: subject.map(Cow::Borrowed),
            data: Cow::Borrowed(data),
        }
    }
}

impl fmt::Display for BrokenSeal {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a sealed row was changed: it does not open with its key")
    }
}

impl error::Error for BrokenSeal {}

impl From<BrokenSeal> for rusqlite::Error {
    fn from(broken: BrokenSeal) -> rusqlite::Error {
        rusqlite::Error::FromSqlConversionFailure(0, Type::Blob, Box::new(broken))
    }
}
