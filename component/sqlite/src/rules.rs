//! The rules of sessions: what each operation makes of the session it finds.
//!
//! Everything here happens inside one transaction and at one moment, `now`.
//! Arguments are checked before anything is written, so a refused request
//! leaves nothing behind.

use crate::error::Error;
use crate::id::{self, Key};
use crate::json::{self, Patch};
use crate::options::Options;
use crate::storage::{Head, Rows, Standing};
use crate::types::{
    CreateRequest, Created, DestroyRequest, END_OF_TIME, GetRequest, MergeRequest, Milliseconds,
    Outcome, Reply, Request, RotateRequest, Session, SetRequest, Timestamp, TouchRequest,
    UpdateRequest, Written,
};

/// The longest subject, in bytes.
pub const LONGEST_SUBJECT: usize = 255;

/// What applies to the requests of one transaction.
pub struct Rules<'a, 'c> {
    /// The rows of the store's table.
    pub rows: Rows<'a, 'c>,
    /// The options of the store.
    pub options: &'a Options,
    /// The moment at which all of it happens.
    pub now: Timestamp,
}

impl Rules<'_, '_> {
    /// Does what a request of a batch asks for.
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

    /// Starts a session under a new id.
    pub fn create(
        &self,
        data: &[u8],
        ttl: Option<Milliseconds>,
        subject: Option<&str>,
    ) -> Result<Created, Error> {
        self.check_data(data)?;
        check_subject(subject)?;
        let session = self.new_session(data, ttl, subject);
        let (id, key) = self.insert_under_new_id(&session)?;
        // One that ends at once takes nobody's place.
        if session.expires > self.now {
            self.end_oldest_of(subject, &key)?;
        }
        Ok(Created {
            id,
            version: session.version,
            expires: session.expires,
        })
    }

    /// The session, if it is there.
    pub fn get(&self, id: &str) -> Result<Option<Session>, Error> {
        Ok(self.live(id)?.map(|(_, session)| session))
    }

    /// Writes the session whether or not it is there.
    pub fn set(&self, id: &str, data: &[u8], ttl: Option<Milliseconds>) -> Result<Outcome, Error> {
        self.check_data(data)?;
        let key = Key::of(id).ok_or_else(impossible_id)?;
        match self.rows.find_head(&key, self.now)? {
            Some(Standing::Ended) => Ok(Outcome::Gone),
            Some(Standing::Live(head)) => {
                self.overwrite(&key, &head, data, ttl).map(Outcome::Written)
            }
            None => self.start(&key, data, ttl),
        }
    }

    /// Writes the session if it is there and has the expected version.
    pub fn update(
        &self,
        id: &str,
        data: &[u8],
        ttl: Option<Milliseconds>,
        expected: Option<u64>,
    ) -> Result<Outcome, Error> {
        self.check_data(data)?;
        let Some(key) = Key::of(id) else {
            return match expected {
                Some(0) => Err(impossible_id()),
                _ => Ok(Outcome::Gone),
            };
        };
        match (self.rows.find_head(&key, self.now)?, expected) {
            (Some(Standing::Ended), _) => Ok(Outcome::Gone),
            (Some(Standing::Live(head)), Some(version)) if version != head.version => {
                Ok(self.live_at(&key)?.map_or(Outcome::Gone, Outcome::Stale))
            }
            (Some(Standing::Live(head)), _) => {
                self.overwrite(&key, &head, data, ttl).map(Outcome::Written)
            }
            (None, Some(0)) => self.start(&key, data, ttl),
            (None, _) => Ok(Outcome::Gone),
        }
    }

