//! Sessions that were read before, answered on the caller's own thread.
//!
//! The cache never gives an answer that the database would not give. Only the
//! thread that holds the owner's lock changes it. Entries that a request may change
//! are invalidated before the request runs, so a concurrent read goes to the
//! database, behind the request in the queue. A session that was read or written is
//! cached only after its transaction was committed. Expiry is compared with the
//! clock, but never with a time before the latest that the component has seen, since
//! sessions that expired by then may have been collected. When the clock goes far
//! back, the cache is cleared.

use std::collections::hash_map::RandomState;
use std::collections::{HashMap, HashSet};
use std::hash::BuildHasher;
use std::sync::Arc;

use quick_cache::Weighter;
use siphasher::sip128::SipHasher13;
use triomphe::ThinArc;

use crate::clock::StoreClock;
use crate::contract::types::{
    GetRequest, MergeRequest, Request, SetRequest, TouchRequest, UpdateRequest,
};
use crate::request::Ending;
use crate::sync::Cache;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::{Error, Outcome, Reply, Session, Timestamp, Written};

#[cfg(test)]
mod tests;

/// The memory of an entry apart from payload and subject, in bytes: the record, the
/// allocations' overhead and the hash table.
const ENTRY: usize = 320;

/// Live sessions, bounded in bytes.
pub(crate) struct ReadCache {
    sessions: Option<Cache<CacheKey, Known, Bytes>>,
    keys: Keys,
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
            keys: Keys::new(),
            subjects: Subjects::new(bytes / 1024),
            clock,
            subjects_are_bounded,
        }
    }

    /// The clock that expiry is compared with.
    #[cfg(feature = "tower-sessions")]
    pub(crate) fn clock(&self) -> &StoreClock {
        &self.clock
    }

    /// The session, if it is cached and has neither expired nor been invalidated.
    pub(crate) fn get(&self, id: &str) -> Option<Session> {
        // Loaded before the look-up: the owner clears the cache before it lowers `latest`,
        // so a reader that sees the lower time finds no old entry.
        let latest = self.clock.latest();
        let known = self.sessions.as_ref()?.get(&self.keys.of(id))?;
        self.is_there(&known, self.clock.now().max(latest))
            .then(|| known.session())
    }

    /// The length of the payload that is stored under this id, if that is known. Only
    /// right for the holder of the owner's lock.
    pub(crate) fn stored_length(&self, id: &str) -> Option<u64> {
        let known = self.sessions.as_ref()?.peek(&self.keys.of(id))?;
        self.is_there(&known, self.clock.latest())
            .then(|| known.data().len() as u64)
    }

    fn is_there(&self, known: &Known, now: Timestamp) -> bool {
        self.subjects.is_current(known.fixed().generation) && known.expires > now
    }

    /// Invalidates the sessions that requests may change. Must be called before the
    /// requests run; returns what [`ReadCache::remember`] needs afterwards.
    pub(crate) fn forget(&self, requests: &[Request]) -> Forgotten {
        let mut forgotten = Forgotten::new();
        let Some(sessions) = &self.sessions else {
            return forgotten;
        };
        for request in requests {
            if let Some(id) = request.changed_id() {
                // An expired entry counts as unknown: there may be another session under
                // its id. If a batch writes a session twice, the second finds it removed and
                // records `None`. It is then not cached, because the combined result is
                // unknown.
                let key = self.keys.of(id);
                let before = sessions.remove(&key).map(|(_, known)| known);
                let before = before.filter(|known| self.is_there(known, self.clock.latest()));
                forgotten.insert(key, before);
            }
        }
        for subject in self.bounded(requests) {
            self.subjects.forget(subject);
        }
        forgotten
    }

    /// Caches the sessions whose state is known after requests that were committed.
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
            let Some((key, known)) = self.after(request, reply, &mut forgotten) else {
                continue;
            };
            let subject = known.fixed().subject.as_deref();
            if !subject.is_some_and(|subject| bounded.contains(subject)) {
                sessions.insert(key, known);
            }
        }
    }

    /// The session after a request, if that is known.
    fn after(
        &self,
        request: &Request,
        reply: &Reply,
        forgotten: &mut Forgotten,
    ) -> Option<(CacheKey, Known)> {
        match request {
            Request::Get(GetRequest { id }) => {
                let Reply::Session(Some(session)) = reply else {
                    return None;
                };
                let key = self.keys.of(id);
                // Another request of this batch may have written the session after this
                // one read it.
                let is_unchanged = !forgotten.contains_key(&key);
                is_unchanged.then(|| (key, self.known(session)))
            }
            Request::Set(SetRequest { id, data, .. })
            | Request::Update(UpdateRequest { id, data, .. }) => {
                let Reply::Outcome(Outcome::Written(written)) = reply else {
                    return None;
                };
                let key = self.keys.of(id);
                let before = take(forgotten, &key)?;
                // Version 1 is a new session: the one before had expired.
                (written.version > 1).then(|| (key, before.written(data, written)))
            }
            Request::Merge(MergeRequest { id, .. }) => {
                let Reply::Session(Some(session)) = reply else {
                    return None;
                };
                let key = self.keys.of(id);
                take(forgotten, &key)?;
                Some((key, self.known(session)))
            }
            Request::Touch(TouchRequest { id, .. }) => {
                let Reply::Expires(Some(expires)) = reply else {
                    return None;
                };
                let key = self.keys.of(id);
                let before = take(forgotten, &key)?;
                // If the clock was before `created`, the touch has changed `created`, too.
                let is_as_old = before.fixed().created <= self.clock.earliest();
                is_as_old.then(|| (key, before.renewed(*expires)))
            }
            Request::Create(_) | Request::Rotate(_) | Request::Destroy(_) => None,
        }
    }

    /// Caches a session that a single `get` read.
    pub(crate) fn remember_read(&self, id: &str, session: &Session) {
        if let Some(sessions) = &self.sessions {
            sessions.insert(self.keys.of(id), self.known(session));
        }
    }

    fn known(&self, session: &Session) -> Known {
        let subject = session.subject.as_deref();
        let fixed = Fixed {
            subject: subject.map(Into::into),
            version: session.version,
            created: session.created,
            updated: session.updated,
            generation: subject.map(|subject| self.subjects.generation(subject)),
        };
        Known {
            expires: session.expires,
            content: ThinArc::from_header_and_slice(fixed, &session.data),
        }
    }

    /// Invalidates the sessions that a call of `admin` may end. Must be called before that
    /// call.
    pub(crate) fn forget_ended(&self, ending: &Ending) {
        match ending {
            Ending::OfSubject { subject, .. } => self.subjects.forget(subject),
            Ending::Session(_) | Ending::All => self.forget_all(),
        }
    }

    /// Clears the cache. Must be called after a crash, after the clock went far back, and
    /// before another owner can open the database.
    pub(crate) fn forget_all(&self) {
        if let Some(sessions) = &self.sessions {
            sessions.clear();
        }
    }

    /// The subjects whose other sessions these requests may end.
    fn bounded<'r>(&self, requests: &'r [Request]) -> impl Iterator<Item = &'r str> {
        let requests = match self.subjects_are_bounded {
            true => requests,
            false => &[],
        };
        requests.iter().filter_map(Request::bound_subject)
    }
}

