//! The operations that are measured on both sides, ours and the native one.

use std::time::Duration;

use anyhow::bail;
use wasi_sessions::{NewSession, Outcome, Session, Sessions};

use crate::caller::Caller;

/// A store as one client uses it. A life is in milliseconds.
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

/// A client of our store.
pub struct Client {
    pub sessions: Sessions,
    pub caller: Caller,
}

impl Store for Client {
    async fn create(&mut self, data: Vec<u8>, life: u64) -> anyhow::Result<String> {
        let created = self
            .sessions
            .create(NewSession::new(data).ttl(Duration::from_millis(life)));
        Ok(self.caller.answer(created).await?.id)
    }

    async fn get(&mut self, id: &str) -> anyhow::Result<Option<Session>> {
        Ok(self.caller.answer(self.sessions.get(id)).await?)
    }

    async fn update(&mut self, id: &str, data: Vec<u8>, life: u64) -> anyhow::Result<bool> {
        let update = self
            .sessions
            .update(id, data, Some(Duration::from_millis(life)), None);
        is_written(self.caller.answer(update).await?)
    }

    async fn touch(&mut self, id: &str, life: u64) -> anyhow::Result<bool> {
        let touch = self.sessions.touch(id, Some(Duration::from_millis(life)));
        Ok(self.caller.answer(touch).await?.is_some())
    }
}

/// Whether an update that expects no version found its session.
fn is_written(outcome: Outcome) -> anyhow::Result<bool> {
    match outcome {
        Outcome::Written(_) => Ok(true),
        Outcome::Gone => Ok(false),
        Outcome::Stale(_) => bail!("an update that expects no version was stale"),
    }
}
