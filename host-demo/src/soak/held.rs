//! The expected state of one session, and its comparison with the store's answers.

use sha2::{Digest, Sha256};
use wasi_sessions::{Entry, Session};

use super::ask::Payload;
use super::store::ABSOLUTE;
use crate::ending::ensure;

/// The expected state of a session, with times in milliseconds since 1970.
#[derive(Clone, Debug)]
pub struct Held {
    pub payload: Payload,
    pub subject: Option<String>,
    pub version: u64,
    pub created: u64,
    pub updated: u64,
    pub expires: u64,
}

impl Held {
    /// Compares it with the session that was read.
    pub fn check(&self, found: &Session) -> anyhow::Result<()> {
        ensure(found.data == self.payload.text().as_bytes(), "a payload")?;
        ensure(found.subject == self.subject, "a subject")?;
        ensure(found.version == self.version, "a version")?;
        ensure(found.expires == self.expires, "an expiry")?;
        ensure(found.created == self.created, "a time of creation")?;
        ensure(found.updated == self.updated, "a time of writing")
    }

    /// Compares it with its entry in a listing.
    pub fn check_entry(&self, found: &Entry) -> anyhow::Result<()> {
        let size = self.payload.text().len() as u64;
        ensure(found.size == size, "the size in a listing")?;
        ensure(found.subject == self.subject, "the subject in a listing")?;
        ensure(found.version == self.version, "the version in a listing")?;
        ensure(found.expires == self.expires, "the expiry in a listing")?;
        let are_times = (found.created, found.updated) == (self.created, self.updated);
        ensure(are_times, "the times in a listing")
    }
}

/// The expiry of a session that is written or touched now.
pub fn expiry(now: u64, life: u64, created: u64) -> u64 {
    (now + life).min(created + ABSOLUTE)
}

/// The handle of the session with this id, as listings have it.
pub fn handle(id: &str) -> String {
    let hash = Sha256::new().chain_update("session-id:").chain_update(id);
    let bytes = hash.finalize();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
