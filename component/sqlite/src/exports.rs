//! The contract's exports: bindings, the clock, and translation of values and
//! errors between the two sides.

use crate::{self as store, Store, Timestamp};
use exports::wasi_sessions::store::admin::{self, Guest as Admin};
use exports::wasi_sessions::store::sessions::{self, Guest as Sessions, GuestStore, StoreBorrow};
use std::cell::{RefCell, RefMut};
use wasi_sessions::store::types::{Error, Session};
use wasip2::clocks::wall_clock;

wit_bindgen::generate!({
    path: "../../wit",
    world: "session-store",
});

struct Component;

export!(Component);

/// The resource behind a `store` handle.
struct OpenStore(RefCell<Store>);

impl OpenStore {
    /// Does one request at one moment and translates how it failed.
    fn at_once<T>(
        &self,
        work: impl FnOnce(&mut Store, Timestamp) -> Result<T, store::Error>,
    ) -> Result<T, Error> {
        let mut store: RefMut<Store> = self.0.borrow_mut();
        work(&mut store, now()).map_err(|error| translate(store.name(), error))
    }
}

/// The one place where the time is read: once per request.
fn now() -> Timestamp {
    let now = wall_clock::now();
    let milliseconds = now.seconds.saturating_mul(1000);
    milliseconds.saturating_add((now.nanoseconds / 1_000_000).into())
}

fn translate(name: &str, error: store::Error) -> Error {
    match error {
        store::Error::Busy => Error::Busy,
        store::Error::InvalidArgument(words) => Error::InvalidArgument(words),
        store::Error::TooLarge(limit) => Error::TooLarge(limit),
        store::Error::StorageFull => Error::StorageFull,
        store::Error::Corrupt(words) => Error::Corrupt(format!("{name}: {words}")),
        store::Error::Other(words) => Error::Other(format!("{name}: {words}")),
    }
}

impl Sessions for Component {
    type Store = OpenStore;
}

impl GuestStore for OpenStore {
    fn open(location: String, options: String) -> Result<sessions::Store, Error> {
        let options = store::Options::parse(&options).map_err(|error| translate("", error))?;
        let name = options.model_name.clone();
        Store::open(&location, options, now())
            .map(|store| sessions::Store::new(OpenStore(RefCell::new(store))))
            .map_err(|error| translate(&name, error))
    }

    fn create(
        &self,
        data: Vec<u8>,
        ttl: Option<u64>,
        subject: Option<String>,
    ) -> Result<sessions::Created, Error> {
        self.at_once(|store, now| store.create(now, &data, ttl, subject.as_deref()))
            .map(Into::into)
    }

    fn get(&self, id: String) -> Result<Option<Session>, Error> {
        self.at_once(|store, now| store.get(now, &id))
            .map(|session| session.map(Into::into))
    }

    fn set(&self, id: String, data: Vec<u8>, ttl: Option<u64>) -> Result<sessions::Outcome, Error> {
        self.at_once(|store, now| store.set(now, &id, &data, ttl))
            .map(Into::into)
    }

    fn update(
        &self,
        id: String,
        data: Vec<u8>,
        ttl: Option<u64>,
        expected: Option<u64>,
    ) -> Result<sessions::Outcome, Error> {
        self.at_once(|store, now| store.update(now, &id, &data, ttl, expected))
            .map(Into::into)
    }

    fn merge(&self, id: String, patch: String, ttl: Option<u64>) -> Result<Option<Session>, Error> {
        self.at_once(|store, now| store.merge(now, &id, &patch, ttl))
            .map(|session| session.map(Into::into))
    }

    fn touch(&self, id: String, ttl: Option<u64>) -> Result<Option<u64>, Error> {
        self.at_once(|store, now| store.touch(now, &id, ttl))
    }

    fn rotate(
        &self,
        id: String,
        subject: Option<String>,
    ) -> Result<Option<sessions::Created>, Error> {
        self.at_once(|store, now| store.rotate(now, &id, subject.as_deref()))
            .map(|created| created.map(Into::into))
    }

    fn destroy(&self, id: String) -> Result<bool, Error> {
        self.at_once(|store, now| store.destroy(now, &id))
    }

    fn batch(
        &self,
        requests: Vec<sessions::Request>,
    ) -> Result<Vec<Result<sessions::Reply, Error>>, Error> {
        let requests: Vec<store::Request> = requests.into_iter().map(Into::into).collect();
        let replies = self.at_once(|store, now| store.batch(now, &requests))?;
        let name = self.0.borrow().name().to_owned();
        let replies = replies.into_iter().map(|reply| {
            reply
                .map(Into::into)
                .map_err(|error| translate(&name, error))
        });
        Ok(replies.collect())
    }
}

impl Admin for Component {
    fn list_sessions(
        store: StoreBorrow<'_>,
        subject: Option<String>,
        cursor: Option<String>,
        limit: u32,
    ) -> Result<admin::Page, Error> {
        opened(&store)
            .at_once(|store, now| {
                store.list_sessions(now, subject.as_deref(), cursor.as_deref(), limit)
            })
            .map(Into::into)
    }

