//! Many requests in one transaction. It takes two round trips, one for the requests and one
//! for the commit, and one more for each request that sends a second statement.

use crate::failure::Failure;
use crate::operations::Operations;
use crate::pipeline::{Sending, in_order};
use std::mem;
use wasi_sessions_rules::batch::{hash_of, hashes_to_lock, replies_to_reads};
use wasi_sessions_rules::error::Error;
use wasi_sessions_rules::id::IdHash;
use wasi_sessions_rules::types::{
    CreateRequest, DestroyRequest, Effect, GetRequest, MergeRequest, Replies, Reply, Request,
    RotateRequest, SetRequest, TouchRequest, UpdateRequest,
};

/// A statement of the transaction, without a reply, or a request with its reply.
type Step<'a> = Sending<'a, Result<Option<Result<Reply, Error>>, Failure>>;

impl Operations<'_> {
    /// Runs all requests in one transaction, in order. A refused one has its error as its
    /// reply; any other failure rolls back all of them.
    pub async fn batch(&self, requests: &[Request]) -> Result<Replies, Failure> {
        if requests.iter().all(|one| one.effect() == Effect::Reads) {
            return self.read_all(requests).await;
        }
        let hashes = hashes_to_lock(requests);
        let keys: Vec<&[u8]> = hashes.iter().map(|hash| hash.0.as_slice()).collect();
        let mut replies = vec![];
        let mut steps: Vec<Step> = vec![self.command("BEGIN")];
        // Locks the rows in a fixed order: batches that write the same sessions in different
        // orders would deadlock.
        if keys.len() > 1 {
            steps.push(Box::pin(async {
                self.client
                    .query(&self.statements.lock_rows, &[&keys])
                    .await?;
                Ok(None)
            }));
        }
        for request in requests {
            steps.push(Box::pin(async {
                match self.apply(request).await {
                    Err(Failure::Final(error)) if error.is_refusal() => Ok(Some(Err(error))),
                    done => done.map(|reply| Some(Ok(reply))),
                }
            }));
            // The next request must not be sent before the last statement of this one.
            if has_two_statements(request) {
                let done = finish(mem::take(&mut steps), &mut replies).await;
                self.undo_failed(done).await?;
            }
        }
        let done = finish(steps, &mut replies).await;
        self.undo_failed(done).await?;
        self.client.batch_execute("COMMIT").await?;
        Ok(replies)
    }

    fn command<'a>(&'a self, text: &'static str) -> Step<'a> {
        Box::pin(async move {
            self.client.batch_execute(text).await?;
            Ok(None)
        })
    }

    /// Rolls the transaction back after a failure. A failure of the rollback is ignored:
    /// the first one says more, and the next use of the connection notices.
    async fn undo_failed(&self, done: Result<(), Failure>) -> Result<(), Failure> {
        if done.is_err() {
            let _ = self.client.batch_execute("ROLLBACK").await;
        }
        done
    }

    /// Answers requests that only read, from one snapshot.
    async fn read_all(&self, requests: &[Request]) -> Result<Replies, Failure> {
        let wanted: Vec<IdHash> = requests.iter().filter_map(hash_of).collect();
        let found = match wanted.is_empty() {
            true => vec![],
            false => self.find_many(&wanted).await?,
        };
        Ok(replies_to_reads(requests, found))
    }

    async fn apply(&self, request: &Request) -> Result<Reply, Failure> {
        Ok(match request {
            Request::Create(CreateRequest { data, ttl, subject }) => {
                Reply::Created(self.create(data, *ttl, subject.as_deref()).await?)
            }
            Request::Get(GetRequest { id }) => Reply::Session(self.get(id).await?),
            Request::Set(SetRequest { id, data, ttl }) => {
                Reply::Outcome(self.set(id, data, *ttl).await?)
            }
            Request::Update(UpdateRequest {
                id,
                data,
                ttl,
                expected,
            }) => Reply::Outcome(self.update(id, data, *ttl, *expected).await?),
            Request::Merge(MergeRequest { id, patch, ttl }) => {
                Reply::Session(self.merge(id, patch, *ttl).await?)
            }
            Request::Touch(TouchRequest { id, ttl }) => Reply::Expires(self.touch(id, *ttl).await?),
            Request::Rotate(RotateRequest { id, subject }) => {
                Reply::Rotated(self.rotate(id, subject.as_deref()).await?)
            }
            Request::Destroy(DestroyRequest { id }) => Reply::Destroyed(self.destroy(id).await?),
        })
    }
}

/// Sends the steps and adds their replies. Returns the first failure, which caused the
/// others.
async fn finish(steps: Vec<Step<'_>>, replies: &mut Replies) -> Result<(), Failure> {
    for answer in in_order(steps).await {
        replies.extend(answer?);
    }
    Ok(())
}

/// Whether a request may send a second statement after the answer to its first.
fn has_two_statements(request: &Request) -> bool {
    match request {
        Request::Merge(_) => true,
        Request::Touch(TouchRequest { ttl, .. }) => ttl.is_none(),
        Request::Update(UpdateRequest { expected, .. }) => *expected == Some(0),
        Request::Create(_)
        | Request::Get(_)
        | Request::Set(_)
        | Request::Rotate(_)
        | Request::Destroy(_) => false,
    }
}
