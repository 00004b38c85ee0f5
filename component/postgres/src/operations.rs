//! The operations: what each function of the contract sends to the server.
//!
//! An operation on a single session is one statement, alone or in a batch. Two statements
//! are needed by `merge` and a `touch` without a `ttl`, which depend on the payload, and by
//! an `update` that expects version 0 and finds a session. If the row changed in between,
//! the failure is [`Failure::Raced`], and the caller retries.

use crate::failure::Failure;
use crate::statements::Statements;
use futures_core::Stream;
use std::future::poll_fn;
use std::pin::pin;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row};
use wasi_sessions_rules::id::IdHash;
use wasi_sessions_rules::rules::Rules;
use wasi_sessions_rules::stored::{self, signed};
use wasi_sessions_rules::types::{END_OF_TIME, Milliseconds, Outcome, Session, Timestamp, Written};

/// A connection and the rules, for one request.
#[derive(Clone, Copy)]
pub struct Operations<'a> {
    pub client: &'a Client,
    pub statements: &'a Statements,
    pub rules: Rules<'a>,
}

impl Operations<'_> {
    /// The session, if it exists.
    pub async fn get(&self, id: &str) -> Result<Option<Session>, Failure> {
        match IdHash::of(id) {
            Some(hash) => self.find(&hash).await,
            None => Ok(None),
        }
    }

    /// Those sessions with these hashes that exist, from one snapshot.
    pub async fn find_many(&self, hashes: &[IdHash]) -> Result<Vec<(IdHash, Session)>, Failure> {
        let keys: Vec<&[u8]> = hashes.iter().map(|hash| hash.0.as_slice()).collect();
        let statement = &self.statements.find_many;
        let parameters: [&(dyn ToSql + Sync); 2] = [&keys, &self.now()];
        let rows = self.client.query_raw(statement, parameters).await?;
        let mut rows = pin!(rows);
        let mut found = vec![];
        // Row by row, so that no more than one payload is in memory twice.
        while let Some(row) = poll_fn(|context| rows.as_mut().poll_next(context)).await {
            let row = row?;
            found.push((hash(&row, 0)?, session(&row, 1)?));
        }
        Ok(found)
    }

    /// The session with this hash, if it exists.
    pub async fn find(&self, hash: &IdHash) -> Result<Option<Session>, Failure> {
        let params: &[&(dyn ToSql + Sync)] = &[&hash.0.as_slice(), &self.now()];
        let row = self.client.query_opt(&self.statements.find, params).await?;
        row.map(|row| session(&row, 0)).transpose()
    }

    /// Writes the session whether or not it exists.
    pub async fn set(
        &self,
        id: &str,
        data: &[u8],
        ttl: Option<Milliseconds>,
    ) -> Result<Outcome, Failure> {
        self.rules.check_data(data)?;
        let hash = IdHash::required(id)?;
        let params: &[&(dyn ToSql + Sync)] = &[
            &hash.0.as_slice(),
            &self.now(),
            &signed(self.rules.until(ttl, data)),
            &self.absolute(),
            &data,
            &signed(self.rules.expiry(ttl, data, self.rules.now)),
        ];
        let row = self.client.query_opt(&self.statements.set, params).await?;
        row.map_or(Ok(Outcome::Gone), |row| self.written(&row))
    }

    /// Writes the session if it exists and has the expected version.
    pub async fn update(
        &self,
        id: &str,
        data: &[u8],
        ttl: Option<Milliseconds>,
        expected: Option<u64>,
    ) -> Result<Outcome, Failure> {
        self.rules.check_data(data)?;
        let hash = match (IdHash::of(id), expected) {
            (Some(hash), _) => hash,
            (None, Some(0)) => IdHash::required(id)?,
            (None, _) => return Ok(Outcome::Gone),
        };
        match expected {
            None => {
                let params: &[&(dyn ToSql + Sync)] = &[
                    &hash.0.as_slice(),
                    &self.now(),
                    &signed(self.rules.until(ttl, data)),
                    &self.absolute(),
                    &data,
                ];
                let row = self.client.query_opt(&self.statements.write, params);
                let row = row.await?;
                row.map_or(Ok(Outcome::Gone), |row| self.written(&row))
            }
            Some(0) => self.start(&hash, data, ttl).await,
            Some(version) => self.write_version(&hash, data, ttl, version).await,
        }
    }

    async fn start(
        &self,
        hash: &IdHash,
        data: &[u8],
        ttl: Option<Milliseconds>,
    ) -> Result<Outcome, Failure> {
        let params: &[&(dyn ToSql + Sync)] = &[
            &hash.0.as_slice(),
            &self.now(),
            &signed(self.rules.expiry(ttl, data, self.rules.now)),
            &data,
        ];
        let row = self
            .client
            .query_opt(&self.statements.start, params)
            .await?;
        match row {
            Some(row) => self.written(&row),
            None => Ok(self.find(hash).await?.map_or(Outcome::Gone, Outcome::Stale)),
        }
    }

    async fn write_version(
        &self,
        hash: &IdHash,
        data: &[u8],
        ttl: Option<Milliseconds>,
        version: u64,
    ) -> Result<Outcome, Failure> {
        let params: &[&(dyn ToSql + Sync)] = &[
            &hash.0.as_slice(),
            &self.now(),
            &signed(self.rules.until(ttl, data)),
            &self.absolute(),
            &data,
            &signed(version),
        ];
        let statement = &self.statements.write_version;
        let Some(row) = self.client.query_opt(statement, params).await? else {
            return Ok(Outcome::Gone);
        };
        if row.get::<_, Option<i64>>(0).is_some() {
            return self.written(&row);
        }
        if row.get::<_, i64>(2) == signed(version) {
            return Err(Failure::Raced);
        }
        Ok(Outcome::Stale(session(&row, 2)?))
    }

    /// Applies a JSON merge patch to the payload; returns the patched session.
    pub async fn merge(
        &self,
        id: &str,
        patch: &str,
        ttl: Option<Milliseconds>,
    ) -> Result<Option<Session>, Failure> {
        let patch = self.rules.check_patch(patch)?;
        let Some(hash) = IdHash::of(id) else {
            return Ok(None);
        };
        let Some(session) = self.find(&hash).await? else {
            return Ok(None);
        };
        let version = session.version;
        let merged = self.rules.merge(session, &patch, ttl)?;
        match self
            .write_version(&hash, &merged.data, ttl, version)
            .await?
        {
            Outcome::Written(_) => Ok(Some(merged)),
            Outcome::Stale(_) | Outcome::Gone => Err(Failure::Raced),
        }
    }

    /// Renews the session; returns its expiry.
    pub async fn touch(
        &self,
        id: &str,
        ttl: Option<Milliseconds>,
    ) -> Result<Option<Timestamp>, Failure> {
        let Some(hash) = IdHash::of(id) else {
            return Ok(None);
        };
        // Without a `ttl` the life depends on the payload, so the version must not change
        // between the two statements.
        let (until, version) = match ttl {
            Some(_) => (self.rules.until(ttl, &[]), None),
            None => match self.find(&hash).await? {
                None => return Ok(None),
                Some(session) => (
                    self.rules.until(None, &session.data),
                    Some(signed(session.version)),
                ),
            },
        };
        let params: &[&(dyn ToSql + Sync)] = &[
            &hash.0.as_slice(),
            &self.now(),
            &signed(until),
            &self.absolute(),
            &signed(self.rules.options.renewal_step),
            &version,
        ];
        let row = self
            .client
            .query_opt(&self.statements.touch, params)
            .await?;
        let Some(row) = row else {
            return Ok(None);
        };
        if row.get::<_, Option<i64>>(0).is_some() {
            return Ok(Some(unsigned(&row, 0)?));
        }
        let is_other = version.is_some_and(|version| version != row.get::<_, i64>(2));
        if is_other || row.get(3) {
            return Err(Failure::Raced);
        }
        Ok(Some(unsigned(&row, 1)?))
    }

    /// Ends the session; false if it does not exist.
    pub async fn destroy(&self, id: &str) -> Result<bool, Failure> {
        match IdHash::of(id) {
            Some(hash) => self.end(&hash).await,
            None => Ok(false),
        }
    }

    /// Ends the session with this hash; false if it does not exist.
    pub async fn end(&self, hash: &IdHash) -> Result<bool, Failure> {
        let params: &[&(dyn ToSql + Sync)] = &[&hash.0.as_slice(), &self.now(), &self.tombstone()];
        let ended = self.client.execute(&self.statements.end, params).await?;
        Ok(ended == 1)
    }

    /// The time of the request, as PostgreSQL stores it.
    pub fn now(&self) -> i64 {
        signed(self.rules.now)
    }

    /// When the tombstone of a session that ends now expires.
    pub fn tombstone(&self) -> i64 {
        signed(self.rules.tombstone())
    }

    /// The option `absoluteLifetime`.
    fn absolute(&self) -> i64 {
        signed(self.rules.options.absolute_lifetime.unwrap_or(END_OF_TIME))
    }

    fn written(&self, row: &Row) -> Result<Outcome, Failure> {
        Ok(Outcome::Written(Written {
            version: unsigned(row, 0)?,
            updated: self.rules.now.min(END_OF_TIME),
            expires: unsigned(row, 1)?,
        }))
    }
}

/// Reads a session from the columns from `first` on.
fn session(row: &Row, first: usize) -> Result<Session, Failure> {
    Ok(Session {
        version: unsigned(row, first)?,
        created: unsigned(row, first + 1)?,
        updated: unsigned(row, first + 2)?,
        expires: unsigned(row, first + 3)?,
        subject: subject(row, first + 4)?,
        data: row.get(first + 5),
    })
}

/// Reads the hash of an id.
pub fn hash(row: &Row, column: usize) -> Result<IdHash, Failure> {
    Ok(stored::hash(row.get(column))?)
}

/// Reads a subject.
pub fn subject(row: &Row, column: usize) -> Result<Option<String>, Failure> {
    Ok(stored::subject(row.get(column))?)
}

/// Reads a number.
pub fn unsigned(row: &Row, column: usize) -> Result<u64, Failure> {
    Ok(stored::unsigned(row.get(column))?)
}
