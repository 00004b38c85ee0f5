//! The model: the contract's rules of sessions over a simple map.

use super::json;
use crate::engine::{
    CreateRequest, Created, DestroyRequest, END_OF_TIME, Entry, Error, GetRequest, MergeRequest,
    Options, Outcome, Page, Reply, Request, RotateRequest, Session, SetRequest, TouchRequest,
    UpdateRequest, Written,
};
use crate::fixture::{handle, position};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// The model with which the store is compared.
pub struct Reference {
    /// The options of the store.
    pub options: Options,
    /// The time of the next request.
    pub now: u64,
    /// How many requests have changed something.
    pub writes: u64,
    rows: BTreeMap<String, Row>,
}

/// A row that has not been collected. It counts while `session.expires` is later than now,
/// which can be true again after the clock was set back.
struct Row {
    ended: bool,
    session: Session,
}

impl Reference {
    pub fn new(options: Options, now: u64) -> Reference {
        Reference {
            options,
            now,
            writes: 0,
            rows: BTreeMap::new(),
        }
    }

    /// The answer that the store must give; a new id is called `fresh`.
    pub fn answer(&mut self, request: &Request, fresh: &str) -> Result<Reply, Error> {
        Ok(match request {
            Request::Create(CreateRequest { data, ttl, subject }) => {
                Reply::Created(self.create(data, *ttl, subject.as_deref(), fresh)?)
            }
            Request::Get(GetRequest { id }) => Reply::Session(self.live(id).cloned()),
            Request::Set(SetRequest { id, data, ttl }) => {
                self.check_data(data)?;
                if !is_possible(id) {
                    return Err(invalid());
                }
                let expected = self.live(id).map_or(0, |session| session.version);
                Reply::Outcome(self.write(id, data, *ttl, Some(expected)))
            }
            Request::Update(UpdateRequest {
                id,
                data,
                ttl,
                expected,
            }) => {
                self.check_data(data)?;
                if !is_possible(id) && *expected == Some(0) {
                    return Err(invalid());
                }
                Reply::Outcome(self.write(id, data, *ttl, *expected))
            }
            Request::Merge(MergeRequest { id, patch, ttl }) => {
                Reply::Session(self.merge(id, patch, *ttl)?)
            }
            Request::Touch(TouchRequest { id, ttl }) => Reply::Expires(self.touch(id, *ttl)),
            Request::Rotate(RotateRequest { id, subject }) => {
                Reply::Rotated(self.rotate(id, subject.as_deref(), fresh)?)
            }
            Request::Destroy(DestroyRequest { id }) => {
                Reply::Destroyed(self.end(|key, _| key == id) == 1)
            }
        })
    }

    pub fn terminate(&mut self, name: &str) -> bool {
        self.end(|id, _| handle(id) == name) == 1
    }

    pub fn terminate_subject(&mut self, subject: &str, except: Option<&str>) -> u64 {
        self.end(|id, session| session.subject.as_deref() == Some(subject) && except != Some(id))
    }

    pub fn clear(&mut self) -> u64 {
        self.end(|_, _| true)
    }

    /// The page after `cursor`, in the order of listings.
    pub fn list(&self, subject: Option<&str>, cursor: Option<&str>, limit: u32) -> Page {
        let mut entries: Vec<Entry> = self
            .live_rows(subject)
            .map(|(id, session)| Entry {
                handle: handle(id),
                subject: session.subject.clone(),
                version: session.version,
                created: session.created,
                updated: session.updated,
                expires: session.expires,
                size: session.data.len() as u64,
            })
            .filter(|entry| cursor.is_none_or(|cursor| position(&entry.handle) > position(cursor)))
            .collect();
        entries.sort_by_key(|entry| position(&entry.handle));
        let more = entries.len() > limit as usize;
        entries.truncate(limit as usize);
        let next = entries.last().filter(|_| more);
        Page {
            next: next.map(|entry| entry.handle.clone()),
            entries,
        }
    }

