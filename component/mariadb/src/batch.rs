//! Many requests in one transaction. Each takes the round trips that it takes alone: the
//! protocol has no pipeline.

use crate::failure::Failure;
use crate::link::hash;
use crate::operations::{Operations, session};
use std::collections::BTreeSet;
use wasi_sessions_rules::batch::{hash_of, hashes_to_lock, replies_to_reads};
use wasi_sessions_rules::id::IdHash;
use wasi_sessions_rules::types::{
    CreateRequest, DestroyRequest, Effect, GetRequest, MergeRequest, Replies, Reply, Request,
    RotateRequest, SetRequest, TouchRequest, UpdateRequest,
};

/// The most rows that one statement locks: of many more, MySQL would read the whole table.
const MOST_LOCKED: usize = 500;

impl Operations<'_> {
    /// Does all requests in one transaction, in order. A refused one has its error as its
    /// reply; any other failure undoes all of them.
    pub async fn batch(&mut self, requests: &[Request]) -> Result<Replies, Failure> {
        match requests {
            [request] if !self.needs_transaction(request) => {
                Ok(vec![refused(self.apply(request).await)?])
            }
            _ if requests.iter().all(|one| one.effect() == Effect::Reads) => {
                self.read_all(requests).await
            }
            _ => self.write_all(requests).await,
        }
    }

    /// Whether a request is more than one statement, of which all or none must be done.
    pub fn needs_transaction(&self, request: &Request) -> bool {
        match request {
            Request::Rotate(_) => true,
            Request::Create(_) => self.limited_subject(request).is_some(),
            _ => false,
        }
    }

    async fn write_all(&mut self, requests: &[Request]) -> Result<Replies, Failure> {
        // Every batch locks subjects before rows, so that two batches do not deadlock.
        let subjects: BTreeSet<&str> = requests
            .iter()
            .filter_map(|one| self.limited_subject(one))
            .collect();
        let done = self.write_locked(&subjects, requests).await;
        if !subjects.is_empty() {
            self.link.unlock().await;
        }
        done
    }

    async fn write_locked(
        &mut self,
        subjects: &BTreeSet<&str>,
        requests: &[Request],
    ) -> Result<Replies, Failure> {
        let wait = self.rules.options.sync_timeout;
        for subject in subjects {
            let kind = &self.statements.table;
            self.link.lock(kind, subject, wait).await?;
        }
        self.link.begin().await?;
        match self.apply_all(requests).await {
            Ok(replies) => {
                self.link.commit().await?;
                Ok(replies)
            }
            Err(failure) => {
                self.link.undo().await;
                Err(failure)
            }
        }
    }

    async fn apply_all(&mut self, requests: &[Request]) -> Result<Replies, Failure> {
        // Batches that write the same sessions in different orders would deadlock.
        let hashes = hashes_to_lock(requests);
        if hashes.len() > 1 {
            for some in hashes.chunks(MOST_LOCKED) {
                self.link.query(&self.statements.lock_rows(some)).await?;
            }
        }
        let mut replies = vec![];
        for request in requests {
            replies.push(refused(self.apply(request).await)?);
        }
        Ok(replies)
    }

    /// Answers requests that only read, from one snapshot.
    async fn read_all(&mut self, requests: &[Request]) -> Result<Replies, Failure> {
        let wanted: Vec<IdHash> = requests.iter().filter_map(hash_of).collect();
        let mut found = vec![];
        if !wanted.is_empty() {
            let text = self.statements.find_many(&wanted, self.now());
            for mut row in self.link.query(&text).await? {
                found.push((hash(&mut row, 0)?, session(&mut row, 1)?));
            }
        }
        Ok(replies_to_reads(requests, found))
    }

    async fn apply(&mut self, request: &Request) -> Result<Reply, Failure> {
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

/// A refusal as the reply to its request; any other failure unchanged.
fn refused(
    done: Result<Reply, Failure>,
) -> Result<Result<Reply, wasi_sessions_rules::error::Error>, Failure> {
    match done {
        Err(Failure::Final(error)) if error.is_refusal() => Ok(Err(error)),
        done => done.map(Ok),
    }
}
