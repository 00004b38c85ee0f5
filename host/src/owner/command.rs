//! The commands in the queue of the owner's thread.

use crate::Error;
use crate::contract::types::Request;
use crate::owner::caller::Caller;
use crate::owner::permits::Queued;
use crate::owner::{Owner, Replies};

/// A command from a handle to the owner. Requests keep the contract's type `request`, so
/// that waiting ones can be joined into one batch.
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

/// The requests of one caller, to be run in one transaction.
pub(crate) struct Waiting {
    pub(crate) requests: Vec<Request>,
    pub(crate) caller: Caller<Replies>,
    pub(crate) queued: Queued,
}

impl Waiting {
    /// Stops counting the requests as waiting, and answers their caller.
    pub(crate) fn answer(self, replies: Result<Replies, Error>) {
        drop(self.queued);
        self.caller.answer(replies);
    }
}
