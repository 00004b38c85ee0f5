//! The rules of sessions: what each operation does with the row that it finds.
//!
//! Each function is a decision without side effects. An engine checks the arguments,
//! reads the row, calls the rule, and writes the result, all in one transaction and with
//! one time, `now`. A rule decides before anything is written, so a refused request writes
//! nothing.

use crate::error::Error;
use crate::id::IdHash;
use crate::json::{self, Patch};
use crate::options::Options;
use crate::row::{Head, Stored, is_expired};
use crate::types::{END_OF_TIME, Milliseconds, Session, Timestamp, Written};

#[cfg(test)]
mod tests;

/// The longest subject, in bytes.
pub const LONGEST_SUBJECT: usize = 255;

/// The most entries a page of a listing may have.
pub const LARGEST_PAGE: u32 = 1000;

/// The rules of one store for the requests of one transaction.
#[derive(Clone, Copy)]
pub struct Rules<'a> {
    /// The options of the store.
    pub options: &'a Options,
    /// The time of the transaction.
    pub now: Timestamp,
}

/// What `set` or `update` does with the row that it found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// Inserts this new session; it replaces an expired row if there is one.
    Insert(Session),
    /// Replaces the payload of a live session.
    Overwrite {
        /// The session as it was found.
        before: Head,
        /// Its new version, time of the write and expiry.
        written: Written,
    },
    /// Writes nothing: the session has another version than the expected one.
    Stale,
    /// Writes nothing: there is no session, or it ended less than `tombstone` ago.
    Gone,
}

