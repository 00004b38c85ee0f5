//! A model of a store's contents, built from the store's answers.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest, Sha256};

use crate::process::{Outcome, Reply, Request, Session};

/// The milliseconds for which an ended id is refused: the default of the option.
pub const TOMBSTONE: u64 = 60_000;

/// The contents of a store at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// The sessions, by id; some may have expired.
    pub sessions: BTreeMap<String, Session>,
    /// The ids that were ended, and until when they are refused, in milliseconds.
    pub ended: BTreeMap<String, u64>,
}

impl Contents {
    /// The sessions that have not expired.
    pub fn live(&self, now: u64) -> BTreeMap<String, Session> {
        let live = self.sessions.iter().filter(|(_, of)| of.expires > now);
        live.map(|(id, of)| (id.clone(), of.clone())).collect()
    }

    /// The ids that are refused.
    pub fn refused(&self, now: u64) -> BTreeSet<String> {
        let refused = self.ended.iter().filter(|(_, until)| **until > now);
        refused.map(|(id, _)| id.clone()).collect()
    }

    /// Applies a request according to its reply.
    pub fn note(&mut self, request: &Request, reply: &Reply, now: u64) {
        match (request, reply) {
            (Request::Create(of), Reply::Created(made)) => {
                let session = Session {
                    data: of.data.clone(),
                    subject: of.subject.clone(),
                    version: made.version,
                    created: now,
                    updated: now,
                    expires: made.expires,
                };
                self.sessions.insert(made.id.clone(), session);
            }
            (Request::Set(of), Reply::Outcome(Outcome::Written(_))) => {
                self.written(&of.id, &of.data, reply);
            }
            (Request::Update(of), Reply::Outcome(Outcome::Written(_))) => {
                self.written(&of.id, &of.data, reply);
            }
            (Request::Merge(of), Reply::Session(Some(session))) => {
                self.sessions.insert(of.id.clone(), session.clone());
            }
            (Request::Touch(of), Reply::Expires(Some(expires))) => {
                self.session(&of.id).expires = *expires;
            }
            (Request::Rotate(of), Reply::Rotated(Some(made))) => {
                let mut session = self.session(&of.id).clone();
                if of.subject.is_some() {
                    session.subject.clone_from(&of.subject);
                    session.updated = now;
                }
                session.version = made.version;
                session.expires = made.expires;
                self.end(&of.id, now);
                self.sessions.insert(made.id.clone(), session);
            }
            (Request::Destroy(of), Reply::Destroyed(true)) => self.end(&of.id, now),
            _ => {}
        }
    }

    fn written(&mut self, id: &str, data: &[u8], reply: &Reply) {
        let Reply::Outcome(Outcome::Written(written)) = reply else {
            return;
        };
        let before = self.sessions.get(id).filter(|_| written.version > 1);
        let session = Session {
            data: data.to_vec(),
            subject: before.and_then(|before| before.subject.clone()),
            version: written.version,
            created: before.map_or(written.updated, |before| before.created),
            updated: written.updated,
            expires: written.expires,
        };
        self.sessions.insert(id.to_owned(), session);
    }

    /// Ends a session.
    pub fn end(&mut self, id: &str, now: u64) {
        self.sessions.remove(id);
        self.ended.insert(id.to_owned(), now + TOMBSTONE);
    }

    /// Ends all live sessions, or those of a subject except one.
    pub fn end_all(&mut self, subject: Option<&str>, except: Option<&str>, now: u64) {
        let of_subject = |of: &Session| subject.is_none() || of.subject.as_deref() == subject;
        for (id, session) in self.live(now) {
            if of_subject(&session) && except != Some(&id) {
                self.end(&id, now);
            }
        }
    }

    /// Ends a subject's oldest sessions: all but `most`, and never `kept`.
    pub fn end_oldest(&mut self, subject: &str, most: usize, kept: &str, now: u64) {
        let mut of_subject: Vec<_> = self.live(now).into_iter().collect();
        of_subject.retain(|(id, of)| of.subject.as_deref() == Some(subject) && id != kept);
        of_subject.sort_by_key(|(_, of)| of.created);
        let surplus = (of_subject.len() + 1).saturating_sub(most);
        for (id, _) in &of_subject[..surplus] {
            self.end(id, now);
        }
    }

    /// Clears the times at which sessions were created and written.
    pub fn forget_times(&mut self) {
        for session in self.sessions.values_mut() {
            (session.created, session.updated) = (0, 0);
        }
    }

    fn session(&mut self, id: &str) -> &mut Session {
        let session = self.sessions.get_mut(id);
        session.expect("a session that was answered is known")
    }
}

/// The handle of an id, as in listings.
pub fn handle(id: &str) -> String {
    let hash = Sha256::new().chain_update("session-id:").chain_update(id);
    let bytes = hash.finalize();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
