//! An instance of the real component over a simulated disk.

use std::sync::LazyLock;
use std::time::Duration;
use std::{env, fs, thread};

use wasmtime::component::{Component, Linker, ResourceAny};
use wasmtime::{Config, Engine, Store};

use crate::disk::Disk;
use crate::wasi;
use crate::world::World;

// The documentation is in `wit/`.
#[allow(missing_docs)]
mod bindings {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "session-store",
        additional_derives: [PartialEq, Eq],
    });
}

pub use bindings::wasi_sessions::store::types::*;

/// The result of a call. The outer error is a trap, which ends the instance.
pub type Called<T> = wasmtime::Result<Result<T, Error>>;

/// The path of the database.
pub const DATABASE: &str = "sessions.db";

/// The time after which a call counts as hanging and is stopped, in seconds.
const PATIENCE: u64 = 60;

static ENGINE: LazyLock<Engine> = LazyLock::new(|| {
    let mut config = Config::new();
    config.concurrency_support(false);
    config.epoch_interruption(true);
    let engine = Engine::new(&config).unwrap();
    let ticking = engine.weak();
    thread::spawn(move || {
        while let Some(engine) = ticking.upgrade() {
            thread::sleep(Duration::from_secs(1));
            engine.increment_epoch();
        }
    });
    engine
});

/// The component, compiled once: the host's, or the file in `DISK_COMPONENT`, so that a
/// broken build can be tested without compiling the tests again.
static COMPONENT: LazyLock<bindings::SessionStorePre<World>> = LazyLock::new(|| {
    let component = match env::var_os("DISK_COMPONENT") {
        Some(file) => Component::new(&ENGINE, fs::read(file).unwrap()),
        None => Component::new(&ENGINE, wasi_sessions::COMPONENT),
    };
    let component = component.unwrap();
    let mut linker = Linker::new(&ENGINE);
    wasi::add_to_linker(&mut linker).unwrap();
    bindings::SessionStorePre::new(linker.instantiate_pre(&component).unwrap()).unwrap()
});

/// A running instance, which may have a store open.
pub struct Process {
    store: Store<World>,
    bindings: bindings::SessionStore,
    opened: Option<ResourceAny>,
}

impl Process {
    /// Starts an instance.
    pub fn start(world: World) -> wasmtime::Result<Self> {
        let mut store = Store::new(&ENGINE, world);
        store.limiter(|world| &mut world.memory);
        store.set_epoch_deadline(PATIENCE);
        let bindings = COMPONENT.instantiate(&mut store)?;
        Ok(Self {
            store,
            bindings,
            opened: None,
        })
    }

    /// Starts an instance on a disk without faults.
    pub fn on(disk: Disk, now: u64, seed: u64) -> Self {
        Self::start(World::new(disk, now, seed)).unwrap()
    }

    /// The instance's world.
    pub fn world(&mut self) -> &mut World {
        self.store.data_mut()
    }

    /// The time, in milliseconds.
    pub fn now(&self) -> u64 {
        self.store.data().now / 1_000_000
    }

    /// Opens a store.
    pub fn open(&mut self, location: &str, options: &str) -> Called<()> {
        let store = self.bindings.wasi_sessions_store_sessions().store();
        let opened = store.call_open(&mut self.store, location, options)?;
        Ok(opened.map(|opened| self.opened = Some(opened)))
    }

    /// Closes the store.
    pub fn close(&mut self) -> wasmtime::Result<()> {
        match self.opened.take() {
            Some(opened) => opened.resource_drop(&mut self.store),
            None => Ok(()),
        }
    }

    /// Kills the instance, as `kill -9` does; returns the disk with everything that was
    /// written.
    pub fn kill(self) -> Disk {
        self.store.into_data().disk
    }

    /// Calls the function of one request.
    pub fn request(&mut self, request: &Request) -> Called<Reply> {
        let (to, opened) = (&mut self.store, self.opened.expect("a store is open"));
        to.set_epoch_deadline(PATIENCE);
        let store = self.bindings.wasi_sessions_store_sessions().store();
        Ok(match request {
            Request::Create(of) => store
                .call_create(to, opened, &of.data, of.ttl, of.subject.as_deref())?
                .map(Reply::Created),
            Request::Get(of) => store.call_get(to, opened, &of.id)?.map(Reply::Session),
            Request::Set(of) => store
                .call_set(to, opened, &of.id, &of.data, of.ttl)?
                .map(Reply::Outcome),
            Request::Update(of) => store
                .call_update(to, opened, &of.id, &of.data, of.ttl, of.expected)?
                .map(Reply::Outcome),
            Request::Merge(of) => store
                .call_merge(to, opened, &of.id, &of.patch, of.ttl)?
                .map(Reply::Session),
            Request::Touch(of) => store
                .call_touch(to, opened, &of.id, of.ttl)?
                .map(Reply::Expires),
            Request::Rotate(of) => store
                .call_rotate(to, opened, &of.id, of.subject.as_deref())?
                .map(Reply::Rotated),
            Request::Destroy(of) => store
                .call_destroy(to, opened, &of.id)?
                .map(Reply::Destroyed),
        })
    }

    /// Runs requests in one transaction.
    pub fn batch(&mut self, requests: &[Request]) -> Called<Vec<Result<Reply, Error>>> {
        let opened = self.opened.expect("a store is open");
        self.store.set_epoch_deadline(PATIENCE);
        let store = self.bindings.wasi_sessions_store_sessions().store();
        store.call_batch(&mut self.store, opened, requests)
    }

    /// Calls one function of `admin`.
    pub fn admin<T>(
        &mut self,
        call: impl FnOnce(&Admin, &mut Store<World>, ResourceAny) -> Called<T>,
    ) -> Called<T> {
        let opened = self.opened.expect("a store is open");
        self.store.set_epoch_deadline(PATIENCE);
        call(
            self.bindings.wasi_sessions_store_admin(),
            &mut self.store,
            opened,
        )
    }
}

/// The functions of an operator.
pub use bindings::exports::wasi_sessions::store::admin::Guest as Admin;
