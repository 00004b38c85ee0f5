//! The operations on single sessions: each reads the row, applies the rules, and
//! writes the result, inside the transaction of its caller.

use crate::storage::Rows;
use wasi_sessions_rules::error::Error;
use wasi_sessions_rules::id::{self, IdHash};
use wasi_sessions_rules::row::{Head, live};
use wasi_sessions_rules::rules::{Rules, Write, check_subject};
use wasi_sessions_rules::types::{
    CreateRequest, Created, DestroyRequest, GetRequest, MergeRequest, Milliseconds, Outcome, Reply,
    Request, RotateRequest, Session, SetRequest, Timestamp, TouchRequest, UpdateRequest, Written,
};

/// The rows of one table and the rules for them, for one transaction.
pub struct Operations<'a, 'c> {
    /// The rows of the store's table.
    pub rows: Rows<'a, 'c>,
    /// The rules at the time of the transaction.
    pub rules: Rules<'a>,
}

impl Operations<'_, '_> {
    /// Runs one request of a batch.
    pub fn apply(&self, request: &Request) -> Result<Reply, Error> {
        Ok(match request {
            Request::Create(CreateRequest { data, ttl, subject }) => {
                Reply::Created(self.create(data, *ttl, subject.as_deref())?)
            }
            Request::Get(GetRequest { id }) => Reply::Session(self.get(id)?),
            Request::Set(SetRequest { id, data, ttl }) => Reply::Outcome(self.set(id, data, *ttl)?),
            Request::Update(UpdateRequest {
                id,
                data,
                ttl,
                expected,
            }) => Reply::Outcome(self.update(id, data, *ttl, *expected)?),
            Request::Merge(MergeRequest { id, patch, ttl }) => {
                Reply::Session(self.merge(id, patch, *ttl)?)
            }
            Request::Touch(TouchRequest { id, ttl }) => Reply::Expires(self.touch(id, *ttl)?),
            Request::Rotate(RotateRequest { id, subject }) => {
                Reply::Rotated(self.rotate(id, subject.as_deref())?)
            }
            Request::Destroy(DestroyRequest { id }) => Reply::Destroyed(self.destroy(id)?),
        })
    }

    /// Creates a session under a new id.
    pub fn create(
        &self,
        data: &[u8],
        ttl: Option<Milliseconds>,
        subject: Option<&str>,
    ) -> Result<Created, Error> {
        self.rules.check_data(data)?;
        check_subject(subject)?;
        let session = self.rules.start(data, ttl, subject);
        self.insert_under_fresh_id(&session, subject)
    }

    /// The session, if it exists.
    pub fn get(&self, id: &str) -> Result<Option<Session>, Error> {
        Ok(self.find(id)?.map(|(_, session)| session))
    }

    /// Writes the session whether or not it exists.
    pub fn set(&self, id: &str, data: &[u8], ttl: Option<Milliseconds>) -> Result<Outcome, Error> {
        self.rules.check_data(data)?;
        let hash = IdHash::required(id)?;
        let found = self.rows.find_head(&hash, self.rules.now)?;
        self.carry_out(&hash, data, self.rules.set(found, data, ttl))
    }

    /// Writes the session if it exists and has the expected version.
    pub fn update(
        &self,
        id: &str,
        data: &[u8],
        ttl: Option<Milliseconds>,
        expected: Option<u64>,
    ) -> Result<Outcome, Error> {
        self.rules.check_data(data)?;
        let hash = match (IdHash::of(id), expected) {
            (Some(hash), _) => hash,
            (None, Some(0)) => IdHash::required(id)?,
            (None, _) => return Ok(Outcome::Gone),
        };
        let found = self.rows.find_head(&hash, self.rules.now)?;
        self.carry_out(&hash, data, self.rules.update(found, data, ttl, expected))
    }

    /// Carries out the decision of the rules on a `set` or `update`.
    fn carry_out(&self, hash: &IdHash, data: &[u8], write: Write) -> Result<Outcome, Error> {
        match write {
            Write::Insert(session) => {
                if !self.rows.insert(hash, &session, self.rules.now)? {
                    return Err(Error::invalid(
                        "id: its hash collides with that of another id; use an id made by `create`",
                    ));
                }
                Ok(Outcome::Written(written(&session)))
            }
            Write::Overwrite { before, written } => {
                self.rows.write(hash, data, &written, before.expires)?;
                Ok(Outcome::Written(written))
            }
            Write::Stale => Ok(self.find_hash(hash)?.map_or(Outcome::Gone, Outcome::Stale)),
            Write::Gone => Ok(Outcome::Gone),
        }
    }

