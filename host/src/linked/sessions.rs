//! The contract's `sessions`, as a guest calls it and as the handle answers.

use wasmtime::component::Resource;

use super::contracts::sessions::{self as guest, Host, HostStore};
use super::{OpenStore, StoresView, told};
use crate::sandbox::instance::contract::Error;
use crate::{
    Created, Milliseconds, Outcome, Reply, Request, Session, Sessions, Timestamp, Written,
};

/// The most requests of a guest's batch.
const MOST_REQUESTS: usize = 1000;

/// The outer error traps the guest; the inner one is the contract's.
type Answered<T> = wasmtime::Result<Result<T, Error>>;

impl Host for StoresView<'_> {}

impl HostStore for StoresView<'_> {
    async fn open(&mut self, location: String, options: String) -> Answered<Resource<OpenStore>> {
        let opened = self.stores.open(&location, &options);
        match told::<OpenStore, OpenStore>(opened) {
            Ok(store) => Ok(Ok(self.table.push(store)?)),
            Err(error) => Ok(Err(error)),
        }
    }

    async fn create(
        &mut self,
        store: Resource<OpenStore>,
        data: Vec<u8>,
        ttl: Option<Milliseconds>,
        subject: Option<String>,
    ) -> Answered<guest::Created> {
        let sessions = self.sessions(&store)?;
        Ok(told(sessions.create(data, ttl, subject.as_deref()).await))
    }

    async fn get(&mut self, store: Resource<OpenStore>, id: String) -> Answered<Option<Session>> {
        Ok(told(self.sessions(&store)?.get(&id).await))
    }

    async fn set(
        &mut self,
        store: Resource<OpenStore>,
        id: String,
        data: Vec<u8>,
        ttl: Option<Milliseconds>,
    ) -> Answered<guest::Outcome> {
        Ok(told(self.sessions(&store)?.set(&id, data, ttl).await))
    }

    async fn update(
        &mut self,
        store: Resource<OpenStore>,
        id: String,
        data: Vec<u8>,
        ttl: Option<Milliseconds>,
        expected: Option<u64>,
    ) -> Answered<guest::Outcome> {
        let sessions = self.sessions(&store)?;
        Ok(told(sessions.update(&id, data, ttl, expected).await))
    }

    async fn merge(
        &mut self,
        store: Resource<OpenStore>,
        id: String,
        patch: String,
        ttl: Option<Milliseconds>,
    ) -> Answered<Option<Session>> {
        Ok(told(self.sessions(&store)?.merge(&id, &patch, ttl).await))
    }

    async fn touch(
        &mut self,
        store: Resource<OpenStore>,
        id: String,
        ttl: Option<Milliseconds>,
    ) -> Answered<Option<Timestamp>> {
        Ok(told(self.sessions(&store)?.touch(&id, ttl).await))
    }

    async fn rotate(
        &mut self,
        store: Resource<OpenStore>,
        id: String,
        subject: Option<String>,
    ) -> Answered<Option<guest::Created>> {
        let rotated = self.sessions(&store)?.rotate(&id, subject.as_deref()).await;
        Ok(told(
            rotated.map(|created| created.map(guest::Created::from)),
        ))
    }

    async fn destroy(&mut self, store: Resource<OpenStore>, id: String) -> Answered<bool> {
        Ok(told(self.sessions(&store)?.destroy(&id).await))
    }

    async fn batch(
        &mut self,
        store: Resource<OpenStore>,
        requests: Vec<guest::Request>,
    ) -> Answered<Vec<Result<guest::Reply, Error>>> {
        let sessions = self.sessions(&store)?;
        let requests: Vec<Request> = requests.into_iter().map(Request::from).collect();
        if let Some(reason) = refusal(&sessions, &requests) {
            return Ok(Err(Error::InvalidArgument(reason)));
        }
        let replies = sessions.batch(requests).await;
        let each = |replies: Vec<_>| replies.into_iter().map(told).collect::<Vec<_>>();
        Ok(told(replies.map(each)))
    }

    async fn drop(&mut self, store: Resource<OpenStore>) -> wasmtime::Result<()> {
        self.table.delete(store)?;
        Ok(())
    }
}

/// Why a guest's batch is refused, if it is. A batch is one transaction, which
/// takes memory and time from all users of the store.
fn refusal(sessions: &Sessions, requests: &[Request]) -> Option<String> {
    let count = requests.len();
    if count > MOST_REQUESTS {
        return Some(format!(
            "requests: {count} in one batch; this host does at most {MOST_REQUESTS}"
        ));
    }
    // One alone needs no more than its own function would.
    if count > 1 && !sessions.has_room_for(requests) {
        return Some(format!(
            "requests: {count} in one batch may take more memory or time than one batch has in \
             this host's store, since each may read or write `maxData` bytes, and a merge \
             parses them; send fewer at a time"
        ));
    }
    None
}

impl From<Created> for guest::Created {
    fn from(created: Created) -> Self {
        let Created {
            id,
            version,
            expires,
        } = created;
        Self {
            id,
            version,
            expires,
        }
    }
}

impl From<Outcome> for guest::Outcome {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Written(Written { version, expires }) => {
                Self::Written(guest::Written { version, expires })
            }
            Outcome::Stale(session) => Self::Stale(session),
            Outcome::Gone => Self::Gone,
        }
    }
}

impl From<guest::Request> for Request {
    fn from(request: guest::Request) -> Self {
        match request {
            guest::Request::Create(create) => Self::Create(create),
            guest::Request::Get(get) => Self::Get(get),
            guest::Request::Set(set) => Self::Set(set),
            guest::Request::Update(update) => Self::Update(update),
            guest::Request::Merge(merge) => Self::Merge(merge),
            guest::Request::Touch(touch) => Self::Touch(touch),
            guest::Request::Rotate(rotate) => Self::Rotate(rotate),
            guest::Request::Destroy(destroy) => Self::Destroy(destroy),
        }
    }
}

impl From<Reply> for guest::Reply {
    fn from(reply: Reply) -> Self {
        match reply {
            Reply::Created(created) => Self::Created(created.into()),
            Reply::Session(session) => Self::Session(session),
            Reply::Outcome(outcome) => Self::Outcome(outcome.into()),
            Reply::Expires(expires) => Self::Expires(expires),
            Reply::Rotated(created) => Self::Rotated(created.map(Into::into)),
            Reply::Destroyed(destroyed) => Self::Destroyed(destroyed),
        }
    }
}
