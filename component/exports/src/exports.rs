//! The bindings, the clock, and the name of the store in its errors.

use bindings::exports::wasi_sessions::store::admin::Guest as Admin;
use bindings::exports::wasi_sessions::store::sessions::{
    Guest as Sessions, GuestStore, Store as StoreHandle, StoreBorrow,
};
use std::cell::RefCell;
use std::marker::PhantomData;
use wasi_sessions_rules::engine::Engine;
use wasi_sessions_rules::options::Options;
use wasi_sessions_rules::types::{
    Collected, Created, Error, Outcome, Page, Replies, Request, Session, Statistics, Timestamp,
};
use wasip2::clocks::wall_clock;

/// What `wit-bindgen` generates, and `export!`, which it exports from this crate.
#[allow(missing_docs)]
pub mod bindings {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "session-store",
        with: { "wasi-sessions:store/types@0.2.0": wasi_sessions_rules::types },
        pub_export_macro: true,
        default_bindings_module: "wasi_sessions_exports::bindings",
    });
}

/// The exports over the engine `E`.
pub struct Exports<E>(PhantomData<E>);

/// The resource behind a `store` handle.
pub struct OpenStore<E>(RefCell<E>);

impl<E: Engine> OpenStore<E> {
    /// Runs one request at one reading of the clock, and adds the store's name to its
    /// error.
    fn at_one_moment<T>(
        &self,
        request: impl FnOnce(&mut E, Timestamp) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut store = self.0.borrow_mut();
        let now = now().saturating_add_signed(store.clock_offset());
        request(&mut store, now).map_err(|error| with_name(store.name(), error))
    }
}

/// The host's wall clock, in milliseconds. No other code reads it.
fn now() -> Timestamp {
    let now = wall_clock::now();
    let milliseconds = now.seconds.saturating_mul(1000);
    milliseconds.saturating_add((now.nanoseconds / 1_000_000).into())
}

/// The error with the store's name, the option `modelName`, before its message. An
/// `invalid-argument` is about the caller and has no name.
fn with_name(name: &str, error: Error) -> Error {
    match error {
        Error::Corrupt(words) => Error::Corrupt(format!("{name}: {words}")),
        Error::MissingTable(words) => Error::MissingTable(format!("{name}: {words}")),
        Error::UnknownOutcome(words) => Error::UnknownOutcome(format!("{name}: {words}")),
        Error::Other(words) => Error::Other(format!("{name}: {words}")),
        unnamed @ (Error::Busy
        | Error::InvalidArgument(_)
        | Error::TooLarge(_)
        | Error::StorageFull) => unnamed,
    }
}

impl<E: Engine> Sessions for Exports<E> {
    type Store = OpenStore<E>;
}

impl<E: Engine> GuestStore for OpenStore<E> {
    fn open(location: String, options: String) -> Result<StoreHandle, Error> {
        let options = Options::parse(&options, E::MISSING_OPTIONS)?;
        let name = options.model_name.clone();
        let store = E::open(&location, options, now()).map_err(|error| with_name(&name, error))?;
        Ok(StoreHandle::new(OpenStore(RefCell::new(store))))
    }

    fn create(
        &self,
        data: Vec<u8>,
        ttl: Option<u64>,
        subject: Option<String>,
    ) -> Result<Created, Error> {
        self.at_one_moment(|store, now| store.create(now, &data, ttl, subject.as_deref()))
    }

    fn get(&self, id: String) -> Result<Option<Session>, Error> {
        self.at_one_moment(|store, now| store.get(now, &id))
    }

    fn set(&self, id: String, data: Vec<u8>, ttl: Option<u64>) -> Result<Outcome, Error> {
        self.at_one_moment(|store, now| store.set(now, &id, &data, ttl))
    }

    fn update(
        &self,
        id: String,
        data: Vec<u8>,
        ttl: Option<u64>,
        expected: Option<u64>,
    ) -> Result<Outcome, Error> {
        self.at_one_moment(|store, now| store.update(now, &id, &data, ttl, expected))
    }

    fn merge(&self, id: String, patch: String, ttl: Option<u64>) -> Result<Option<Session>, Error> {
        self.at_one_moment(|store, now| store.merge(now, &id, &patch, ttl))
    }

    fn touch(&self, id: String, ttl: Option<u64>) -> Result<Option<u64>, Error> {
        self.at_one_moment(|store, now| store.touch(now, &id, ttl))
    }

    fn rotate(&self, id: String, subject: Option<String>) -> Result<Option<Created>, Error> {
        self.at_one_moment(|store, now| store.rotate(now, &id, subject.as_deref()))
    }

    fn destroy(&self, id: String) -> Result<bool, Error> {
        self.at_one_moment(|store, now| store.destroy(now, &id))
    }

    fn batch(&self, requests: Vec<Request>) -> Result<Replies, Error> {
        self.at_one_moment(|store, now| store.batch(now, &requests))
    }
}

impl<E: Engine> Admin for Exports<E> {
    fn list_sessions(
        store: StoreBorrow<'_>,
        subject: Option<String>,
        cursor: Option<String>,
        limit: u32,
    ) -> Result<Page, Error> {
        opened::<E>(&store).at_one_moment(|store, now| {
            store.list_sessions(now, subject.as_deref(), cursor.as_deref(), limit)
        })
    }

    fn count_sessions(store: StoreBorrow<'_>, subject: Option<String>) -> Result<u64, Error> {
        opened::<E>(&store)
            .at_one_moment(|store, now| store.count_sessions(now, subject.as_deref()))
    }

    fn inspect(store: StoreBorrow<'_>, handle: String) -> Result<Option<Session>, Error> {
        opened::<E>(&store).at_one_moment(|store, now| store.inspect(now, &handle))
    }

    fn terminate(store: StoreBorrow<'_>, handle: String) -> Result<bool, Error> {
        opened::<E>(&store).at_one_moment(|store, now| store.terminate(now, &handle))
    }

    fn terminate_subject(
        store: StoreBorrow<'_>,
        subject: String,
        except: Option<String>,
    ) -> Result<u64, Error> {
        opened::<E>(&store)
            .at_one_moment(|store, now| store.terminate_subject(now, &subject, except.as_deref()))
    }

    fn clear(store: StoreBorrow<'_>) -> Result<u64, Error> {
        opened::<E>(&store).at_one_moment(|store, now| store.clear(now))
    }

    fn collect(store: StoreBorrow<'_>, limit: u32) -> Result<Collected, Error> {
        opened::<E>(&store).at_one_moment(|store, now| store.collect(now, limit.into()))
    }

    fn stats(store: StoreBorrow<'_>) -> Result<Statistics, Error> {
        opened::<E>(&store).at_one_moment(|store, now| store.stats(now))
    }

    fn check(store: StoreBorrow<'_>) -> Result<Vec<String>, Error> {
        opened::<E>(&store).at_one_moment(|store, _| store.check())
    }

    fn backup(store: StoreBorrow<'_>, location: String) -> Result<(), Error> {
        opened::<E>(&store).at_one_moment(|store, _| store.backup(&location))
    }
}

fn opened<'a, E: Engine>(store: &'a StoreBorrow<'_>) -> &'a OpenStore<E> {
    store.get()
}
