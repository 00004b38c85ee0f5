//! How the clients of the bench and the soak get their answers.

use wasi_sessions::{Answer, Error};

/// How a client gets its answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// It awaits them in a task of tokio.
    Task,
    /// It blocks its thread.
    Thread,
}

impl Caller {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Task, Self::Thread];

    /// Gets an answer, in this way.
    pub async fn answer<T>(self, answer: Answer<T>) -> Result<T, Error> {
        match self {
            Self::Task => answer.await,
            Self::Thread => answer.wait(),
        }
    }
}
