//! Requests that wait together are done together: one call of the component,
//! one transaction, one wait for the disk.

use tokio::sync::mpsc;

use crate::caller::Caller;
use crate::desk::Ticket;
use crate::owner::Replies;
use crate::owner_thread::Command;
use crate::{Error, Request};

/// The most requests of a group, so that nobody waits long for the others.
const MOST_REQUESTS: usize = 256;

/// What one caller wants done in one transaction.
pub(crate) struct Waiting {
    pub(crate) requests: Vec<Request>,
    pub(crate) caller: Caller<Replies>,
    pub(crate) ticket: Ticket,
}

impl Waiting {
    fn answer(self, replies: Result<Replies, Error>) {
        drop(self.ticket);
        self.caller.answer(replies);
    }
}

/// How much memory of the component a group may need, so that requests which it
/// can do one by one do not crash it together.
#[derive(Clone, Copy)]
pub(crate) struct Budget {
    memory: usize,
    largest_payload: usize,
}

impl Budget {
    /// Half of the component's memory; the rest is SQLite's.
    pub(crate) fn new(memory_limit: usize, max_data: u64) -> Self {
        Self {
            memory: memory_limit / 2,
            largest_payload: max_data.try_into().unwrap_or(usize::MAX),
        }
    }

    /// Whether these requests may be done together.
    pub(crate) fn allows(&self, requests: &[Request]) -> bool {
        self.cost(requests) <= self.memory
    }

    /// What requests may need: some copies of each payload, and an answer that
    /// nobody knows the size of before.
    fn cost(&self, requests: &[Request]) -> usize {
        let cost = |request: &Request| {
            let answer = match request {
                Request::Get(_) | Request::Update(_) | Request::Merge(_) => self.largest_payload,
                _ => 0,
            };
            payload(request).saturating_mul(4).saturating_add(answer)
        };
        let costs = requests.iter().map(cost);
        costs.fold(0, usize::saturating_add)
    }
}

/// The length of the payload that a request brings, in bytes.
pub(crate) fn payload(request: &Request) -> usize {
    match request {
        Request::Create((data, ..))
        | Request::Set((_, data, _))
        | Request::Update((_, data, ..)) => data.len(),
        Request::Merge((_, patch, _)) => patch.len(),
        Request::Get(_) | Request::Touch(_) | Request::Rotate(_) | Request::Destroy(_) => 0,
    }
}

/// Takes what waits behind `first` and fits into a group with it, without
/// waiting for more; and the command that came next but is not of the group.
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
        if requests > MOST_REQUESTS || cost > budget.memory {
            return (group, Some(Command::Sessions(waiting)));
        }
        group.push(waiting);
    }
    (group, None)
}

/// Has `batch` do a group as one batch, and gives everybody their replies. If
/// that fails as a whole, nothing of it was done, and each is tried alone: what
/// stops one need not stop the others. After a crash nobody knows what was done.
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