impl Rules<'_> {
    /// Refuses a payload longer than `maxData`.
    pub fn check_data(&self, data: &[u8]) -> Result<(), Error> {
        if data.len() as u64 > self.options.max_data {
            return Err(Error::TooLarge(self.options.max_data));
        }
        Ok(())
    }

    /// Parses a merge patch; refuses one that is not JSON or is longer than `maxData`.
    pub fn check_patch<'p>(&self, patch: &'p str) -> Result<Patch<'p>, Error> {
        self.check_data(patch.as_bytes())?;
        Patch::parse(patch)
            .ok_or_else(|| Error::invalid("patch: not JSON, or nested deeper than 128"))
    }

    /// A session that is created now, at version 1.
    pub fn start(&self, data: &[u8], ttl: Option<Milliseconds>, subject: Option<&str>) -> Session {
        Session {
            data: data.to_vec(),
            subject: subject.map(str::to_owned),
            version: 1,
            created: self.now.min(END_OF_TIME),
            updated: self.now.min(END_OF_TIME),
            expires: self.expiry(ttl, data, self.now),
        }
    }

    /// `set`: writes the session whether or not it exists. A late `set` that finds a
    /// tombstone does not revive the session.
    pub fn set(
        &self,
        found: Option<Stored<Head>>,
        data: &[u8],
        ttl: Option<Milliseconds>,
    ) -> Write {
        match found {
            Some(Stored::Tombstone) => Write::Gone,
            Some(Stored::Live(head)) => self.overwrite(head, data, ttl),
            None => Write::Insert(self.start(data, ttl, None)),
        }
    }

    /// `update`: writes the session if it exists and has the expected version
    /// (compare-and-swap). An expected version of 0 requires that there is no session.
    pub fn update(
        &self,
        found: Option<Stored<Head>>,
        data: &[u8],
        ttl: Option<Milliseconds>,
        expected: Option<u64>,
    ) -> Write {
        match (found, expected) {
            (Some(Stored::Tombstone), _) => Write::Gone,
            (Some(Stored::Live(head)), Some(version)) if version != head.version => Write::Stale,
            (Some(Stored::Live(head)), _) => self.overwrite(head, data, ttl),
            (None, Some(0)) => Write::Insert(self.start(data, ttl, None)),
            (None, _) => Write::Gone,
        }
    }

    fn overwrite(&self, before: Head, data: &[u8], ttl: Option<Milliseconds>) -> Write {
        Write::Overwrite {
            before,
            written: Written {
                version: before.version + 1,
                updated: self.now.min(END_OF_TIME),
                expires: self.expiry(ttl, data, before.created),
            },
        }
    }

    /// `merge`: the session with the patched payload, to be written in place of
    /// `session`.
    pub fn merge(
        &self,
        session: Session,
        patch: &Patch,
        ttl: Option<Milliseconds>,
    ) -> Result<Session, Error> {
        let Some(merged) = patch.apply(&session.data) else {
            return Err(Error::invalid(
                "merge: the payload of this session is not JSON, or nested deeper than 128",
            ));
        };
        self.check_data(merged.as_bytes())?;
        Ok(Session {
            version: session.version + 1,
            created: session.created.min(self.now),
            updated: self.now.min(END_OF_TIME),
            expires: self.expiry(ttl, merged.as_bytes(), session.created),
            data: merged.into_bytes(),
            subject: session.subject,
        })
    }

    /// `touch`: the new expiry of a live session. `None` if nothing is to be written: the
    /// expiry stays the same, or gains less than `renewalStep`. An earlier expiry is
    /// always written. `data` is the payload, used only without a `ttl`.
    pub fn touch(&self, head: &Head, data: &[u8], ttl: Option<Milliseconds>) -> Option<Timestamp> {
        let expires = self.expiry(ttl, data, head.created);
        let gained = expires.saturating_sub(head.expires);
        let is_later = expires >= head.expires;
        let is_renewed = !is_later || (gained > 0 && gained >= self.options.renewal_step);
        is_renewed.then_some(expires)
    }

    /// `rotate`: the live session as it is inserted under its new id. Binding a `subject`
    /// counts as a write: it gives a new version and time of writing. Otherwise nothing
    /// changes.
    pub fn rotate(&self, session: Session, subject: Option<&str>) -> Session {
        match subject {
            None => session,
            Some(subject) => Session {
                subject: Some(subject.to_owned()),
                version: session.version + 1,
                updated: self.now.min(END_OF_TIME),
                ..session
            },
        }
    }

    /// Applies `maxPerSubject` after a session that expires at `expires` was bound to
    /// `subject`: returns the subject and how many of its other sessions may stay; the
    /// caller ends the oldest beyond that. One that has already expired takes no place.
    /// `None` without a subject or a limit.
    pub fn limit<'s>(
        &self,
        subject: Option<&'s str>,
        expires: Timestamp,
    ) -> Option<(&'s str, u64)> {
        let most = self.options.max_per_subject?;
        let others = most - u64::from(!is_expired(expires, self.now));
        Some((subject?, others))
    }

    /// The expiry of the tombstone of a session that ends now.
    pub fn tombstone(&self) -> Timestamp {
        self.now.saturating_add(self.options.tombstone)
    }

    /// The expiry of a session that is written or touched now: [`Rules::until`], but at
    /// most `absoluteLifetime` after `created`. A `created` in the future, from a clock
    /// that was ahead, counts as now.
    pub fn expiry(&self, ttl: Option<Milliseconds>, data: &[u8], created: Timestamp) -> Timestamp {
        let limit = match self.options.absolute_lifetime {
            Some(lifetime) => created.min(self.now).saturating_add(lifetime),
            None => END_OF_TIME,
        };
        self.until(ttl, data).min(limit)
    }

    /// The expiry of a session that is written or touched now, without
    /// `absoluteLifetime`: now plus the first of these that is set: `ttl`, the payload's
    /// `cookie.maxAge`, `browserSessionLifetime`.
    pub fn until(&self, ttl: Option<Milliseconds>, data: &[u8]) -> Timestamp {
        let life = ttl
            .or_else(|| json::cookie_max_age(data))
            .unwrap_or(self.options.browser_session_lifetime);
        self.now.saturating_add(life).min(END_OF_TIME)
    }
}

/// Refuses a subject that is empty or longer than [`LONGEST_SUBJECT`].
pub fn check_subject(subject: Option<&str>) -> Result<(), Error> {
    match subject {
        Some(subject) if !(1..=LONGEST_SUBJECT).contains(&subject.len()) => {
            Err(Error::invalid("subject: must be 1 to 255 bytes long"))
        }
        _ => Ok(()),
    }
}

/// Refuses a `limit` of 0 or over [`LARGEST_PAGE`], and a cursor that does not have the
/// form of a page's `next`; returns the hash that the cursor encodes.
pub fn check_page(cursor: Option<&str>, limit: u32) -> Result<Option<IdHash>, Error> {
    if !(1..=LARGEST_PAGE).contains(&limit) {
        return Err(Error::invalid("limit: must be 1 to 1000"));
    }
    let Some(cursor) = cursor else {
        return Ok(None);
    };
    let hash = IdHash::from_handle(cursor);
    let refusal = || Error::invalid("cursor: must be the `next` of an earlier page");
    hash.ok_or_else(refusal).map(Some)
}

/// Refuses a collection with a `limit` of 0.
pub fn check_collection(limit: u64) -> Result<(), Error> {
    match limit {
        0 => Err(Error::invalid("limit: must be at least 1")),
        _ => Ok(()),
    }
}
