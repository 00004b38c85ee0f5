//! The row that an engine finds under the hash of an id.

use crate::types::{Session, Timestamp};

/// An unexpired row: a live session, or the part of it that was read, or a tombstone.
/// An expired row counts as missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored<T> {
    /// A live session.
    Live(T),
    /// The tombstone of a session that ended less than `tombstone` ago.
    Tombstone,
}

impl<T> Stored<T> {
    /// Classifies a row at `now` by its columns; `read` reads the session if it is
    /// live. The expiry boundary: a row has expired when `now` equals `expires`.
    pub fn classify<E>(
        expires: Timestamp,
        ended: bool,
        now: Timestamp,
        read: impl FnOnce() -> Result<T, E>,
    ) -> Result<Option<Stored<T>>, E> {
        if is_expired(expires, now) {
            return Ok(None);
        }
        match ended {
            true => Ok(Some(Stored::Tombstone)),
            false => read().map(Stored::Live).map(Some),
        }
    }
}

/// Whether a row with this expiry has expired.
pub fn is_expired(expires: Timestamp, now: Timestamp) -> bool {
    expires <= now
}

/// The live session, if that is what was found.
pub fn live<T>(found: Option<Stored<T>>) -> Option<T> {
    match found {
        Some(Stored::Live(live)) => Some(live),
        Some(Stored::Tombstone) | None => None,
    }
}

/// What the rules need of a live session in order to write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Its version.
    pub version: u64,
    /// When it was created.
    pub created: Timestamp,
    /// When it expires.
    pub expires: Timestamp,
}

impl From<&Session> for Head {
    fn from(session: &Session) -> Head {
        Head {
            version: session.version,
            created: session.created,
            expires: session.expires,
        }
    }
}
