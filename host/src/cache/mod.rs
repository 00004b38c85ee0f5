//! Sessions that were read before, answered on the caller's own thread.
//!
//! The cache never gives an answer that the database would not give. Only the
//! thread that holds the owner's lock changes it. Entries that a request may change
//! are invalidated before the request is done, so a concurrent read goes to the
//! database, behind the request in the queue. What was read, or written to a cached
//! session, is cached only once its transaction is kept. Expiry is compared with
//! the clock. Sessions that expired while a clock was ahead may have been
//! collected: they are not answered from here, and the whole cache is cleared once
//! a request comes at a much earlier time.

use std::collections::hash_map::RandomState;
use std::collections::{HashMap, HashSet};
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use quick_cache::Weighter;
use quick_cache::sync::Cache;
use siphasher::sip128::SipHasher13;
use triomphe::ThinArc;

use crate::clock::StoreClock;
use crate::{
    Error, GetRequest, MergeRequest, Outcome, Reply, Request, Session, SetRequest, Timestamp,
    TouchRequest, UpdateRequest, Written,
};

#[cfg(test)]
mod tests;

/// What an entry takes beyond its texts: allocations, the record, the table.
const ENTRY: usize = 320;

/// Live sessions, bounded in bytes.
pub(crate) struct ReadCache {
    sessions: Option<Cache<Name, Known, Bytes>>,
    names: Names,
    subjects: Subjects,
    clock: Arc<StoreClock>,
    /// Whether a log-in may end other sessions of the same subject.
    subjects_are_bounded: bool,
}

impl ReadCache {
    /// A cache of at most about this many bytes; none at all for 0.
    pub(crate) fn new(bytes: usize, clock: Arc<StoreClock>, subjects_are_bounded: bool) -> Self {
        let sessions = (bytes > 0).then(|| Cache::with_weighter(bytes / 1024, bytes as u64, Bytes));
        Self {
            sessions,
            names: Names::new(),
            subjects: Subjects::new(bytes / 1024),
            clock,
            subjects_are_bounded,
        }
    }

    /// The clock that it goes by.
    #[cfg(feature = "tower-sessions")]
    pub(crate) fn clock(&self) -> &StoreClock {
        &self.clock
    }

    /// The session, if it is known and there.
    pub(crate) fn get(&self, id: &str) -> Option<Session> {
        // Loaded before the look-up: if `latest` was lowered after the clock went
        // far back, the cache was cleared before.
        let latest = self.clock.latest();
        let known = self.sessions.as_ref()?.get(&self.names.name(id))?;
        self.is_there(&known, self.clock.now().max(latest))
            .then(|| known.session())
    }

    fn is_there(&self, known: &Known, now: Timestamp) -> bool {
        self.subjects.stands(known.fixed().mark) && known.expires > now
    }

    /// To be called before requests are done; what [`ReadCache::remember`] needs
    /// afterwards.
    pub(crate) fn forget(&self, requests: &[Request]) -> Forgotten {
        let mut forgotten = Forgotten::new();
        let Some(sessions) = &self.sessions else {
            return forgotten;
        };
        for request in requests {
            if let Some(id) = request.changed_id() {
                // The id of one that expired may be another session's by now. Of two
                // requests for one session the second finds and leaves nothing here,
                // since nobody knows what is left by both.
                let name = self.names.name(id);
                let before = sessions.remove(&name).map(|(_, known)| known);
                let before = before.filter(|known| self.is_there(known, self.clock.latest()));
                forgotten.insert(name, before);
            }
        }
        for subject in self.bounded(requests) {
            self.forget_subject(subject);
        }
        forgotten
    }

    /// To be called when the requests have been done and are kept.
    pub(crate) fn remember(
        &self,
        requests: &[Request],
        replies: &[Result<Reply, Error>],
        mut forgotten: Forgotten,
    ) {
        let Some(sessions) = &self.sessions else {
            return;
        };
        let bounded: HashSet<&str> = self.bounded(requests).collect();
        for (request, reply) in requests.iter().zip(replies) {
            let Ok(reply) = reply else {
                continue;
            };
            let Some((name, known)) = self.after(request, reply, &mut forgotten) else {
                continue;
            };
            let subject = known.fixed().subject.as_deref();
            if !subject.is_some_and(|subject| bounded.contains(subject)) {
                sessions.insert(name, known);
            }
        }
    }

    /// The session after a request, if that is known.
    fn after(
        &self,
        request: &Request,
        reply: &Reply,
        forgotten: &mut Forgotten,
    ) -> Option<(Name, Known)> {
        match request {
            Request::Get(GetRequest { id }) => {
                let Reply::Session(Some(session)) = reply else {
                    return None;
                };
                let name = self.names.name(id);
                // Another request may have written after this one read.
                let is_unchanged = !forgotten.contains_key(&name);
                is_unchanged.then(|| (name, self.known(session)))
            }
            Request::Set(SetRequest { id, data, .. })
            | Request::Update(UpdateRequest { id, data, .. }) => {
                let Reply::Outcome(Outcome::Written(written)) = reply else {
                    return None;
                };
                let name = self.names.name(id);
                let before = take(forgotten, &name)?;
                // Version 1 is a new session: the one before had expired.
                (written.version > 1).then(|| (name, before.written(data, written)))
            }
            Request::Merge(MergeRequest { id, .. }) => {
                let Reply::Session(Some(session)) = reply else {
                    return None;
                };
                let name = self.names.name(id);
                take(forgotten, &name)?;
                Some((name, self.known(session)))
            }
            Request::Touch(TouchRequest { id, .. }) => {
                let Reply::Expires(Some(expires)) = reply else {
                    return None;
                };
                let name = self.names.name(id);
                let before = take(forgotten, &name)?;
                // If the clock was before `created`, the touch has changed that, too.
                let is_as_old = before.fixed().created <= self.clock.earliest();
                is_as_old.then(|| (name, before.renewed(*expires)))
            }
            Request::Create(_) | Request::Rotate(_) | Request::Destroy(_) => None,
        }
    }

