//! The expected sessions of a subject, and their comparison with listings, counts and
//! `maxPerSubject`.

use std::collections::BTreeMap;

use wasi_sessions::Entry;

use super::clock::{Moment, Presence, Span};
use super::held::{Held, handle};
use super::model::Model;
use super::store::MOST_OF_A_SUBJECT;
use crate::ending::ensure;

impl Model {
    /// The ids of a subject's sessions.
    fn of_subject(&self, subject: &str) -> Vec<String> {
        let of = |held: &Held| held.subject.as_deref() == Some(subject);
        let sessions = self.sessions.iter().filter(|(_, held)| of(held));
        sessions.map(|(id, _)| id.clone()).collect()
    }

    /// How many sessions a subject has.
    pub fn count(&self, subject: &str, moment: Moment) -> Span {
        let mut count = Span::exactly(0);
        for id in self.of_subject(subject) {
            match self.presence(&id, moment) {
                Presence::Yes => count = count + 1,
                Presence::Maybe => count.most += 1,
                Presence::No => {}
            }
        }
        count
    }

    /// Compares a subject's sessions with a complete listing.
    pub fn listed(&self, subject: &str, entries: &[Entry], moment: Moment) -> anyhow::Result<()> {
        let mut left: BTreeMap<&str, &Entry> = BTreeMap::new();
        for entry in entries {
            let before = left.insert(&entry.handle, entry);
            ensure(before.is_none(), "a session that is listed twice")?;
        }
        for id in self.of_subject(subject) {
            match (
                left.remove(handle(&id).as_str()),
                self.presence(&id, moment),
            ) {
                (Some(_), Presence::No) => ensure(false, "an expired session in a listing")?,
                (None, Presence::Yes) => ensure(false, "a session is missing in a listing")?,
                (Some(entry), _) => self.sessions[&id].check_entry(entry)?,
                (None, _) => {}
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
        moment: Moment,
    ) -> anyhow::Result<()> {
        let mut expected = Span::exactly(0);
        for id in self.of_subject(subject) {
            match self.presence(&id, moment) {
                _ if except == Some(&id) => {}
                Presence::No => {}
                Presence::Yes => {
                    expected = expected + 1;
                    self.end(&id, moment);
                }
                Presence::Maybe => {
                    expected.most += 1;
                    self.doubt(&id);
                }
            }
        }
        ensure(
            expected.has(ended),
            "the number of sessions that were ended",
        )
    }

    /// Updates the model after the session `newest` was bound to a subject: `entries`, a
    /// listing of the subject afterwards, shows which sessions `maxPerSubject` ended. Fails
    /// unless they are the oldest of the others, and no more than necessary.
    pub fn limited(
        &mut self,
        subject: &str,
        newest: &str,
        bound: Moment,
        entries: &[Entry],
        moment: Moment,
    ) -> anyhow::Result<()> {
        let listed = |id: &str| {
            let handle = handle(id);
            entries.iter().find(|entry| entry.handle == handle)
        };
        let (mut most_before, mut left, mut ended) = (0, 0, Vec::new());
        let mut oldest_left = u64::MAX;
        for id in self.of_subject(subject) {
            let (before, now) = (self.presence(&id, bound), self.presence(&id, moment));
            most_before += usize::from(before != Presence::No);
            match (listed(&id), before, now) {
                (Some(entry), Presence::Yes, _) => {
                    left += 1;
                    if id != newest {
                        oldest_left = oldest_left.min(entry.created);
                    }
                }
                (None, Presence::Yes, Presence::Yes) => ended.push(id),
                (None, Presence::Yes | Presence::Maybe, _) => self.doubt(&id),
                _ => {}
            }
        }
        ensure(
            left <= MOST_OF_A_SUBJECT,
            "more sessions than one subject may have",
        )?;
        let surplus = most_before.saturating_sub(MOST_OF_A_SUBJECT);
        ensure(
            ended.len() <= surplus,
            "too many sessions ended for a subject's limit",
        )?;
        for id in &ended {
            let is_older = self.sessions[id].created.least <= oldest_left;
            ensure(is_older, "a newer session was ended for a subject's limit")?;
            self.end(id, bound);
        }
        self.listed(subject, entries, moment)
    }
}
