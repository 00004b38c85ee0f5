//! The sessions that a store should hold: their ids, and the payload last written to each.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, bail};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use native_stores::{Session, key};
use sha2::{Digest, Sha256};

/// The length of every payload, in bytes.
const LENGTH: usize = 500;

const FILLER: [u8; LENGTH] = [b'-'; LENGTH];

/// The life of a session that is written.
pub const LIFE: u64 = 60 * 60 * 1000;

/// The least by which a touch moves the expiry, in milliseconds. It is more than the store's
/// `renewal_step`, so that each touch writes.
const RENEWAL: u64 = 2_000;

/// The payload with this number, different from all others.
pub fn payload(number: u64) -> Vec<u8> {
    let mut data = FILLER.to_vec();
    data[..8].copy_from_slice(&number.to_le_bytes());
    data
}

/// Fails unless this is the payload with that number, byte for byte.
pub fn compare(session: Option<Session>, number: u64) -> anyhow::Result<()> {
    let data = session.context("a session is missing")?.data;
    let same =
        data.len() == LENGTH && data[..8] == number.to_le_bytes() && data[8..] == FILLER[8..];
    if !same {
        bail!("a session does not hold what was written");
    }
    Ok(())
}

/// `count` ids, always the same, in the order of the tables' keys: filling a table in that
/// order takes a fraction of the time.
pub fn ids(count: u32) -> Arc<[String]> {
    let id = |number: u32| URL_SAFE_NO_PAD.encode(Sha256::digest(number.to_le_bytes()));
    let mut ids: Vec<String> = (0..count).map(id).collect();
    ids.sort_by_cached_key(|id| key(id));
    ids.into()
}

/// The sessions that one store should hold.
pub struct Held {
    ids: Arc<[String]>,
    /// The number of the payload last written to each session.
    numbers: Vec<AtomicU64>,
    touches: AtomicU64,
}

impl Held {
    /// Sessions with these ids, none of them written yet.
    pub fn new(ids: Arc<[String]>) -> Self {
        let numbers = (0..ids.len() as u64).map(|index| AtomicU64::new(index << 32));
        Self {
            numbers: numbers.collect(),
            ids,
            touches: AtomicU64::new(0),
        }
    }

    /// The ids of the sessions.
    pub fn ids(&self) -> Arc<[String]> {
        self.ids.clone()
    }

    /// How many sessions there are.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// The id of a session.
    pub fn id(&self, index: usize) -> &str {
        &self.ids[index]
    }

    /// The next payload for a session. No other client may read or write the session
    /// until it is written.
    pub fn next(&self, index: usize) -> Vec<u8> {
        payload(self.numbers[index].fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// The payload that was last written to a session.
    pub fn last(&self, index: usize) -> Vec<u8> {
        payload(self.numbers[index].load(Ordering::Relaxed))
    }

    /// A life that moves the expiry of any session.
    pub fn next_life(&self) -> u64 {
        LIFE + RENEWAL * (self.touches.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// Fails unless the session has the payload last written to it.
    pub fn compare(&self, index: usize, session: Option<Session>) -> anyhow::Result<()> {
        compare(session, self.numbers[index].load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holding(data: Vec<u8>) -> Option<Session> {
        Some(Session {
            data,
            subject: None,
            version: 1,
            created: 0,
            updated: 0,
            expires: 0,
        })
    }

    #[test]
    fn a_payload_that_was_not_written_is_noticed() {
        let held = Held::new(ids(2));
        let (before, after) = (held.last(1), held.next(1));
        assert!(held.compare(1, holding(after.clone())).is_ok());
        assert!(held.compare(1, holding(before)).is_err());
        assert!(held.compare(0, holding(after.clone())).is_err());
        assert!(held.compare(1, holding(after[..499].to_vec())).is_err());
        let mut damaged = after;
        damaged[499] = 0;
        assert!(held.compare(1, holding(damaged)).is_err());
        assert!(held.compare(1, None).is_err());
    }
}
