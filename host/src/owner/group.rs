//! Group commit: waiting requests of several callers run in one call of the component and
//! one transaction, and share its fsync.

use crate::Error;
use crate::contract::types::Request;
use crate::owner::Replies;
use crate::owner::command::{Command, Waiting};
use crate::sync::mpsc;

#[cfg(test)]
mod tests;

/// The maximum number of requests in a group, so that none waits long for the others.
const MOST_REQUESTS: usize = 256;

/// The budget of one transaction. It keeps a group within the component's memory, and
/// bounds the time for which other callers wait.
///
/// The cost of a request is the number of bytes that it may read, copy and write,
/// weighted by the memory and the time that they take. The size of the stored payload is
/// not known in advance, so the largest possible one is assumed.
#[derive(Clone, Copy)]
pub(crate) struct Budget {
    most: usize,
    largest_payload: usize,
}

/// The maximum cost of a transaction, however much memory there is. A transaction of this
/// cost takes a few tenths of a second with the largest payloads; merges of tiny members
/// are the slowest.
const MOST_COST: usize = 128 << 20;

/// The memory that the component needs apart from requests and answers, in bytes:
/// SQLite's full page cache of 16 MiB, and the copies of one payload.
const SQLITE: usize = 24 << 20;

/// The cost of a request apart from payloads.
const SMALL_COST: usize = 16 << 10;

impl Budget {
    /// The budget is the memory that SQLite leaves, and at most half of all memory. It is
    /// at least an eighth, so that small requests are grouped even if SQLite leaves almost
    /// nothing.
    pub(crate) fn new(memory_limit: usize, max_data: u64) -> Self {
        let left = memory_limit.saturating_sub(SQLITE).max(memory_limit / 8);
        Self {
            most: left.min(memory_limit / 2).min(MOST_COST),
            largest_payload: max_data.try_into().unwrap_or(usize::MAX),
        }
    }

    /// Whether these requests may share a transaction.
    pub(crate) fn allows(&self, requests: &[Request]) -> bool {
        self.cost(requests) <= self.most
    }

    fn cost(&self, requests: &[Request]) -> usize {
        let costs = requests.iter().map(|request| self.cost_of(request));
        costs.fold(0, usize::saturating_add)
    }

    fn cost_of(&self, request: &Request) -> usize {
        let weights = request.weights();
        let brought = request.payload().len().saturating_mul(weights.brought);
        let stored = self.largest_payload.saturating_mul(weights.stored);
        brought.saturating_add(stored).saturating_add(SMALL_COST)
    }
}

/// Takes from the queue the commands that fit into a group with `first`, without waiting
/// for more. Also returns the command taken next if it does not belong to the group.
pub(crate) fn gather(
    first: Waiting,
    commands: &mut mpsc::UnboundedReceiver<Command>,
    budget: &Budget,
) -> (Vec<Waiting>, Option<Command>) {
    let mut requests = first.requests.len();
    let mut cost = budget.cost(&first.requests);
    let mut group = vec![first];
    while let Ok(command) = commands.try_recv() {
        let Command::Sessions(waiting) = command else {
            return (group, Some(command));
        };
        requests += waiting.requests.len();
        cost = cost.saturating_add(budget.cost(&waiting.requests));
        if requests > MOST_REQUESTS || cost > budget.most {
            return (group, Some(Command::Sessions(waiting)));
        }
        group.push(waiting);
    }
    (group, None)
}

/// Runs a group as one batch, and gives each caller its replies. If the batch fails as a
/// whole, it changed nothing, and each caller's requests are retried alone, since the cause
/// may concern only one caller. After a crash the outcome is unknown, so nothing is retried.
pub(crate) fn answer(
    mut group: Vec<Waiting>,
    mut batch: impl FnMut(&[Request]) -> Result<Replies, Error>,
) {
    let sizes: Vec<usize> = group.iter().map(|waiting| waiting.requests.len()).collect();
    let mut all = Vec::with_capacity(sizes.iter().sum());
    for waiting in &mut group {
        all.append(&mut waiting.requests);
    }
    match batch(&all) {
        Ok(replies) => {
            let mut replies = replies.into_iter();
            for (waiting, size) in group.into_iter().zip(sizes) {
                waiting.answer(Ok(replies.by_ref().take(size).collect()));
            }
        }
        Err(error) if group.len() == 1 || error == Error::Crashed => {
            for waiting in group {
                waiting.answer(Err(error.clone()));
            }
        }
        Err(_) => {
            let mut all = all.into_iter();
            for (waiting, size) in group.into_iter().zip(sizes) {
                let own: Vec<Request> = all.by_ref().take(size).collect();
                waiting.answer(batch(&own));
            }
        }
    }
}