    pub fn count(&self, subject: Option<&str>) -> u64 {
        self.live_rows(subject).count() as u64
    }

    /// How many rows wait for collection.
    pub fn expired(&self) -> u64 {
        let expired = |row: &&Row| row.session.expires <= self.now;
        self.rows.values().filter(expired).count() as u64
    }

    /// Removes the expired rows that are not among those `left`; returns how many.
    pub fn collect(&mut self, left: &BTreeSet<String>) -> u64 {
        let before = self.rows.len();
        let now = self.now;
        self.rows
            .retain(|id, row| row.session.expires > now || left.contains(&handle(id)));
        (before - self.rows.len()) as u64
    }

    /// When the row under this id expires.
    pub fn expiry_of(&self, id: &str) -> Option<u64> {
        self.rows.get(id).map(|row| row.session.expires)
    }

    fn create(
        &mut self,
        data: &[u8],
        ttl: Option<u64>,
        subject: Option<&str>,
        fresh: &str,
    ) -> Result<Created, Error> {
        self.check_data(data)?;
        check_subject(subject)?;
        self.start(fresh, data, ttl, subject);
        self.end_oldest(subject, fresh);
        let session = &self.rows[fresh].session;
        Ok(Created {
            id: fresh.into(),
            version: 1,
            expires: session.expires,
        })
    }

    /// Writes the session if it has the expected version, if one is given; 0 means that there
    /// is no session.
    fn write(&mut self, id: &str, data: &[u8], ttl: Option<u64>, expected: Option<u64>) -> Outcome {
        let standing = self
            .rows
            .get(id)
            .filter(|row| row.session.expires > self.now);
        let session = match (standing, expected) {
            (Some(row), _) if row.ended => return Outcome::Gone,
            (Some(row), Some(version)) if version != row.session.version => {
                return Outcome::Stale(row.session.clone());
            }
            (Some(_), _) => self.overwrite(id, data, ttl),
            (None, Some(0)) => self.start(id, data, ttl, None),
            (None, _) => return Outcome::Gone,
        };
        Outcome::Written(Written {
            version: session.version,
            updated: session.updated,
            expires: session.expires,
        })
    }

    fn merge(&mut self, id: &str, patch: &str, ttl: Option<u64>) -> Result<Option<Session>, Error> {
        self.check_data(patch.as_bytes())?;
        let patch = json::parse(patch.as_bytes()).ok_or_else(invalid)?;
        let Some(session) = self.live(id) else {
            return Ok(None);
        };
        let document = json::parse(&session.data).ok_or_else(invalid)?;
        let merged = json::print(&json::merge(Some(document), &patch));
        self.check_data(&merged)?;
        Ok(Some(self.overwrite(id, &merged, ttl).clone()))
    }

    fn touch(&mut self, id: &str, ttl: Option<u64>) -> Option<u64> {
        let session = self.live(id)?;
        let expires = self.expiry(&session.data, ttl, session.created);
        let standing = session.expires;
        let too_little = expires < standing.saturating_add(self.options.renewal_step);
        if expires == standing || (expires > standing && too_little) {
            return Some(standing);
        }
        self.writes += 1;
        let session = &mut self.rows.get_mut(id)?.session;
        session.expires = expires;
        session.created = session.created.min(self.now);
        Some(expires)
    }

    fn rotate(
        &mut self,
        id: &str,
        subject: Option<&str>,
        fresh: &str,
    ) -> Result<Option<Created>, Error> {
        check_subject(subject)?;
        let Some(mut session) = self.live(id).cloned() else {
            return Ok(None);
        };
        if let Some(subject) = subject {
            session.subject = Some(subject.into());
            session.version += 1;
            session.updated = self.now;
        }
        let created = Created {
            id: fresh.into(),
            version: session.version,
            expires: session.expires,
        };
        self.end(|key, _| key == id);
        let ended = false;
        self.rows.insert(fresh.into(), Row { ended, session });
        self.end_oldest(subject, fresh);
        Ok(Some(created))
    }

