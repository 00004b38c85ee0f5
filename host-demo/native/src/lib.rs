//! The baselines of the bench: a session store directly on SQLite, and one on PostgreSQL,
//! without sandbox, thread or cache, with prepared statements and one statement for each
//! operation.

#![forbid(unsafe_code)]

mod postgres;
mod sqlite;

use std::time::{SystemTime, UNIX_EPOCH};

use sha2::{Digest, Sha256};

pub use postgres::{Postgres, Schema};
pub use sqlite::{Layout, Sqlite, sqlite_version};

/// The operations that are measured on SQLite, as one client uses them. A life is in
/// milliseconds.
#[expect(
    async_fn_in_trait,
    reason = "the bench spawns futures of known types only"
)]
pub trait Store {
    /// Starts a session under a new id; returns the id.
    async fn create(&mut self, data: Vec<u8>, life: u64) -> anyhow::Result<String>;

    /// The live session, if there is one.
    async fn get(&mut self, id: &str) -> anyhow::Result<Option<Session>>;

    /// Writes a session; false if there is none.
    async fn update(&mut self, id: &str, data: Vec<u8>, life: u64) -> anyhow::Result<bool>;

    /// Renews a session; false if there is none.
    async fn touch(&mut self, id: &str, life: u64) -> anyhow::Result<bool>;
}

/// A session as it was read. Times are milliseconds since 1970.
pub struct Session {
    /// The payload.
    pub data: Vec<u8>,
    /// The user, if there is one.
    pub subject: Option<String>,
    /// How often the session was written.
    pub version: i64,
    /// When it was started.
    pub created: i64,
    /// When it was last written.
    pub updated: i64,
    /// When it expires.
    pub expires: i64,
}

/// The hash of an id in two parts: the first 8 bytes as a number, and the rest. As in the
/// component, so that both tables have the same order.
pub fn key(id: &str) -> (i64, [u8; 24]) {
    let hash = hash(id);
    let (mut place, mut rest) = ([0; 8], [0; 24]);
    place.copy_from_slice(&hash[..8]);
    rest.copy_from_slice(&hash[8..]);
    (i64::from_be_bytes(place), rest)
}

fn hash(id: &str) -> [u8; 32] {
    Sha256::new()
        .chain_update("session-id:")
        .chain_update(id)
        .finalize()
        .into()
}

/// Milliseconds since 1970.
fn now() -> anyhow::Result<i64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as i64)
}
