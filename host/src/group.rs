//! Requests that wait together are done together: one call of the component,
//! one transaction, one wait for the disk.

use tokio::sync::{mpsc, oneshot};

use crate::owner::{Command, Replies};
use crate::{Error, Request};

/// The most requests of a group, so that nobody waits long for the others.
const MOST_REQUESTS: usize = 256;

/// The most bytes of payload in a group: a request that is large enough to be
/// too much for the component is on its own.
const MOST_BYTES: usize = 1 << 20;

/// What one caller wants done in one transaction.
pub(crate) struct Waiting {
    pub(crate) requests: Vec<Request>,
    pub(crate) reply: oneshot::Sender<Result<Replies, Error>>,
}

impl Waiting {
    fn bytes(&self) -> usize {
        self.requests.iter().map(payload).sum()
    }

    /// Whoever no longer waits for an answer misses it.
    fn answer(self, replies: Result<Replies, Error>) {
        let _ = self.reply.send(replies);
    }
}

fn payload(request: &Request) -> usize {
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
    commands: &mut mpsc::Receiver<Command>,
) -> (Vec<Waiting>, Option<Command>) {
    let mut requests = first.requests.len();
    let mut bytes = first.bytes();
    let mut group = vec![first];
    while let Ok(command) = commands.try_recv() {
        let Command::Sessions(waiting) = command else {
            return (group, Some(command));
        };
        requests += waiting.requests.len();
        bytes += waiting.bytes();
        if requests > MOST_REQUESTS || bytes > MOST_BYTES {
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
