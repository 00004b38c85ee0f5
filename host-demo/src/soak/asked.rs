//! The requests of a client, and the payloads that they write.

use std::time::Duration;

use serde_json::{Value, json};
use wasi_sessions::{Error, NewSession, Reply, Request, Session, Sessions};

use crate::caller::Caller;

/// Options of the store, with times in milliseconds.
pub const BROWSER_SESSION: u64 = 100_000;
pub const TOMBSTONE: u64 = 30_000;
pub const RENEWAL_STEP: u64 = 1_000;
pub const ABSOLUTE: u64 = 3_650 * 24 * 60 * 60 * 1000;

/// A request, and what it starts.
#[derive(Clone, Debug)]
pub struct Asked {
    pub request: Request,
    /// The session that `create` starts.
    pub new: Option<Session>,
}

impl From<Request> for Asked {
    fn from(request: Request) -> Self {
        Self { request, new: None }
    }
}

impl Asked {
    /// A request to start a session now.
    pub fn create(data: Vec<u8>, ttl: Option<Duration>, subject: Option<String>, now: u64) -> Self {
        let session = NewSession::new(data.clone()).ttl(ttl);
        let session = match &subject {
            Some(subject) => session.subject(subject),
            None => session,
        };
        Self {
            request: Request::Create(session),
            new: Some(Session {
                expires: expiry(now, &data, ttl, now),
                data,
                subject,
                version: 1,
                created: now,
                updated: now,
            }),
        }
    }
}

/// The name of a request's function.
pub fn name(request: &Request) -> &'static str {
    match request {
        Request::Create(_) => "create",
        Request::Get { .. } => "get",
        Request::Set { .. } => "set",
        Request::Update { .. } => "update",
        Request::Merge { .. } => "merge",
        Request::Touch { .. } => "touch",
        Request::Rotate { .. } => "rotate",
        Request::Destroy { .. } => "destroy",
    }
}

/// Sends a request alone, by the function of that name.
pub async fn alone(request: Request, to: &Sessions, caller: Caller) -> Result<Reply, Error> {
    Ok(match request {
        Request::Create(session) => Reply::Created(caller.answer(to.create(session)).await?),
        Request::Get { id } => Reply::Session(caller.answer(to.get(&id)).await?),
        Request::Set { id, data, ttl } => {
            Reply::Outcome(caller.answer(to.set(&id, data, ttl)).await?)
        }
        Request::Update {
            id,
            data,
            ttl,
            expected,
        } => Reply::Outcome(caller.answer(to.update(&id, data, ttl, expected)).await?),
        Request::Merge { id, patch, ttl } => {
            Reply::Session(caller.answer(to.merge(&id, &patch, ttl)).await?)
        }
        Request::Touch { id, ttl } => Reply::Expires(caller.answer(to.touch(&id, ttl)).await?),
        Request::Rotate { id, subject } => {
            Reply::Rotated(caller.answer(to.rotate(&id, subject.as_deref())).await?)
        }
        Request::Destroy { id } => Reply::Destroyed(caller.answer(to.destroy(&id)).await?),
    })
}

/// A payload with a number, with bytes that only make it longer, and with a
/// `cookie.maxAge` in milliseconds.
pub fn payload(number: u64, padding: usize, max_age: Option<u64>) -> Vec<u8> {
    let letter = char::from(b'a' + (padding % 26) as u8);
    let cookie = match max_age {
        Some(age) => json!({ "maxAge": age }),
        None => json!({}),
    };
    let padding = String::from(letter).repeat(padding);
    let payload = json!({ "cookie": cookie, "number": number, "padding": padding });
    payload.to_string().into_bytes()
}

/// The merge patch that changes the number.
pub fn patch(number: u64) -> String {
    json!({ "number": number }).to_string()
}

/// The payload after this patch.
pub fn merged(data: &[u8], patch: &str) -> Vec<u8> {
    let (mut payload, patch) = (parsed(data), parsed(patch.as_bytes()));
    payload["number"] = patch["number"].clone();
    payload.to_string().into_bytes()
}

/// The number in a payload; `None` if no client writes such a payload with this padding.
pub fn number(data: &[u8], padding: usize) -> Option<u64> {
    let number = parsed(data).get("number")?.as_u64()?;
    (payload(number, padding, None) == data).then_some(number)
}

/// The expiry of a session that is written or touched now, in milliseconds since 1970.
pub fn expiry(now: u64, data: &[u8], ttl: Option<Duration>, created: u64) -> u64 {
    let max_age = || parsed(data)["cookie"]["maxAge"].as_u64();
    let ttl = ttl.map(|ttl| ttl.as_millis() as u64);
    let life = ttl.or_else(max_age).unwrap_or(BROWSER_SESSION);
    (now + life).min(created + ABSOLUTE)
}

fn parsed(json: &[u8]) -> Value {
    serde_json::from_slice(json).unwrap_or_default()
}