    fn start(
        &mut self,
        id: &str,
        data: &[u8],
        ttl: Option<u64>,
        subject: Option<&str>,
    ) -> &Session {
        let now = self.now.min(END_OF_TIME);
        let session = Session {
            data: data.into(),
            subject: subject.map(str::to_owned),
            version: 1,
            created: now,
            updated: now,
            expires: self.expiry(data, ttl, now),
        };
        self.writes += 1;
        let ended = false;
        self.rows.insert(id.into(), Row { ended, session });
        &self.rows[id].session
    }

    fn overwrite(&mut self, id: &str, data: &[u8], ttl: Option<u64>) -> &Session {
        let expires = self.expiry(data, ttl, self.rows[id].session.created);
        let session = &mut self.rows.get_mut(id).unwrap().session;
        session.data = data.into();
        session.version += 1;
        session.created = session.created.min(self.now);
        session.updated = self.now;
        session.expires = expires;
        self.writes += 1;
        session
    }

    /// Ends the live sessions for which `fits` is true, with tombstones; returns how many.
    fn end(&mut self, fits: impl Fn(&str, &Session) -> bool) -> u64 {
        let until = self
            .now
            .saturating_add(self.options.tombstone)
            .min(END_OF_TIME);
        let mut ended = 0;
        for (id, row) in &mut self.rows {
            if !row.ended && row.session.expires > self.now && fits(id, &row.session) {
                row.ended = true;
                row.session.expires = until;
                ended += 1;
            }
        }
        self.writes += ended;
        ended
    }

    /// Ends the oldest sessions of a subject beyond `maxPerSubject`, but never `newest`. Of
    /// sessions of the same age, the last in the listing is ended first.
    fn end_oldest(&mut self, subject: Option<&str>, newest: &str) {
        let (Some(subject), Some(most)) = (subject, self.options.max_per_subject) else {
            return;
        };
        while self.count(Some(subject)) > most {
            let oldest = self
                .live_rows(Some(subject))
                .filter(|(id, _)| *id != newest)
                .min_by_key(|(id, session)| (session.created, Reverse(position(&handle(id)))))
                .map(|(id, _)| id.to_owned());
            self.end(|id, _| Some(id) == oldest.as_deref());
        }
    }

    fn live(&self, id: &str) -> Option<&Session> {
        self.live_rows(None)
            .find(|(key, _)| *key == id)
            .map(|(_, session)| session)
    }

    fn live_rows(&self, subject: Option<&str>) -> impl Iterator<Item = (&str, &Session)> {
        self.rows
            .iter()
            .filter(|(_, row)| !row.ended && row.session.expires > self.now)
            .map(|(id, row)| (id.as_str(), &row.session))
            .filter(move |(_, session)| subject.is_none() || session.subject.as_deref() == subject)
    }

    fn expiry(&self, data: &[u8], ttl: Option<u64>, created: u64) -> u64 {
        let life = ttl
            .or_else(|| json::max_age(data))
            .unwrap_or(self.options.browser_session_lifetime);
        let limit = self.options.absolute_lifetime.unwrap_or(u64::MAX);
        let expires = self.now.saturating_add(life);
        let created = created.min(self.now);
        expires.min(created.saturating_add(limit)).min(END_OF_TIME)
    }

    fn check_data(&self, data: &[u8]) -> Result<(), Error> {
        match data.len() as u64 > self.options.max_data {
            true => Err(Error::TooLarge(self.options.max_data)),
            false => Ok(()),
        }
    }
}

fn check_subject(subject: Option<&str>) -> Result<(), Error> {
    match subject.is_none_or(is_possible) {
        true => Ok(()),
        false => Err(invalid()),
    }
}

/// Ids and subjects are 1 to 255 bytes long.
fn is_possible(name: &str) -> bool {
    !name.is_empty() && name.len() <= 255
}

fn invalid() -> Error {
    Error::InvalidArgument(String::new())
}
