//! The sessions that most tests create and expect.

use crate::engine::{Engine, Session, Store};
use sha2::{Digest, Sha256};

/// The time at which most tests run.
pub const NOW: u64 = 1_700_000_000_000;

/// Where requests are counted for collections. No engine has all of these.
#[derive(Clone, Copy, PartialEq, Eq)]
#[allow(dead_code)]
pub enum Counting {
    /// In the open store.
    Store,
    /// In the database; only requests that write.
    Database,
    /// In the process, as long as it keeps the connection.
    Process,
}

/// The handle of the session with this id.
pub fn handle(id: &str) -> String {
    hex::encode(Sha256::digest(format!("session-id:{id}")))
}

/// A session that was just created, with the default life.
pub fn started(data: &str, subject: Option<&str>, now: u64) -> Session {
    Session {
        data: data.into(),
        subject: subject.map(str::to_owned),
        version: 1,
        created: now,
        updated: now,
        expires: now + 86_400_000,
    }
}

/// Creates a session that lives for a day; returns its id.
pub fn create(store: &mut Store, now: u64, subject: Option<&str>) -> String {
    store.create(now, b"{}", None, subject).unwrap().id
}

/// Whether there is a session with this id.
pub fn is_live(store: &mut Store, now: u64, id: &str) -> bool {
    store.get(now, id).unwrap().is_some()
}
