//! The contract's `sessions` for guests: each function calls the one of [`Sessions`] with
//! the same name.

use std::time::Duration;

use wasmtime::Result;
use wasmtime::component::Resource;

use super::contracts::sessions::{Host, HostStore};
use super::{OpenStore, StoresView};
use crate::contract;
use crate::contract::types::{Milliseconds, Request};
use crate::{Created, Error, NewSession, Outcome, Reply, Session, Sessions, Timestamp};

/// The maximum number of requests in a guest's batch.
const MOST_REQUESTS: usize = 1000;

impl Host for StoresView<'_> {}

impl HostStore for StoresView<'_> {
    async fn open(&mut self, location: String, options: String) -> Result<Resource<OpenStore>> {
        let store = self.stores.open(&location, &options)?;
        let full = |_| Error::Other("this host lets a guest hold no more resources".to_owned());
        Ok(self.table.push(store).map_err(full)?)
    }

    async fn create(
        &mut self,
        store: Resource<OpenStore>,
        data: Vec<u8>,
        ttl: Option<Milliseconds>,
        subject: Option<String>,
    ) -> Result<Created> {
        let sessions = self.sessions(&store)?;
        let ttl = ttl.map(Duration::from_millis);
        let session = NewSession { data, ttl, subject };
        Ok(sessions.create(session).await?)
    }

    async fn get(&mut self, store: Resource<OpenStore>, id: String) -> Result<Option<Session>> {
        Ok(self.sessions(&store)?.get(&id).await?)
    }

    async fn set(
        &mut self,
        store: Resource<OpenStore>,
        id: String,
        data: Vec<u8>,
        ttl: Option<Milliseconds>,
    ) -> Result<Outcome> {
        let ttl = ttl.map(Duration::from_millis);
        Ok(self.sessions(&store)?.set(&id, data, ttl).await?)
    }

    async fn update(
        &mut self,
        store: Resource<OpenStore>,
        id: String,
        data: Vec<u8>,
        ttl: Option<Milliseconds>,
        expected: Option<u64>,
    ) -> Result<Outcome> {
        let sessions = self.sessions(&store)?;
        let ttl = ttl.map(Duration::from_millis);
        Ok(sessions.update(&id, data, ttl, expected).await?)
    }

    async fn merge(
        &mut self,
        store: Resource<OpenStore>,
        id: String,
        patch: String,
        ttl: Option<Milliseconds>,
    ) -> Result<Option<Session>> {
        let ttl = ttl.map(Duration::from_millis);
        Ok(self.sessions(&store)?.merge(&id, &patch, ttl).await?)
    }

    async fn touch(
        &mut self,
        store: Resource<OpenStore>,
        id: String,
        ttl: Option<Milliseconds>,
    ) -> Result<Option<Timestamp>> {
        let ttl = ttl.map(Duration::from_millis);
        Ok(self.sessions(&store)?.touch(&id, ttl).await?)
    }

    async fn rotate(
        &mut self,
        store: Resource<OpenStore>,
        id: String,
        subject: Option<String>,
    ) -> Result<Option<Created>> {
        let sessions = self.sessions(&store)?;
        Ok(sessions.rotate(&id, subject.as_deref()).await?)
    }

    async fn destroy(&mut self, store: Resource<OpenStore>, id: String) -> Result<bool> {
        Ok(self.sessions(&store)?.destroy(&id).await?)
    }

    async fn batch(
        &mut self,
        store: Resource<OpenStore>,
        requests: Vec<Request>,
    ) -> Result<Vec<Result<Reply, contract::Error>>> {
        let sessions = self.sessions(&store)?;
        check(&sessions, &requests)?;
        let replies = sessions.batch_of(requests).await?.into_iter();
        Ok(replies.map(|reply| reply.map_err(Into::into)).collect())
    }

    async fn drop(&mut self, store: Resource<OpenStore>) -> Result<()> {
        self.table.delete(store)?;
        Ok(())
    }
}

/// Refuses a guest's batch that is too large: a batch is one transaction, which takes memory
/// and time from all users of the store.
fn check(sessions: &Sessions, requests: &[Request]) -> Result<(), Error> {
    let count = requests.len();
    if count > MOST_REQUESTS {
        return Err(Error::InvalidArgument(format!(
            "requests: {count} in one batch; this host does at most {MOST_REQUESTS}"
        )));
    }
    // A single request needs no more than its own function would.
    if count > 1 && !sessions.has_room_for(requests) {
        return Err(Error::InvalidArgument(format!(
            "requests: {count} in one batch may take more memory or time than one batch has in \
             this host's store, since each may read or write `maxData` bytes, and a merge \
             parses them; send fewer at a time"
        )));
    }
    Ok(())
}