/// The key of a session in the cache: 128 bits of a keyed hash of its id. It is
/// shorter than an id, and no id can be read from it.
type CacheKey = u128;

/// Computes cache keys, with its own random hash key.
struct Keys(SipHasher13);

impl Keys {
    fn new() -> Self {
        // The standard library does not reveal its random keys, but a hash of nothing
        // depends on them.
        let key = || RandomState::new().hash_one(());
        Self(SipHasher13::new_with_keys(key(), key()))
    }

    fn of(&self, id: &str) -> CacheKey {
        self.0.hash(id.as_bytes()).as_u128()
    }
}

/// Sessions that requests may change, with what was cached of them before; `None` if
/// nothing was.
pub(crate) type Forgotten = HashMap<CacheKey, Option<Known>>;

fn take(forgotten: &mut Forgotten, key: &CacheKey) -> Option<Known> {
    forgotten.get_mut(key).and_then(Option::take)
}

/// A cached session, as it was in the database when it was cached.
#[derive(Clone)]
pub(crate) struct Known {
    expires: Timestamp,
    /// One allocation with the payload, because a cache hit spends most of its time on CPU
    /// cache misses.
    content: ThinArc<Fixed, u8>,
}

/// The part of a session that only a write changes, not a renewal.
struct Fixed {
    subject: Option<Box<str>>,
    version: u64,
    created: Timestamp,
    updated: Timestamp,
    /// The subject's generation, if there is a subject.
    generation: Option<Generation>,
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
            generation: before.generation,
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

/// Generations of subjects. Incrementing a subject's generation invalidates all its cached
/// sessions, without a search for them. Subjects whose hashes collide share a generation,
/// and are invalidated together.
struct Subjects {
    generations: Box<[AtomicU64]>,
    hasher: RandomState,
}

/// The generation of a subject when its session was cached.
#[derive(Clone, Copy)]
struct Generation {
    /// The index into `Subjects::generations`.
    index: usize,
    number: u64,
}

impl Subjects {
    /// One generation for each of `sessions`, but at most 65,536 (512 KiB).
    fn new(sessions: usize) -> Self {
        let indices = 0..sessions.clamp(1, 1 << 16);
        Self {
            generations: indices.map(|_| AtomicU64::new(0)).collect(),
            hasher: RandomState::new(),
        }
    }

    fn generation(&self, subject: &str) -> Generation {
        let index = self.hasher.hash_one(subject) as usize % self.generations.len();
        let number = self.generations[index].load(Ordering::SeqCst);
        Generation { index, number }
    }

    /// Whether this is still the subject's generation: nothing has invalidated its sessions
    /// since. Always true for a session without a subject, which has no generation.
    fn is_current(&self, generation: Option<Generation>) -> bool {
        generation.is_none_or(|Generation { index, number }| {
            self.generations[index].load(Ordering::SeqCst) == number
        })
    }

    fn forget(&self, subject: &str) {
        let index = self.generation(subject).index;
        self.generations[index].fetch_add(1, Ordering::SeqCst);
    }
}

/// Weighs an entry by the memory it takes.
#[derive(Clone)]
struct Bytes;

impl Weighter<CacheKey, Known> for Bytes {
    fn weight(&self, _: &CacheKey, known: &Known) -> u64 {
        let subject = known.fixed().subject.as_ref();
        let subject = subject.map_or(0, |subject| subject.len());
        (known.data().len() + subject + ENTRY) as u64
    }
}
