//! The commands in the queue of the owner's thread.

use crate::Error;
use crate::contract::types::Request;
use crate::owner::caller::Caller;
use crate::owner::shared::Queued;
use crate::owner::{Owner, Replies};

/// What handles ask of the owner. Requests travel as the contract's `request`,
/// so that those that wait together can be done together.
pub(crate) enum Command {
    Sessions(Waiting),
    Other(Call, Queued),
    /// Wakes the thread after a caller ran a request itself, so that the thread schedules a
    /// collection.
    Active,
}

/// A function to run with the owner, which returns a function that answers the caller.
pub(crate) type Call = Box<dyn FnOnce(&mut Owner) -> Tell + Send>;

/// Answers the caller.
pub(crate) type Tell = Box<dyn FnOnce() + Send>;

/// What one caller wants done in one transaction.
pub(crate) struct Waiting {
    pub(crate) requests: Vec<Request>,
    pub(crate) caller: Caller<Replies>,
    pub(crate) queued: Queued,
}

impl Waiting {
    /// Takes the requests out of the queue's count, and answers their caller.
    pub(crate) fn answer(self, replies: Result<Replies, Error>) {
        drop(self.queued);
        self.caller.answer(replies);
    }
}
