//! A client of our store, with the operations that are measured.

use std::time::Duration;

use anyhow::bail;
use native_stores::{Session, Store};
use wasi_sessions::{NewSession, Outcome, Sessions};

use crate::caller::Caller;

/// A client of our store.
#[derive(Clone)]
pub struct Client {
    pub sessions: Sessions,
    pub caller: Caller,
}

impl Client {
    /// Writes a session, whether or not it exists; false if it was ended.
    pub async fn set(&self, id: &str, data: Vec<u8>, life: u64) -> anyhow::Result<bool> {
        let set = self
            .sessions
            .set(id, data, Some(Duration::from_millis(life)));
        is_written(self.caller.answer(set).await?)
    }
}

impl Store for Client {
    async fn create(&mut self, data: Vec<u8>, life: u64) -> anyhow::Result<String> {
        let created = self
            .sessions
            .create(NewSession::new(data).ttl(Duration::from_millis(life)));
        Ok(self.caller.answer(created).await?.id)
    }

    async fn get(&mut self, id: &str) -> anyhow::Result<Option<Session>> {
        let session = self.caller.answer(self.sessions.get(id)).await?;
        Ok(session.map(|session| Session {
            data: session.data,
            subject: session.subject,
            version: session.version as i64,
            created: session.created as i64,
            updated: session.updated as i64,
            expires: session.expires as i64,
        }))
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

/// Whether a write that expects no version was done.
fn is_written(outcome: Outcome) -> anyhow::Result<bool> {
    match outcome {
        Outcome::Written(_) => Ok(true),
        Outcome::Gone => Ok(false),
        Outcome::Stale(_) => bail!("a write that expects no version was stale"),
    }
}
