//! The store as a `SessionStore` of tower-sessions, for axum and other frameworks on tower.

use std::collections::HashMap;
use std::error::Error as _;
use std::iter;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use time::{OffsetDateTime, PrimitiveDateTime};
use tower_sessions_core::session::{Id, Record};
use tower_sessions_core::session_store::{Error as StoreError, Result};
use tower_sessions_core::{ExpiredDeletion, SessionStore};

use crate::{Error, Outcome, Sessions, Timestamp};

/// How many ids `create` tries. A collision among 2^128 ids means that the random source is
/// broken.
const TRIES: usize = 8;

/// Nanoseconds in a millisecond.
const NANOSECONDS: i128 = 1_000_000;

/// The deepest nesting that serde_json reads, including the record's own object. It writes
/// deeper nesting.
const DEEPEST: usize = 127;

/// The prefix of names that serde_json uses for its own types: it would read an object with
/// such a name as another value.
const SERDE_JSON_OWN: &str = "$serde_json::private::";

/// Needs the feature `tower-sessions`.
///
/// A record is stored as a session. The session's id is the record's id as in the cookie,
/// 22 characters. Its payload is `data` as a JSON object, which every other program that
/// uses the store can read. `expiry_date` is rounded down to whole milliseconds. It becomes
/// a `ttl`, which counts from when the request is done, so the expiry is later by the time
/// that the request waited in the queue.
///
/// A record that was saved is loaded with equal `data`. Data that serde_json writes but
/// cannot read back is refused with [`Encode`](StoreError::Encode): data nested more than
/// 127 deep, including `data` itself, or with a name in a nested object that starts with
/// `$serde_json::private::`.
///
/// Other errors are [`Backend`](StoreError::Backend) with the messages of [`Error`] and its
/// sources, and [`Decode`](StoreError::Decode) for a payload that is not a JSON object. No
/// error contains an id or a payload.
///
/// [`Sessions`] has functions of the same names, which take precedence: write
/// `SessionStore::create(&sessions, &mut record)` to call one of these explicitly.
#[async_trait]
impl SessionStore for Sessions {
    /// Starts a session, and never overwrites one: if the id is taken or was ended recently,
    /// the record gets a new id.
    async fn create(&self, record: &mut Record) -> Result<()> {
        let data = encode(&record.data)?;
        for _ in 0..TRIES {
            let (id, ttl) = (record.id.to_string(), self.ttl(record.expiry_date));
            let outcome = self.update(&id, data.clone(), Some(ttl), Some(0)).await;
            if let Outcome::Written(_) = outcome.map_err(backend)? {
                return Ok(());
            }
            record.id = Id::default();
        }
        Err(StoreError::Backend("no free session id was found".into()))
    }

    /// Writes an existing session. Does nothing, and succeeds, if the session was deleted or
    /// has expired, however long ago: the user of this request in flight has logged out.
    async fn save(&self, record: &Record) -> Result<()> {
        let (id, ttl) = (record.id.to_string(), self.ttl(record.expiry_date));
        let outcome = self.update(&id, encode(&record.data)?, Some(ttl), None);
        outcome.await.map(drop).map_err(backend)
    }

    /// The record, or `None` if it is missing or expired.
    async fn load(&self, id: &Id) -> Result<Option<Record>> {
        let Some(session) = self.get(&id.to_string()).await.map_err(backend)? else {
            return Ok(None);
        };
        Ok(Some(Record {
            id: *id,
            data: decode(&session.data)?,
            expiry_date: date(session.expires),
        }))
    }

    /// Ends the session; a missing one is no error.
    async fn delete(&self, id: &Id) -> Result<()> {
        let destroyed = self.destroy(&id.to_string()).await;
        destroyed.map(drop).map_err(backend)
    }
}

/// Needs the feature `tower-sessions`. The store also collects by itself, as set in its
/// [options](crate::Options::gc_frequency).
#[async_trait]
impl ExpiredDeletion for Sessions {
    /// Removes all expired sessions, in steps between which other requests are done.
    async fn delete_expired(&self) -> Result<()> {
        self.collect_all().await.map(drop).map_err(backend)
    }
}

impl Sessions {
    /// The time until `date` by the store's clock; zero for a date in the past.
    fn ttl(&self, date: OffsetDateTime) -> Duration {
        let expires = date.unix_timestamp_nanos().div_euclid(NANOSECONDS);
        let ttl = expires - i128::from(self.clock().shown());
        Duration::from_millis(ttl.max(0).try_into().unwrap_or(u64::MAX))
    }
}

/// A point in time as a date; the latest date possible for later points.
fn date(time: Timestamp) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(time) * NANOSECONDS)
        .unwrap_or_else(|_| PrimitiveDateTime::MAX.assume_utc())
}

/// The payload of a record. An error's message is not serde_json's, which can quote data.
fn encode(data: &HashMap<String, Value>) -> Result<Vec<u8>> {
    if !data.values().all(|value| is_readable(value, DEEPEST - 1)) {
        return Err(StoreError::Encode(format!(
            "the session's data could not be loaded again: it is nested more than {DEEPEST} \
             deep, or has a name that starts with `{SERDE_JSON_OWN}`"
        )));
    }
    serde_json::to_vec(data)
        .map_err(|_| StoreError::Encode("the session's data cannot be written as JSON".into()))
}

/// Whether serde_json reads this value as it was written. `depth` is the deepest nesting
/// that is allowed.
fn is_readable(value: &Value, depth: usize) -> bool {
    match value {
        Value::Array(values) => {
            depth > 0 && values.iter().all(|value| is_readable(value, depth - 1))
        }
        Value::Object(members) => {
            depth > 0
                && members.iter().all(|(name, value)| {
                    !name.starts_with(SERDE_JSON_OWN) && is_readable(value, depth - 1)
                })
        }
        _ => true,
    }
}

fn decode(data: &[u8]) -> Result<HashMap<String, Value>> {
    serde_json::from_slice(data)
        .map_err(|_| StoreError::Decode("the session's payload is not a JSON object".into()))
}

/// An error of the store. tower-sessions has room for a message only, so that names the
/// sources, too.
fn backend(error: Error) -> StoreError {
    let sources = iter::successors(error.source(), |&error| error.source());
    let message = sources.fold(error.to_string(), |message, source| {
        format!("{message}: {source}")
    });
    StoreError::Backend(message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Cause;

    #[test]
    fn an_error_of_the_store_says_its_reason() {
        let error = backend(Error::Start(Cause::new("no memory")));
        let expected = "the session store could not be started: no memory";
        assert!(error.to_string().contains(expected), "{error}");
    }
}