    /// Applies a JSON merge patch to the payload; returns the patched session.
    pub fn merge(
        &self,
        id: &str,
        patch: &str,
        ttl: Option<Milliseconds>,
    ) -> Result<Option<Session>, Error> {
        let patch = self.rules.check_patch(patch)?;
        let Some((hash, session)) = self.find(id)? else {
            return Ok(None);
        };
        let before = session.expires;
        let merged = self.rules.merge(session, &patch, ttl)?;
        self.rows
            .write(&hash, &merged.data, &written(&merged), before)?;
        Ok(Some(merged))
    }

    /// Renews the session; returns its expiry.
    pub fn touch(&self, id: &str, ttl: Option<Milliseconds>) -> Result<Option<Timestamp>, Error> {
        let Some(hash) = IdHash::of(id) else {
            return Ok(None);
        };
        // The payload is read only if the new expiry depends on it.
        let found = match ttl {
            Some(_) => live(self.rows.find_head(&hash, self.rules.now)?).map(|head| (head, vec![])),
            None => self
                .find_hash(&hash)?
                .map(|session| (Head::from(&session), session.data)),
        };
        let Some((head, data)) = found else {
            return Ok(None);
        };
        let Some(expires) = self.rules.touch(&head, &data, ttl) else {
            return Ok(Some(head.expires));
        };
        self.rows
            .renew(&hash, expires, head.expires, self.rules.now)?;
        Ok(Some(expires))
    }

    /// Moves the session to a new id and, if a subject is given, binds it.
    pub fn rotate(&self, id: &str, subject: Option<&str>) -> Result<Option<Created>, Error> {
        check_subject(subject)?;
        let Some((old, session)) = self.find(id)? else {
            return Ok(None);
        };
        let session = self.rules.rotate(session, subject);
        self.rows.end(&old, self.rules.tombstone())?;
        self.insert_under_fresh_id(&session, subject).map(Some)
    }

    /// Ends the session; false if it does not exist.
    pub fn destroy(&self, id: &str) -> Result<bool, Error> {
        IdHash::of(id).map_or(Ok(false), |hash| self.end(&hash))
    }

    /// The session with this handle, if it exists.
    pub fn inspect(&self, handle: &str) -> Result<Option<Session>, Error> {
        IdHash::from_handle(handle).map_or(Ok(None), |hash| self.find_hash(&hash))
    }

    /// Ends the session with this handle; false if it does not exist.
    pub fn terminate(&self, handle: &str) -> Result<bool, Error> {
        IdHash::from_handle(handle).map_or(Ok(false), |hash| self.end(&hash))
    }

    /// Ends all sessions of a subject except the one with the id `except`; returns how
    /// many.
    pub fn terminate_subject(&self, subject: &str, except: Option<&str>) -> Result<u64, Error> {
        let (except, until) = (except.and_then(IdHash::of), self.rules.tombstone());
        self.rows
            .end_subject(subject, except.as_ref(), self.rules.now, until)
    }

    /// Ends every session; returns how many.
    pub fn clear(&self) -> Result<u64, Error> {
        self.rows.end_all(self.rules.now, self.rules.tombstone())
    }

    fn find(&self, id: &str) -> Result<Option<(IdHash, Session)>, Error> {
        let Some(hash) = IdHash::of(id) else {
            return Ok(None);
        };
        Ok(self.find_hash(&hash)?.map(|session| (hash, session)))
    }

    fn find_hash(&self, hash: &IdHash) -> Result<Option<Session>, Error> {
        Ok(live(self.rows.find(hash, self.rules.now)?))
    }

    /// Inserts the session under a new id. `subject` is the one that this request binds, not
    /// one the session already had; if there is one, ends the oldest of its other sessions
    /// beyond `maxPerSubject`.
    fn insert_under_fresh_id(
        &self,
        session: &Session,
        subject: Option<&str>,
    ) -> Result<Created, Error> {
        let now = self.rules.now;
        let (id, hash) = id::insert_under_fresh_id(|hash| self.rows.insert(hash, session, now))?;
        if let Some((subject, others)) = self.rules.limit(subject, session.expires) {
            let until = self.rules.tombstone();
            self.rows.end_oldest(subject, &hash, others, now, until)?;
        }
        Ok(Created {
            id,
            version: session.version,
            expires: session.expires,
        })
    }

    fn end(&self, hash: &IdHash) -> Result<bool, Error> {
        let is_live = live(self.rows.find_head(hash, self.rules.now)?).is_some();
        if is_live {
            self.rows.end(hash, self.rules.tombstone())?;
        }
        Ok(is_live)
    }
}

/// The part of a session that answers a write.
fn written(session: &Session) -> Written {
    Written {
        version: session.version,
        updated: session.updated,
        expires: session.expires,
    }
}
