//! Group commit: waiting requests of several callers run in one call of the component and
//! one transaction, and share its fsync.

use crate::Error;
use crate::contract::types::Request;
use crate::owner::Replies;
use crate::owner::command::{Command, Waiting};
use crate::sync::mpsc;

#[cfg(test)]
pub(crate) mod tests;

/// If at least this many callers wait together, tasks queue their requests instead of running
/// them.
pub(crate) const CROWD: usize = 4;

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

    /// What these requests cost together.
    pub(crate) fn cost(&self, requests: &[Request]) -> usize {
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

/// Callers whose requests run as one batch.
pub(crate) struct Group {
    budget: Budget,
    cost: usize,
    requests: Vec<Request>,
    /// The callers, whose requests were moved into `requests`, and how many each has.
    callers: Vec<(Waiting, usize)>,
}

impl Group {
    /// A group of one caller.
    pub(crate) fn of(first: Waiting, budget: &Budget) -> Self {
        let mut group = Self {
            budget: *budget,
            cost: 0,
            requests: vec![],
            callers: vec![],
        };
        group.add(first);
        group
    }

    /// Takes from the queue the commands that fit into the group, without waiting for more.
    /// Returns the command taken next if it does not belong to the group.
    pub(crate) fn gather(
        &mut self,
        commands: &mut mpsc::UnboundedReceiver<Command>,
    ) -> Option<Command> {
        while let Ok(command) = commands.try_recv() {
            match command {
                Command::Sessions(waiting) if self.has_room_for(&waiting) => self.add(waiting),
                other => return Some(other),
            }
        }
        None
    }

    /// Whether the requests of one more caller fit into the group.
    pub(crate) fn has_room_for(&self, waiting: &Waiting) -> bool {
        let cost = self.budget.cost(&waiting.requests);
        self.requests.len() + waiting.requests.len() <= MOST_REQUESTS
            && self.cost.saturating_add(cost) <= self.budget.most
    }

    /// Adds a caller, which must fit unless it is the first.
    pub(crate) fn add(&mut self, mut waiting: Waiting) {
        self.cost = self
            .cost
            .saturating_add(self.budget.cost(&waiting.requests));
        let count = waiting.requests.len();
        self.requests.append(&mut waiting.requests);
        self.callers.push((waiting, count));
    }

    /// The number of callers.
    pub(crate) fn len(&self) -> usize {
        self.callers.len()
    }

    /// All requests, in order.
    pub(crate) fn requests(&self) -> &[Request] {
        &self.requests
    }

    /// Gives each caller its replies, or the error of the batch. If the batch failed as a
    /// whole for a reason that may concern only one caller, it changed nothing; then the
    /// callers are returned, and each caller's requests are to be retried alone.
    pub(crate) fn answer(self, done: Result<Replies, Error>) -> Vec<Waiting> {
        match done {
            Ok(replies) => {
                let mut replies = replies.into_iter();
                for (caller, count) in self.callers {
                    caller.answer(Ok(replies.by_ref().take(count).collect()));
                }
                vec![]
            }
            Err(error) if self.callers.len() == 1 || concerns_all(&error) => {
                for (caller, _) in self.callers {
                    caller.answer(Err(error.clone()));
                }
                vec![]
            }
            Err(_) => {
                let mut requests = self.requests.into_iter();
                let callers = self.callers.into_iter();
                callers
                    .map(|(mut caller, count)| {
                        caller.requests = requests.by_ref().take(count).collect();
                        caller
                    })
                    .collect()
            }
        }
    }
}

/// Whether an error fails all requests of a group without a retry: their outcome is unknown,
/// or each retry would wait in vain for as long as the group did.
fn concerns_all(error: &Error) -> bool {
    matches!(
        error,
        Error::Crashed
            | Error::Closed
            | Error::Busy
            | Error::UnknownOutcome(_)
            | Error::Unreachable { .. }
    )
}
