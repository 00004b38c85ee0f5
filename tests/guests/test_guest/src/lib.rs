//! A component for the tests: forwards calls to the store that it imports, and answers HTTP
//! requests in every way in which a component can fail.
#![cfg(target_arch = "wasm32")]

use std::cell::RefCell;

use exports::test::guest::calls::{
    Collected, Created, Error, Guest, Outcome, Page, Reply, Request, Session, Statistics,
};
use wasi_sessions::store::admin;
use wasi_sessions::store::sessions::Store;

mod web;

wit_bindgen::generate!({
    path: ["../../../wit", "src/guest.wit"],
    world: "test:guest/guest",
    generate_all,
});

struct Component;

export!(Component);

thread_local! {
    static STORE: RefCell<Option<Store>> = const { RefCell::new(None) };
}

/// Calls a function of the open store.
fn on_store<T>(call: impl FnOnce(&Store) -> T) -> T {
    STORE.with_borrow(|store| call(store.as_ref().expect("the store is open")))
}

impl Guest for Component {
    fn open(location: String, options: String) -> Result<(), Error> {
        let store = Store::open(&location, &options)?;
        STORE.set(Some(store));
        Ok(())
    }

    fn close() {
        STORE.set(None);
    }

    fn create(data: Vec<u8>, ttl: Option<u64>, subject: Option<String>) -> Result<Created, Error> {
        on_store(|store| store.create(&data, ttl, subject.as_deref()))
    }

    fn get(id: String) -> Result<Option<Session>, Error> {
        on_store(|store| store.get(&id))
    }

    fn set(id: String, data: Vec<u8>, ttl: Option<u64>) -> Result<Outcome, Error> {
        on_store(|store| store.set(&id, &data, ttl))
    }

    fn update(
        id: String,
        data: Vec<u8>,
        ttl: Option<u64>,
        expected: Option<u64>,
    ) -> Result<Outcome, Error> {
        on_store(|store| store.update(&id, &data, ttl, expected))
    }

    fn merge(id: String, patch: String, ttl: Option<u64>) -> Result<Option<Session>, Error> {
        on_store(|store| store.merge(&id, &patch, ttl))
    }

    fn touch(id: String, ttl: Option<u64>) -> Result<Option<u64>, Error> {
        on_store(|store| store.touch(&id, ttl))
    }

    fn rotate(id: String, subject: Option<String>) -> Result<Option<Created>, Error> {
        on_store(|store| store.rotate(&id, subject.as_deref()))
    }

    fn destroy(id: String) -> Result<bool, Error> {
        on_store(|store| store.destroy(&id))
    }

    fn batch(requests: Vec<Request>) -> Result<Vec<Result<Reply, Error>>, Error> {
        on_store(|store| store.batch(&requests))
    }

    fn list_sessions(
        subject: Option<String>,
        cursor: Option<String>,
        limit: u32,
    ) -> Result<Page, Error> {
        on_store(|store| admin::list_sessions(store, subject.as_deref(), cursor.as_deref(), limit))
    }

    fn count_sessions(subject: Option<String>) -> Result<u64, Error> {
        on_store(|store| admin::count_sessions(store, subject.as_deref()))
    }

    fn inspect(handle: String) -> Result<Option<Session>, Error> {
        on_store(|store| admin::inspect(store, &handle))
    }

    fn terminate(handle: String) -> Result<bool, Error> {
        on_store(|store| admin::terminate(store, &handle))
    }

    fn terminate_subject(subject: String, except: Option<String>) -> Result<u64, Error> {
        on_store(|store| admin::terminate_subject(store, &subject, except.as_deref()))
    }

    fn clear() -> Result<u64, Error> {
        on_store(admin::clear)
    }

    fn collect(limit: u32) -> Result<Collected, Error> {
        on_store(|store| admin::collect(store, limit))
    }

    fn stats() -> Result<Statistics, Error> {
        on_store(admin::stats)
    }

    fn check() -> Result<Vec<String>, Error> {
        on_store(admin::check)
    }

    fn backup(location: String) -> Result<(), Error> {
        on_store(|store| admin::backup(store, &location))
    }

    fn read_until_killed(id: String) {
        on_store(|store| {
            loop {
                store.get(&id).unwrap();
            }
        });
    }

    fn write_until_killed() {
        on_store(|store| {
            for id in 0_u64.. {
                store.set(&id.to_string(), b"{}", None).unwrap();
            }
        });
    }
}
