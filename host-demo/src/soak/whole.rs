//! Compares the whole store while no client uses it: after it was opened, before it is
//! closed, and in copies.

use std::collections::BTreeSet;

use anyhow::Context;
use wasi_sessions::Sessions;

use super::client::{Client, listing};
use super::operator::is_sound;
use super::shared::SharedIds;
use super::store::Store;
use super::subjects::{self, handle};
use crate::caller::Caller;
use crate::ending::ensure;

/// The number of sessions in a page of a listing.
const PAGE: u32 = 500;

/// Compares the store, collects all garbage, and compares it again.
pub async fn compare(sessions: &Sessions, store: &Store, clients: &[Client]) -> anyhow::Result<()> {
    let clock = store.clock.stop().await;
    is_sound(sessions)?;
    compare_sessions(sessions, clock.now, clients, &store.shared).await?;
    sessions.collect_all().await.context("collect")?;
    let stats = sessions.stats().await.context("stats")?;
    ensure(stats.expired == 0, "garbage is left after a collection")?;
    is_sound(sessions)?;
    let compared = compare_sessions(sessions, clock.now, clients, &store.shared).await;
    compared.context("after a collection")
}

/// Compares each session with the models of the clients, and fails if there are others.
async fn compare_sessions(
    sessions: &Sessions,
    now: u64,
    clients: &[Client],
    shared: &SharedIds,
) -> anyhow::Result<()> {
    for client in clients {
        let number = client.number;
        let compared = client.compare(sessions, now).await;
        compared.with_context(|| format!("of client {number}"))?;
    }
    let known: Vec<u64> = shared.known().collect();
    shared.compare(sessions, &known)?;
    // A request that was dropped may have started a session that was read first now.
    let known = shared.known().enumerate();
    let started = known.filter(|(_, version)| *version > 0);
    let started: BTreeSet<String> = started
        .map(|(place, _)| handle(&SharedIds::id(place)))
        .collect();

    let entries = listing(sessions, Caller::Task, None, PAGE).await?;
    let listed = entries.len() as u64;
    let (of_shared, own): (Vec<_>, Vec<_>) = entries
        .into_iter()
        .partition(|entry| started.contains(&entry.handle));
    let are_listed = of_shared.len() == started.len();
    ensure(are_listed, "the shared sessions in the listing")?;
    let models = clients.iter().map(|client| &client.model);
    let expected = models.flat_map(|model| model.entries(None, now));
    subjects::compare(own, expected)?;
    let count = sessions.count_sessions(None).await;
    let is_count = count.context("count-sessions")? == listed;
    ensure(is_count, "the number of sessions")?;
    let stats = sessions.stats().await.context("stats")?;
    ensure(stats.live == listed, "the live sessions in the statistics")
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
