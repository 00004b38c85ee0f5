//! What is asked of both sides, ours and the native one, in the same words.

use anyhow::bail;
use wasi_sessions::{Milliseconds, Outcome, Session, Sessions};

/// A store as one client uses it.
pub trait Store {
    /// Starts a session under a new id; the id.
    fn create(&mut self, data: Vec<u8>, life: Milliseconds) -> anyhow::Result<String>;

    /// The session, if it is there.
    fn get(&mut self, id: &str) -> anyhow::Result<Option<Session>>;

    /// Writes a session; false when it is not there.
    fn update(&mut self, id: &str, data: Vec<u8>, life: Milliseconds) -> anyhow::Result<bool>;

    /// Renews a session; false when it is not there.
    fn touch(&mut self, id: &str, life: Milliseconds) -> anyhow::Result<bool>;
}

impl Store for Sessions {
    fn create(&mut self, data: Vec<u8>, life: Milliseconds) -> anyhow::Result<String> {
        Ok(Sessions::create(self, data, Some(life), None).wait()?.id)
    }

    fn get(&mut self, id: &str) -> anyhow::Result<Option<Session>> {
        Ok(Sessions::get(self, id).wait()?)
    }

    fn update(&mut self, id: &str, data: Vec<u8>, life: Milliseconds) -> anyhow::Result<bool> {
        is_written(Sessions::update(self, id, data, Some(life), None).wait()?)
    }

    fn touch(&mut self, id: &str, life: Milliseconds) -> anyhow::Result<bool> {
        Ok(Sessions::touch(self, id, Some(life)).wait()?.is_some())
    }
}

/// Whether an update that expects no version found its session.
pub fn is_written(outcome: Outcome) -> anyhow::Result<bool> {
    match outcome {
        Outcome::Written(_) => Ok(true),
        Outcome::Gone => Ok(false),
        Outcome::Stale(_) => bail!("an update that expects no version was stale"),
    }
}
