//! The requests of a client, and the payloads that they write.

use std::time::Duration;

use wasi_sessions::{Error, NewSession, Reply, Request, Sessions};

use super::store::BROWSER_SESSION;
use crate::caller::Caller;

/// A payload, as the numbers from which its text is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    /// Different in each write.
    pub number: u64,
    /// The number of bytes that only make it longer.
    pub padding: usize,
    /// Its `cookie.maxAge`, in milliseconds.
    pub max_age: Option<u64>,
}

impl Payload {
    /// The payload as JSON.
    pub fn text(&self) -> String {
        let letter = char::from(b'a' + (self.padding % 26) as u8);
        let padding = String::from(letter).repeat(self.padding);
        let cookie = match self.max_age {
            Some(age) => format!(r#"{{"maxAge":{age}}}"#),
            None => "{}".to_owned(),
        };
        let number = self.number;
        format!(r#"{{"cookie":{cookie},"number":{number},"padding":"{padding}"}}"#)
    }

    /// The merge patch that changes the number.
    pub fn patch(number: u64) -> String {
        format!(r#"{{"number":{number}}}"#)
    }

    /// How long a session with this payload lives from now, in milliseconds.
    pub fn life(&self, ttl: Option<u64>) -> u64 {
        ttl.or(self.max_age).unwrap_or(BROWSER_SESSION)
    }
}

/// A request, with its payload as numbers and its `ttl` in milliseconds.
#[derive(Clone, Debug)]
pub enum Ask {
    Create {
        payload: Payload,
        ttl: Option<u64>,
        subject: Option<String>,
    },
    Get {
        id: String,
    },
    Set {
        id: String,
        payload: Payload,
        ttl: Option<u64>,
    },
    Update {
        id: String,
        payload: Payload,
        ttl: Option<u64>,
        expected: Option<u64>,
    },
    Merge {
        id: String,
        number: u64,
        ttl: Option<u64>,
    },
    Touch {
        id: String,
        ttl: Option<u64>,
    },
    Rotate {
        id: String,
        subject: Option<String>,
    },
    Destroy {
        id: String,
    },
}

impl Ask {
    /// The function's name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Create { .. } => "create",
            Self::Get { .. } => "get",
            Self::Set { .. } => "set",
            Self::Update { .. } => "update",
            Self::Merge { .. } => "merge",
            Self::Touch { .. } => "touch",
            Self::Rotate { .. } => "rotate",
            Self::Destroy { .. } => "destroy",
        }
    }

    /// The subject to which the request has bound a session, and that session's id,
    /// according to the reply.
    pub fn bound<'a>(&'a self, reply: &'a Reply) -> Option<(&'a str, &'a str)> {
        match (self, reply) {
            (Self::Create { subject, .. }, Reply::Created(made))
            | (Self::Rotate { subject, .. }, Reply::Rotated(Some(made))) => {
                Some((subject.as_deref()?, &made.id))
            }
            _ => None,
        }
    }

    /// Sends the request alone, by the function of that name.
    pub async fn alone(&self, sessions: &Sessions, caller: Caller) -> Result<Reply, Error> {
        Ok(match self.request() {
            Request::Create(session) => {
                Reply::Created(caller.answer(sessions.create(session)).await?)
            }
            Request::Get { id } => Reply::Session(caller.answer(sessions.get(&id)).await?),
            Request::Set { id, data, ttl } => {
                Reply::Outcome(caller.answer(sessions.set(&id, data, ttl)).await?)
            }
            Request::Update {
                id,
                data,
                ttl,
                expected,
            } => {
                let update = sessions.update(&id, data, ttl, expected);
                Reply::Outcome(caller.answer(update).await?)
            }
            Request::Merge { id, patch, ttl } => {
                Reply::Session(caller.answer(sessions.merge(&id, &patch, ttl)).await?)
            }
            Request::Touch { id, ttl } => {
                Reply::Expires(caller.answer(sessions.touch(&id, ttl)).await?)
            }
            Request::Rotate { id, subject } => {
                let rotate = sessions.rotate(&id, subject.as_deref());
                Reply::Rotated(caller.answer(rotate).await?)
            }
            Request::Destroy { id } => {
                Reply::Destroyed(caller.answer(sessions.destroy(&id)).await?)
            }
        })
    }

    /// The request as an item of a batch.
    pub fn request(&self) -> Request {
        let span = |ttl: &Option<u64>| ttl.map(Duration::from_millis);
        match self {
            Self::Create {
                payload,
                ttl,
                subject,
            } => {
                let session = NewSession::new(payload.text()).ttl(span(ttl));
                Request::Create(match subject {
                    Some(subject) => session.subject(subject),
                    None => session,
                })
            }
            Self::Get { id } => Request::Get { id: id.clone() },
            Self::Set { id, payload, ttl } => Request::Set {
                id: id.clone(),
                data: payload.text().into(),
                ttl: span(ttl),
            },
            Self::Update {
                id,
                payload,
                ttl,
                expected,
            } => Request::Update {
                id: id.clone(),
                data: payload.text().into(),
                ttl: span(ttl),
                expected: *expected,
            },
            Self::Merge { id, number, ttl } => Request::Merge {
                id: id.clone(),
                patch: Payload::patch(*number),
                ttl: span(ttl),
            },
            Self::Touch { id, ttl } => Request::Touch {
                id: id.clone(),
                ttl: span(ttl),
            },
            Self::Rotate { id, subject } => Request::Rotate {
                id: id.clone(),
                subject: subject.clone(),
            },
            Self::Destroy { id } => Request::Destroy { id: id.clone() },
        }
    }
}
