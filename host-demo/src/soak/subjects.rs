//! The expected sessions of subjects, and their comparison with listings, counts and
//! `maxPerSubject`.

use sha2::{Digest, Sha256};
use wasi_sessions::{Entry, Session};

use super::model::Model;
use super::store::MOST_OF_A_SUBJECT;
use crate::ending::ensure;

impl Model {
    /// The live sessions, all or one subject's.
    pub fn of(&self, subject: Option<&str>, now: u64) -> impl Iterator<Item = (&String, &Session)> {
        let is_of = move |of: &Session| subject.is_none() || of.subject.as_deref() == subject;
        let sessions = self.sessions.iter();
        sessions.filter(move |(_, of)| of.expires > now && is_of(of))
    }

    /// The expected listing of all live sessions, or of one subject's.
    pub fn entries(&self, subject: Option<&str>, now: u64) -> impl Iterator<Item = Entry> {
        self.of(subject, now).map(|(id, of)| Entry {
            handle: handle(id),
            subject: of.subject.clone(),
            version: of.version,
            created: of.created,
            updated: of.updated,
            expires: of.expires,
            size: of.data.len() as u64,
        })
    }

    /// Ends a subject's sessions except one; returns how many.
    pub fn end_subject(&mut self, subject: &str, except: Option<&str>, now: u64) -> u64 {
        let others = self.of(Some(subject), now).map(|(id, _)| id);
        let others = others.filter(|id| except != Some(id.as_str()));
        let others: Vec<String> = others.cloned().collect();
        others.iter().filter(|id| self.end(id, now)).count() as u64
    }

    /// Updates the model after the session `newest` was bound to a subject: `found`, a
    /// listing of the subject at the same time, shows which sessions `maxPerSubject` ended.
    /// Fails unless they are the oldest of the others, and as many as necessary. Of sessions
    /// that were created at the same time, any may be ended.
    pub fn limited(
        &mut self,
        subject: &str,
        newest: &str,
        found: Vec<Entry>,
        now: u64,
    ) -> anyhow::Result<()> {
        let others = self.of(Some(subject), now).filter(|(id, _)| *id != newest);
        let others = others.map(|(id, of)| (of.created, id.clone()));
        let (left, ended): (Vec<_>, Vec<_>) = others.partition(|(_, id)| {
            let handle = handle(id);
            found.iter().any(|entry| entry.handle == handle)
        });
        let surplus = (left.len() + ended.len() + 1).saturating_sub(MOST_OF_A_SUBJECT);
        let is_number = ended.len() == surplus;
        ensure(is_number, "the number ended for a subject's limit")?;
        let created = |(created, _): &(u64, String)| *created;
        let (oldest_left, newest_ended) = (
            left.iter().map(created).min(),
            ended.iter().map(created).max(),
        );
        let are_oldest = oldest_left.is_none_or(|oldest| newest_ended <= Some(oldest));
        ensure(
            are_oldest,
            "a newer session was ended for a subject's limit",
        )?;
        for (_, id) in &ended {
            self.end(id, now);
        }
        compare(found, self.entries(Some(subject), now))
    }
}

/// Compares a complete listing, in any order.
pub fn compare(mut found: Vec<Entry>, expected: impl Iterator<Item = Entry>) -> anyhow::Result<()> {
    let mut expected: Vec<Entry> = expected.collect();
    for entries in [&mut found, &mut expected] {
        entries.sort_by(|one, other| one.handle.cmp(&other.handle));
    }
    let handles = |of: &[Entry]| {
        of.iter()
            .map(|entry| entry.handle.clone())
            .collect::<Vec<_>>()
    };
    let are_same = handles(&found) == handles(&expected);
    ensure(are_same, "a listing has other sessions than expected")?;
    ensure(
        found == expected,
        "a session in a listing is not as expected",
    )
}

/// The handle of the session with this id, as listings have it.
pub fn handle(id: &str) -> String {
    let hash = Sha256::new().chain_update("session-id:").chain_update(id);
    let bytes = hash.finalize();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
