//! The expected sessions of a subject, and their comparison with listings, counts and
//! `maxPerSubject`.

use std::collections::BTreeMap;

use wasi_sessions::Entry;

use super::held::{Held, handle};
use super::model::Model;
use super::store::MOST_OF_A_SUBJECT;
use crate::ending::ensure;

impl Model {
    /// The live sessions of a subject.
    fn of_subject(&self, subject: &str, now: u64) -> impl Iterator<Item = (&String, &Held)> {
        let is_of = move |held: &Held| held.subject.as_deref() == Some(subject);
        let sessions = self.sessions.iter();
        sessions.filter(move |(_, held)| held.expires > now && is_of(held))
    }

    /// How many sessions a subject has.
    pub fn count(&self, subject: &str, now: u64) -> u64 {
        self.of_subject(subject, now).count() as u64
    }

    /// Compares a subject's sessions with a complete listing.
    pub fn listed(&self, subject: &str, entries: &[Entry], now: u64) -> anyhow::Result<()> {
        let mut left: BTreeMap<&str, &Entry> = BTreeMap::new();
        for entry in entries {
            let before = left.insert(&entry.handle, entry);
            ensure(before.is_none(), "a session that is listed twice")?;
        }
        for (id, held) in self.of_subject(subject, now) {
            match left.remove(handle(id).as_str()) {
                Some(entry) => held.check_entry(entry)?,
                None => ensure(false, "a session is missing in a listing")?,
            }
        }
        ensure(left.is_empty(), "an unknown session in a listing")
    }

    /// Compares the number of a subject's sessions that were ended, and updates the model.
    pub fn ended_subject(
        &mut self,
        subject: &str,
        except: Option<&str>,
        ended: u64,
        now: u64,
    ) -> anyhow::Result<()> {
        let others = self.of_subject(subject, now);
        let others = others.filter(|(id, _)| except != Some(id.as_str()));
        let expected: Vec<String> = others.map(|(id, _)| id.clone()).collect();
        for id in &expected {
            self.end(id, now);
        }
        let is_right = ended == expected.len() as u64;
        ensure(is_right, "the number of sessions that were ended")
    }

    /// Updates the model after the session `newest` was bound to a subject: `entries`, a
    /// listing of the subject at the same time, shows which sessions `maxPerSubject` ended.
    /// Fails unless they are the oldest of the others, and as many as necessary.
    pub fn limited(
        &mut self,
        subject: &str,
        newest: &str,
        entries: &[Entry],
        now: u64,
    ) -> anyhow::Result<()> {
        let is_listed = |id: &str| {
            let handle = handle(id);
            entries.iter().any(|entry| entry.handle == handle)
        };
        let others = self.of_subject(subject, now);
        let others = others.filter(|(id, _)| *id != newest);
        let (left, ended): (Vec<_>, Vec<_>) = others.partition(|(id, _)| is_listed(id));
        let surplus = (left.len() + ended.len() + 1).saturating_sub(MOST_OF_A_SUBJECT);
        let is_number = ended.len() == surplus;
        ensure(is_number, "the number ended for a subject's limit")?;
        let oldest_left = left.iter().map(|(_, held)| held.created).min();
        let newest_ended = ended.iter().map(|(_, held)| held.created).max();
        let are_oldest = oldest_left.is_none_or(|oldest| newest_ended <= Some(oldest));
        ensure(
            are_oldest,
            "a newer session was ended for a subject's limit",
        )?;
        let ended: Vec<String> = ended.into_iter().map(|(id, _)| id.clone()).collect();
        for id in &ended {
            self.end(id, now);
        }
        self.listed(subject, entries, now)
    }
}