    /// Applies a JSON merge patch to the payload; the session as it stands now.
    pub fn merge(
        &self,
        id: &str,
        patch: &str,
        ttl: Option<Milliseconds>,
    ) -> Result<Option<Session>, Error> {
        self.check_data(patch.as_bytes())?;
        let Some(patch) = Patch::parse(patch) else {
            return Err(Error::invalid("patch: not JSON, or nested deeper than 128"));
        };
        let Some((key, session)) = self.live(id)? else {
            return Ok(None);
        };
        let Some(merged) = patch.apply(&session.data) else {
            return Err(Error::invalid(
                "merge: the payload of this session is not JSON, or nested deeper than 128",
            ));
        };
        self.check_data(merged.as_bytes())?;
        let head = Head::of(&session);
        let written = self.overwrite(&key, &head, merged.as_bytes(), ttl)?;
        Ok(Some(Session {
            data: merged.into_bytes(),
            version: written.version,
            created: session.created.min(self.now),
            updated: written.updated,
            expires: written.expires,
            ..session
        }))
    }

    /// Renews the session; its expiry as it stands now.
    pub fn touch(&self, id: &str, ttl: Option<Milliseconds>) -> Result<Option<Timestamp>, Error> {
        let Some(key) = Key::of(id) else {
            return Ok(None);
        };
        // The payload is asked only when nobody else says how long.
        let found = match ttl {
            Some(_) => live(self.rows.find_head(&key, self.now)?).map(|head| (head, vec![])),
            None => live(self.rows.find(&key, self.now)?)
                .map(|session| (Head::of(&session), session.data)),
        };
        let Some((head, data)) = found else {
            return Ok(None);
        };
        let expires = self.expiry(ttl, &data, head.created);
        let gained = expires.saturating_sub(head.expires);
        let later = expires >= head.expires;
        if later && (gained == 0 || gained < self.options.renewal_step) {
            return Ok(Some(head.expires));
        }
        self.rows.renew(&key, expires, head.expires, self.now)?;
        Ok(Some(expires))
    }

    /// Moves the session to a new id and, when a subject is given, binds it.
    pub fn rotate(&self, id: &str, subject: Option<&str>) -> Result<Option<Created>, Error> {
        check_subject(subject)?;
        let Some((old, mut session)) = self.live(id)? else {
            return Ok(None);
        };
        if let Some(subject) = subject {
            session.subject = Some(subject.to_owned());
            session.version += 1;
            session.updated = self.now;
        }
        self.rows.end(&old, self.tombstone())?;
        let (id, key) = self.insert_under_new_id(&session)?;
        self.end_oldest_of(subject, &key)?;
        Ok(Some(Created {
            id,
            version: session.version,
            expires: session.expires,
        }))
    }

    /// Ends the session; false when it was not there.
    pub fn destroy(&self, id: &str) -> Result<bool, Error> {
        match Key::of(id) {
            Some(key) => self.end(&key),
            None => Ok(false),
        }
    }

    /// The session that a listing calls `handle`, if it is there.
    pub fn inspect(&self, handle: &str) -> Result<Option<Session>, Error> {
        let Some(key) = Key::from_handle(handle) else {
            return Ok(None);
        };
        self.live_at(&key)
    }

    /// Ends the session that a listing calls `handle`.
    pub fn terminate(&self, handle: &str) -> Result<bool, Error> {
        match Key::from_handle(handle) {
            Some(key) => self.end(&key),
            None => Ok(false),
        }
    }

    /// Ends all sessions of a subject but the one with the id `except`.
    pub fn terminate_subject(&self, subject: &str, except: Option<&str>) -> Result<u64, Error> {
        let except = except.and_then(Key::of);
        self.rows
            .end_subject(subject, except.as_ref(), self.now, self.tombstone())
    }

    /// Ends every session.
    pub fn clear(&self) -> Result<u64, Error> {
        self.rows.end_all(self.now, self.tombstone())
    }

    fn live(&self, id: &str) -> Result<Option<(Key, Session)>, Error> {
        match Key::of(id) {
            Some(key) => Ok(self.live_at(&key)?.map(|session| (key, session))),
            None => Ok(None),
        }
    }

    fn live_at(&self, key: &Key) -> Result<Option<Session>, Error> {
        Ok(live(self.rows.find(key, self.now)?))
    }

