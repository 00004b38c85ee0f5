//! The expected state of one session, and its comparison with the store's answers.

use sha2::{Digest, Sha256};
use wasi_sessions::{Entry, Session};

use super::ask::Payload;
use super::clock::{Moment, Presence, Span};
use super::store::ABSOLUTE;
use crate::ending::ensure;

/// The expected state of a session. Times are exact once an answer has contained them.
#[derive(Clone, Debug)]
pub struct Held {
    pub payload: Payload,
    pub subject: Option<String>,
    pub version: u64,
    pub created: Span,
    pub updated: Span,
    pub expires: u64,
    /// Whether a request may have ended it: one at about the time at which it expired.
    pub is_doubtful: bool,
}

impl Held {
    /// Whether the store must, may or cannot have it.
    pub fn presence(&self, moment: Moment) -> Presence {
        match moment.is_before(Span::exactly(self.expires)) {
            Presence::Yes if self.is_doubtful => Presence::Maybe,
            presence => presence,
        }
    }

    /// Compares it with the session that was read, and takes over the exact times.
    pub fn check(&mut self, found: &Session) -> anyhow::Result<()> {
        ensure(found.data == self.payload.text().as_bytes(), "a payload")?;
        ensure(found.subject == self.subject, "a subject")?;
        ensure(found.version == self.version, "a version")?;
        ensure(found.expires == self.expires, "an expiry")?;
        ensure(self.created.has(found.created), "a time of creation")?;
        ensure(self.updated.has(found.updated), "a time of writing")?;
        self.created = Span::exactly(found.created);
        self.updated = Span::exactly(found.updated);
        Ok(())
    }

    /// Compares it with its entry in a listing.
    pub fn check_entry(&self, found: &Entry) -> anyhow::Result<()> {
        let size = self.payload.text().len() as u64;
        ensure(found.size == size, "the size in a listing")?;
        ensure(found.subject == self.subject, "the subject in a listing")?;
        ensure(found.version == self.version, "the version in a listing")?;
        ensure(found.expires == self.expires, "the expiry in a listing")?;
        let are_times = self.created.has(found.created) && self.updated.has(found.updated);
        ensure(are_times, "the times in a listing")
    }
}

/// The expiry of a session that is written or touched at this moment.
pub fn expiry(moment: Moment, life: u64, created: Span) -> Span {
    (moment.shown + life).min(created.min(moment.shown) + ABSOLUTE)
}

/// The handle of the session with this id, as listings have it.
pub fn handle(id: &str) -> String {
    let hash = Sha256::new().chain_update("session-id:").chain_update(id);
    let bytes = hash.finalize();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
