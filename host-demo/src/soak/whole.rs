//! Compares the whole store while no client uses it: after it was opened, before it is
//! closed, and in copies.

use std::collections::BTreeSet;

use anyhow::Context;
use wasi_sessions::Sessions;

use super::client::Client;
use super::clock::{Clock, Presence, Span};
use super::held::handle;
use super::operator::is_sound;
use super::shared::SharedIds;
use crate::ending::ensure;

/// The number of sessions in a page of a listing.
const PAGE: u32 = 500;

/// Compares the store, collects all garbage, and compares it again. The clock must not move
/// meanwhile.
pub fn compare(
    sessions: &Sessions,
    clock: &Clock,
    clients: &mut [Client],
    shared: &SharedIds,
) -> anyhow::Result<()> {
    is_sound(sessions)?;
    compare_sessions(sessions, clock, clients, shared)?;
    sessions.collect_all().wait().context("collect")?;
    let stats = sessions.stats().wait().context("stats")?;
    ensure(stats.expired == 0, "garbage is left after a collection")?;
    is_sound(sessions)?;
    let compared = compare_sessions(sessions, clock, clients, shared);
    compared.context("after a collection")
}

/// Compares each session with the models of the clients, and fails if there are others.
fn compare_sessions(
    sessions: &Sessions,
    clock: &Clock,
    clients: &mut [Client],
    shared: &SharedIds,
) -> anyhow::Result<()> {
    for client in &mut *clients {
        let number = client.number;
        let compared = client.compare(sessions, clock);
        compared.with_context(|| format!("of client {number}"))?;
    }
    let known: Vec<u64> = shared.known().collect();
    shared.compare(sessions, &known)?;
    // A request that was dropped may have started a session that was read first now.
    let known = shared.known();

    let begun = clock.begin();
    let listed = listed(sessions)?;
    let stats = sessions.stats().wait().context("stats")?;
    let count = sessions.count_sessions(None).wait();
    let count = count.context("count-sessions")?;
    let moment = clock.since(begun);
    let (mut left, mut expected) = (listed, Span::exactly(0));
    for (place, _) in known.enumerate().filter(|(_, version)| *version > 0) {
        let is_listed = left.remove(&handle(&SharedIds::id(place)));
        ensure(is_listed, "a shared session is missing in the listing")?;
        expected = expected + 1;
    }
    let held = clients.iter().flat_map(|client| &client.model.sessions);
    for (id, held) in held {
        let is_listed = left.remove(&handle(id));
        match held.presence(moment) {
            Presence::Yes => {
                ensure(is_listed, "a session is missing in the listing")?;
                expected = expected + 1;
            }
            Presence::Maybe => expected.most += 1,
            Presence::No => ensure(!is_listed, "an expired session in the listing")?,
        }
    }
    ensure(left.is_empty(), "an unknown session in the listing")?;
    ensure(expected.has(count), "the number of sessions")?;
    ensure(
        expected.has(stats.live),
        "the live sessions in the statistics",
    )
}

/// Ends all sessions of a store that no client uses.
pub fn clear(sessions: &Sessions) -> anyhow::Result<()> {
    let count = || sessions.count_sessions(None).wait();
    let before = count().context("count-sessions")?;
    let ended = sessions.clear().wait().context("clear")?;
    ensure(ended == before, "the number of sessions that were cleared")?;
    let left = count().context("count-sessions")?;
    ensure(left == 0, "a session is left after all were cleared")
}

/// The handles of all sessions.
fn listed(sessions: &Sessions) -> anyhow::Result<BTreeSet<String>> {
    let (mut handles, mut cursor) = (BTreeSet::new(), None::<String>);
    loop {
        let page = sessions.list_sessions(None, cursor.as_deref(), PAGE);
        let page = page.wait().context("list-sessions")?;
        for entry in page.entries {
            ensure(
                handles.insert(entry.handle),
                "a session that is listed twice",
            )?;
        }
        cursor = page.next;
        if cursor.is_none() {
            return Ok(handles);
        }
    }
}