    fn overwrite(
        &self,
        key: &Key,
        head: &Head,
        data: &[u8],
        ttl: Option<Milliseconds>,
    ) -> Result<Written, Error> {
        let written = Written {
            version: head.version + 1,
            updated: self.now.min(END_OF_TIME),
            expires: self.expiry(ttl, data, head.created),
        };
        self.rows.write(key, data, &written, head.expires)?;
        Ok(written)
    }

    /// Starts a session under an id that a caller brought and that nobody has.
    fn start(&self, key: &Key, data: &[u8], ttl: Option<Milliseconds>) -> Result<Outcome, Error> {
        let session = self.new_session(data, ttl, None);
        if !self.rows.insert(key, &session, self.now)? {
            return Err(Error::invalid(
                "id: another one has its place in the table; use one made by `create`",
            ));
        }
        Ok(Outcome::Written(Written {
            version: session.version,
            updated: session.updated,
            expires: session.expires,
        }))
    }

    fn new_session(
        &self,
        data: &[u8],
        ttl: Option<Milliseconds>,
        subject: Option<&str>,
    ) -> Session {
        Session {
            data: data.to_vec(),
            subject: subject.map(str::to_owned),
            version: 1,
            created: self.now.min(END_OF_TIME),
            updated: self.now.min(END_OF_TIME),
            expires: self.expiry(ttl, data, self.now),
        }
    }

    fn insert_under_new_id(&self, session: &Session) -> Result<(String, Key), Error> {
        // A place that is taken already is next to impossible, and a second one
        // means that the randomness is none.
        for _ in 0..4 {
            let (id, key) = id::fresh()?;
            if self.rows.insert(&key, session, self.now)? {
                return Ok((id, key));
            }
        }
        Err(Error::Other("the host's random bytes repeat".into()))
    }

    fn end(&self, key: &Key) -> Result<bool, Error> {
        let is_there = live(self.rows.find_head(key, self.now)?).is_some();
        if is_there {
            self.rows.end(key, self.tombstone())?;
        }
        Ok(is_there)
    }

    /// Ends what a subject has over `maxPerSubject`, oldest first, never `newest`.
    fn end_oldest_of(&self, subject: Option<&str>, newest: &Key) -> Result<(), Error> {
        let (Some(subject), Some(most)) = (subject, self.options.max_per_subject) else {
            return Ok(());
        };
        self.rows
            .end_oldest(subject, newest, most - 1, self.now, self.tombstone())
    }

    /// When a session written or touched now expires. It is the one place
    /// where a life is computed: `ttl`, else the payload's own, else the
    /// default; never past the absolute life of a session of that age. One
    /// created in the future, by a clock that was ahead, counts as created now.
    fn expiry(&self, ttl: Option<Milliseconds>, data: &[u8], created: Timestamp) -> Timestamp {
        let life = ttl
            .or_else(|| json::cookie_max_age(data))
            .unwrap_or(self.options.browser_session_lifetime);
        let limit = match self.options.absolute_lifetime {
            Some(lifetime) => created.min(self.now).saturating_add(lifetime),
            None => END_OF_TIME,
        };
        self.now.saturating_add(life).min(limit).min(END_OF_TIME)
    }

    /// When the tombstone of a session that ends now stops to count.
    fn tombstone(&self) -> Timestamp {
        self.now.saturating_add(self.options.tombstone)
    }

    fn check_data(&self, data: &[u8]) -> Result<(), Error> {
        if data.len() as u64 > self.options.max_data {
            return Err(Error::TooLarge(self.options.max_data));
        }
        Ok(())
    }
}

/// What stands there, unless it was ended.
fn live<T>(standing: Option<Standing<T>>) -> Option<T> {
    match standing {
        Some(Standing::Live(live)) => Some(live),
        Some(Standing::Ended) | None => None,
    }
}

fn check_subject(subject: Option<&str>) -> Result<(), Error> {
    match subject {
        Some(subject) if !(1..=LONGEST_SUBJECT).contains(&subject.len()) => {
            Err(Error::invalid("subject: must be 1 to 255 bytes long"))
        }
        _ => Ok(()),
    }
}

fn impossible_id() -> Error {
    Error::invalid("id: must be 1 to 255 bytes long")
}
