//! The operations: what each function of the contract sends to the server.
//!
//! Most are one statement, alone or as part of a batch. Where a decision needs more than one
//! number from the row, it is read first and written only if it still has the version that
//! was read. A row that changed in between is [`Failure::Raced`]: the caller runs the work
//! again.

use crate::failure::Failure;
use crate::link::{Link, column, subject, unsigned};
use crate::statements::Statements;
use mysql_async::{Row, params};
use wasi_sessions_rules::error::Error;
use wasi_sessions_rules::id::IdHash;
use wasi_sessions_rules::rules::Rules;
use wasi_sessions_rules::stored::signed;
use wasi_sessions_rules::types::{END_OF_TIME, Milliseconds, Outcome, Session, Timestamp, Written};

/// A connection and the rules, for one request.
pub struct Operations<'a> {
    pub link: &'a mut Link,
    pub statements: &'a Statements,
    pub rules: Rules<'a>,
}

/// A row that counts, without its payload.
pub enum Head {
    Live { version: u64, expires: Timestamp },
    Tombstone,
}

impl Operations<'_> {
    /// The session, if it exists.
    pub async fn get(&mut self, id: &str) -> Result<Option<Session>, Failure> {
        match IdHash::of(id) {
            Some(hash) => self.find(&hash).await,
            None => Ok(None),
        }
    }

    /// The session with this hash, if it exists.
    pub async fn find(&mut self, hash: &IdHash) -> Result<Option<Session>, Failure> {
        let params = params! { "hash" => bytes(hash), "now" => self.now() };
        let row = self.link.row(&self.statements.find, params).await?;
        row.map(|mut row| session(&mut row, 0)).transpose()
    }

    /// The row with this hash if it counts, by a statement that may lock it.
    pub async fn head(&mut self, statement: &str, hash: &IdHash) -> Result<Option<Head>, Failure> {
        let params = params! { "hash" => bytes(hash), "now" => self.now() };
        let Some(mut row) = self.link.row(statement, params).await? else {
            return Ok(None);
        };
        Ok(Some(match column(&mut row, 2)? {
            true => Head::Tombstone,
            false => Head::Live {
                version: unsigned(&mut row, 0)?,
                expires: unsigned(&mut row, 1)?,
            },
        }))
    }

    /// Writes the session whether or not it exists.
    pub async fn set(
        &mut self,
        id: &str,
        data: &[u8],
        ttl: Option<Milliseconds>,
    ) -> Result<Outcome, Failure> {
        self.check_data(data)?;
        let hash = IdHash::required(id)?;
        if self.rules.options.absolute_lifetime.is_some() {
            // The answer has an expiry that depends on the row.
            let statements = self.statements;
            return match self.head(&statements.head, &hash).await? {
                Some(Head::Tombstone) => Ok(Outcome::Gone),
                Some(Head::Live { version, .. }) => {
                    self.write_again(&hash, data, ttl, version).await
                }
                None => match self.insert(&hash, data, ttl).await? {
                    Some(outcome) => Ok(outcome),
                    None => Err(Failure::Raced),
                },
            };
        }
        let until = self.rules.until(ttl, data);
        let params = params! {
            "hash" => bytes(&hash),
            "now" => self.now(),
            "until" => signed(until),
            "data" => data,
        };
        let written = self.link.write(&self.statements.set, params).await?;
        Ok(match (written.rows, written.id) {
            (1, _) => self.written(1, until),
            (_, 0) => Outcome::Gone,
            (_, version) => self.written(version, until),
        })
    }

    /// Writes the session if it exists and has the expected version.
    pub async fn update(
        &mut self,
        id: &str,
        data: &[u8],
        ttl: Option<Milliseconds>,
        expected: Option<u64>,
    ) -> Result<Outcome, Failure> {
        self.check_data(data)?;
        let hash = match (IdHash::of(id), expected) {
            (Some(hash), _) => hash,
            (None, Some(0)) => IdHash::required(id)?,
            (None, _) => return Ok(Outcome::Gone),
        };
        match expected {
            None => self.write(&hash, data, ttl).await,
            Some(0) => match self.insert(&hash, data, ttl).await? {
                Some(outcome) => Ok(outcome),
                None => {
                    let found = self.find(&hash).await?;
                    Ok(found.map_or(Outcome::Gone, Outcome::Stale))
                }
            },
            Some(version) => self.write_version(&hash, data, ttl, version).await,
        }
    }

    /// Starts the session, unless there is a row that counts: then `None`.
    async fn insert(
        &mut self,
        hash: &IdHash,
        data: &[u8],
        ttl: Option<Milliseconds>,
    ) -> Result<Option<Outcome>, Failure> {
        let until = self.rules.expiry(ttl, data, self.rules.now);
        let params = params! {
            "hash" => bytes(hash),
            "now" => self.now(),
            "until" => signed(until),
            "data" => data,
        };
        let written = self.link.write(&self.statements.start, params).await?;
        let is_written = written.rows == 1 || written.id == 1;
        Ok(is_written.then(|| self.written(1, until)))
    }

    /// Writes the session whatever its version.
    async fn write(
        &mut self,
        hash: &IdHash,
        data: &[u8],
        ttl: Option<Milliseconds>,
    ) -> Result<Outcome, Failure> {
        if self.rules.options.absolute_lifetime.is_some() {
            let statements = self.statements;
            return match self.head(&statements.head, hash).await? {
                Some(Head::Live { version, .. }) => {
                    self.write_again(hash, data, ttl, version).await
                }
                Some(Head::Tombstone) | None => Ok(Outcome::Gone),
            };
        }
        let until = self.rules.until(ttl, data);
        let params = params! {
            "hash" => bytes(hash),
            "now" => self.now(),
            "until" => signed(until),
            "data" => data,
        };
        let written = self.link.write(&self.statements.write, params).await?;
        Ok(match written.rows {
            0 => Outcome::Gone,
            _ => self.written(written.id, until),
        })
    }

    /// Writes the session of this version, which was read a moment ago.
    async fn write_again(
        &mut self,
        hash: &IdHash,
        data: &[u8],
        ttl: Option<Milliseconds>,
        version: u64,
    ) -> Result<Outcome, Failure> {
        match self.try_version(hash, data, ttl, version).await? {
            Some(outcome) => Ok(outcome),
            None => Err(Failure::Raced),
        }
    }

    async fn write_version(
        &mut self,
        hash: &IdHash,
        data: &[u8],
        ttl: Option<Milliseconds>,
        version: u64,
    ) -> Result<Outcome, Failure> {
        if let Some(outcome) = self.try_version(hash, data, ttl, version).await? {
            return Ok(outcome);
        }
        match self.find(hash).await? {
            None => Ok(Outcome::Gone),
            // The session has got this version since it was read.
            Some(session) if session.version == version => Err(Failure::Raced),
            Some(session) => Ok(Outcome::Stale(session)),
        }
    }

    /// Writes the session if it has this version; else `None`.
    async fn try_version(
        &mut self,
        hash: &IdHash,
        data: &[u8],
        ttl: Option<Milliseconds>,
        version: u64,
    ) -> Result<Option<Outcome>, Failure> {
        let params = params! {
            "hash" => bytes(hash),
            "now" => self.now(),
            "until" => signed(self.rules.until(ttl, data)),
            "absolute" => self.absolute(),
            "data" => data,
            "version" => signed(version),
        };
        let statement = &self.statements.write_version;
        let written = self.link.write(statement, params).await?;
        Ok((written.rows > 0).then(|| self.written(version + 1, written.id)))
    }

    /// Applies a JSON merge patch to the payload; returns the patched session.
    pub async fn merge(
        &mut self,
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
        self.link.check_data(&merged.data)?;
        self.write_again(&hash, &merged.data, ttl, version).await?;
        Ok(Some(merged))
    }

    /// Renews the session; returns its expiry.
    pub async fn touch(
        &mut self,
        id: &str,
        ttl: Option<Milliseconds>,
    ) -> Result<Option<Timestamp>, Failure> {
        let Some(hash) = IdHash::of(id) else {
            return Ok(None);
        };
        // Without a `ttl` the life is in the payload, which must not change meanwhile.
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
        let mut params = vec![
            ("hash", bytes(&hash).into()),
            ("now", self.now().into()),
            ("until", signed(until).into()),
            ("absolute", self.absolute().into()),
            ("step", signed(self.rules.options.renewal_step).into()),
        ];
        params.extend(version.map(|version| ("version", version.into())));
        let params: Vec<(&str, mysql_async::Value)> = params;
        let statement = match version {
            Some(_) => &self.statements.touch_version,
            None => &self.statements.touch,
        };
        match self.link.write(statement, params).await?.id {
            0 if version.is_some() => Err(Failure::Raced),
            0 => Ok(None),
            expires => Ok(Some(expires)),
        }
    }

    /// Ends the session; false if it does not exist.
    pub async fn destroy(&mut self, id: &str) -> Result<bool, Failure> {
        match IdHash::of(id) {
            Some(hash) => self.end(&hash).await,
            None => Ok(false),
        }
    }

    /// Ends the session with this hash; false if it does not exist.
    pub async fn end(&mut self, hash: &IdHash) -> Result<bool, Failure> {
        let params = params! {
            "hash" => bytes(hash),
            "now" => self.now(),
            "tombstone" => self.tombstone(),
        };
        let ended = self.link.write(&self.statements.end, params).await?;
        Ok(ended.rows > 0)
    }

    /// Now, as the database stores it.
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

    /// Refuses a payload that is too large for the options or for the server.
    pub fn check_data(&self, data: &[u8]) -> Result<(), Error> {
        self.rules.check_data(data)?;
        self.link.check_data(data)
    }

    fn written(&self, version: u64, expires: Timestamp) -> Outcome {
        Outcome::Written(Written {
            version,
            updated: self.rules.now.min(END_OF_TIME),
            expires,
        })
    }
}

/// A hash as the database stores it.
pub fn bytes(hash: &IdHash) -> &[u8] {
    &hash.0
}

/// Reads a session whose columns begin at `first`.
pub fn session(row: &mut Row, first: usize) -> Result<Session, Failure> {
    Ok(Session {
        version: unsigned(row, first)?,
        created: unsigned(row, first + 1)?,
        updated: unsigned(row, first + 2)?,
        expires: unsigned(row, first + 3)?,
        subject: subject(row, first + 4)?,
        data: column(row, first + 5)?,
    })
}