    fn count_sessions(store: StoreBorrow<'_>, subject: Option<String>) -> Result<u64, Error> {
        opened(&store).at_once(|store, now| store.count_sessions(now, subject.as_deref()))
    }

    fn inspect(store: StoreBorrow<'_>, handle: String) -> Result<Option<Session>, Error> {
        opened(&store)
            .at_once(|store, now| store.inspect(now, &handle))
            .map(|session| session.map(Into::into))
    }

    fn terminate(store: StoreBorrow<'_>, handle: String) -> Result<bool, Error> {
        opened(&store).at_once(|store, now| store.terminate(now, &handle))
    }

    fn terminate_subject(
        store: StoreBorrow<'_>,
        subject: String,
        except: Option<String>,
    ) -> Result<u64, Error> {
        opened(&store)
            .at_once(|store, now| store.terminate_subject(now, &subject, except.as_deref()))
    }

    fn clear(store: StoreBorrow<'_>) -> Result<u64, Error> {
        opened(&store).at_once(|store, now| store.clear(now))
    }

    fn collect(store: StoreBorrow<'_>, limit: u32) -> Result<admin::Collected, Error> {
        opened(&store)
            .at_once(|store, now| store.collect(now, limit.into()))
            .map(|collected| admin::Collected {
                removed: collected.removed,
                more: collected.more,
            })
    }

    fn stats(store: StoreBorrow<'_>) -> Result<admin::Statistics, Error> {
        opened(&store)
            .at_once(|store, now| store.stats(now))
            .map(|statistics| admin::Statistics {
                name: statistics.name,
                engine: statistics.engine,
                live: statistics.live,
                expired: statistics.expired,
                size: statistics.size,
                collected: statistics.collected,
            })
    }

    fn check(store: StoreBorrow<'_>) -> Result<Vec<String>, Error> {
        opened(&store).at_once(|store, _| store.check())
    }

    fn backup(store: StoreBorrow<'_>, location: String) -> Result<(), Error> {
        opened(&store).at_once(|store, _| store.backup(&location))
    }
}

fn opened<'a>(store: &'a StoreBorrow<'_>) -> &'a OpenStore {
    store.get()
}

impl From<store::Session> for Session {
    fn from(session: store::Session) -> Session {
        Session {
            data: session.data,
            subject: session.subject,
            version: session.version,
            created: session.created,
            updated: session.updated,
            expires: session.expires,
        }
    }
}

impl From<store::Created> for sessions::Created {
    fn from(created: store::Created) -> sessions::Created {
        sessions::Created {
            id: created.id,
            version: created.version,
            expires: created.expires,
        }
    }
}

impl From<store::Outcome> for sessions::Outcome {
    fn from(outcome: store::Outcome) -> sessions::Outcome {
        match outcome {
            store::Outcome::Written(written) => sessions::Outcome::Written(sessions::Written {
                version: written.version,
                expires: written.expires,
            }),
            store::Outcome::Stale(session) => sessions::Outcome::Stale(session.into()),
            store::Outcome::Gone => sessions::Outcome::Gone,
        }
    }
}

impl From<store::Reply> for sessions::Reply {
    fn from(reply: store::Reply) -> sessions::Reply {
        use sessions::Reply;
        match reply {
            store::Reply::Created(created) => Reply::Created(created.into()),
            store::Reply::Session(session) => Reply::Session(session.map(Into::into)),
            store::Reply::Outcome(outcome) => Reply::Outcome(outcome.into()),
            store::Reply::Expires(expires) => Reply::Expires(expires),
            store::Reply::Rotated(created) => Reply::Rotated(created.map(Into::into)),
            store::Reply::Destroyed(destroyed) => Reply::Destroyed(destroyed),
        }
    }
}

impl From<sessions::Request> for store::Request {
    fn from(request: sessions::Request) -> store::Request {
        use sessions::Request;
        match request {
            Request::Create((data, ttl, subject)) => store::Request::Create { data, ttl, subject },
            Request::Get(id) => store::Request::Get { id },
            Request::Set((id, data, ttl)) => store::Request::Set { id, data, ttl },
            Request::Update((id, data, ttl, expected)) => store::Request::Update {
                id,
                data,
                ttl,
                expected,
            },
            Request::Merge((id, patch, ttl)) => store::Request::Merge { id, patch, ttl },
            Request::Touch((id, ttl)) => store::Request::Touch { id, ttl },
            Request::Rotate((id, subject)) => store::Request::Rotate { id, subject },
            Request::Destroy(id) => store::Request::Destroy { id },
        }
    }
}

impl From<store::Page> for admin::Page {
    fn from(page: store::Page) -> admin::Page {
        let entries = page.entries.into_iter().map(|entry| admin::Entry {
            handle: entry.handle,
            subject: entry.subject,
            version: entry.version,
            created: entry.created,
            updated: entry.updated,
            expires: entry.expires,
            size: entry.size,
        });
        admin::Page {
            entries: entries.collect(),
            next: page.next,
        }
    }
}