    /// To be called when a session was read alone.
    pub(crate) fn remember_read(&self, id: &str, session: &Session) {
        if let Some(sessions) = &self.sessions {
            sessions.insert(self.names.name(id), self.known(session));
        }
    }

    fn known(&self, session: &Session) -> Known {
        let subject = session.subject.as_deref();
        let fixed = Fixed {
            subject: subject.map(Into::into),
            version: session.version,
            created: session.created,
            updated: session.updated,
            mark: subject.map(|subject| self.subjects.mark(subject)),
        };
        Known {
            expires: session.expires,
            content: ThinArc::from_header_and_slice(fixed, &session.data),
        }
    }

    /// To be called before sessions of a subject are ended.
    pub(crate) fn forget_subject(&self, subject: &str) {
        self.subjects.forget(subject);
    }

    /// Clears the cache. Must be called before sessions are ended whose ids are not
    /// known, after a crash, when the clock went far back, and before another owner
    /// can open the database.
    pub(crate) fn forget_all(&self) {
        if let Some(sessions) = &self.sessions {
            sessions.clear();
        }
    }

    /// The subjects of which requests may end other sessions.
    fn bounded<'r>(&self, requests: &'r [Request]) -> impl Iterator<Item = &'r str> {
        let requests = match self.subjects_are_bounded {
            true => requests,
            false => &[],
        };
        requests.iter().filter_map(Request::bound_subject)
    }
}

/// What stands for an id: 128 bits of a hash with a key that nobody knows.
/// Shorter than an id, and nobody can read one here.
type Name = u128;

struct Names(SipHasher13);

impl Names {
    fn new() -> Self {
        // The standard library has no other way to its random keys.
        let key = || RandomState::new().hash_one(());
        Self(SipHasher13::new_with_keys(key(), key()))
    }

    fn name(&self, id: &str) -> Name {
        self.0.hash(id.as_bytes()).as_u128()
    }
}

/// Sessions that requests may change, as they were known before.
pub(crate) type Forgotten = HashMap<Name, Option<Known>>;

fn take(forgotten: &mut Forgotten, name: &Name) -> Option<Known> {
    forgotten.get_mut(name).and_then(Option::take)
}

/// A session, as the database had it when it was remembered.
#[derive(Clone)]
pub(crate) struct Known {
    expires: Timestamp,
    /// In one place with the payload: memory that is not at hand is what a read
    /// from here takes most of its time for.
    content: ThinArc<Fixed, u8>,
}

/// What only a write changes.
struct Fixed {
    subject: Option<Box<str>>,
    version: u64,
    created: Timestamp,
    updated: Timestamp,
    /// The subject's, when it has one.
    mark: Option<Mark>,
}

impl Known {
    fn fixed(&self) -> &Fixed {
        &self.content.header.header
    }

    fn data(&self) -> &[u8] {
        &self.content.slice
    }

    /// The same session with another payload.
    fn written(&self, data: &[u8], written: &Written) -> Known {
        let before = self.fixed();
        let fixed = Fixed {
            subject: before.subject.clone(),
            version: written.version,
            created: before.created.min(written.updated),
            updated: written.updated,
            mark: before.mark,
        };
        Known {
            expires: written.expires,
            content: ThinArc::from_header_and_slice(fixed, data),
        }
    }

    /// The same session with another expiry.
    fn renewed(mut self, expires: Timestamp) -> Known {
        self.expires = expires;
        self
    }

    fn session(&self) -> Session {
        let fixed = self.fixed();
        Session {
            data: self.data().to_vec(),
            subject: fixed.subject.as_deref().map(str::to_owned),
            version: fixed.version,
            created: fixed.created,
            updated: fixed.updated,
            expires: self.expires,
        }
    }
}

/// Forgets the sessions of a subject without a search for them, since a log-in
/// may have to: they keep the count of their subject, which changes. Subjects
/// that share a count are forgotten together.
struct Subjects {
    counts: Box<[AtomicU64]>,
    hasher: RandomState,
}

/// Where the count of a subject is, and what it was.
#[derive(Clone, Copy)]
struct Mark {
    place: usize,
    count: u64,
}

impl Subjects {
    /// About as many counts as there are sessions, in at most half a mebibyte.
    fn new(sessions: usize) -> Self {
        let places = 0..sessions.clamp(1, 1 << 16);
        Self {
            counts: places.map(|_| AtomicU64::new(0)).collect(),
            hasher: RandomState::new(),
        }
    }

    fn mark(&self, subject: &str) -> Mark {
        let place = self.hasher.hash_one(subject) as usize % self.counts.len();
        let count = self.counts[place].load(Ordering::SeqCst);
        Mark { place, count }
    }

    /// Whether the sessions of this mark have not been forgotten since.
    fn stands(&self, mark: Option<Mark>) -> bool {
        mark.is_none_or(|mark| self.counts[mark.place].load(Ordering::SeqCst) == mark.count)
    }

    fn forget(&self, subject: &str) {
        let place = self.mark(subject).place;
        self.counts[place].fetch_add(1, Ordering::SeqCst);
    }
}

/// Weighs an entry by the memory it takes.
#[derive(Clone)]
struct Bytes;

impl Weighter<Name, Known> for Bytes {
    fn weight(&self, _: &Name, known: &Known) -> u64 {
        let subject = known.fixed().subject.as_ref();
        let subject = subject.map_or(0, |subject| subject.len());
        (known.data().len() + subject + ENTRY) as u64
    }
}
