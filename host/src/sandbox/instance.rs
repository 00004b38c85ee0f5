//! A component of the contract in wasmtime: compiled, started and called.

use std::fs::File;
use std::sync::Arc;

use wasmtime::component::{Linker, ResourceAny};
use wasmtime::{Config, Engine, Memory, MemoryType, OptLevel, Store};

use crate::cause::Cause;
use crate::contract::types::{
    CreateRequest, DestroyRequest, GetRequest, MergeRequest, Request, RotateRequest, SetRequest,
    TouchRequest, UpdateRequest,
};
use crate::contract::{self, Admin, SessionStore, SessionStorePre};
use crate::request::Ending;
use crate::sandbox::compiled::{self, Cache, Embedded};
use crate::sandbox::filesystem;
use crate::sandbox::guest_files::GuestFiles;
use crate::sandbox::state::State;
use crate::{Collected, Error, Page, Reply, Session, Statistics};

/// The result of a call of the component. The outer error is a trap, after which the guest
/// cannot be used any more; the inner one is the contract's.
pub(crate) type Called<T> = wasmtime::Result<Result<T, contract::Error>>;

/// A compiled component, ready to be instantiated.
pub(crate) struct Prepared {
    engine: Engine,
    component: SessionStorePre<State>,
    memory_limit: usize,
}

impl Prepared {
    /// Compiles a component, or takes it from the cache. `link` replaces functions of WASI.
    pub(crate) fn new(
        embedded: Embedded,
        memory_limit: usize,
        cache: Option<&Cache>,
        link: fn(&mut Linker<State>) -> wasmtime::Result<()>,
    ) -> Result<Self, Error> {
        let prepare = || {
            let engine = engine(memory_limit)?;
            let identity = embedded.fingerprint.as_bytes();
            let component = compiled::compile(&engine, embedded.wasm, identity, cache)?;
            let mut linker = Linker::new(&engine);
            wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
            link(&mut linker)?;
            let component = SessionStorePre::new(linker.instantiate_pre(&component)?)?;
            Ok(Self {
                engine,
                component,
                memory_limit,
            })
        };
        prepare().map_err(start_error)
    }

    /// Starts an instance and opens a store in it.
    pub(crate) async fn open(
        &self,
        state: State,
        location: &str,
        options: &str,
    ) -> Result<Guest, Error> {
        let mut store = Store::new(&self.engine, state);
        store.limiter(|state| &mut state.limits);
        // An answer may be as large as the component's memory; wasmtime's default limit is
        // smaller than the largest payload.
        store.set_hostcall_fuel(self.memory_limit);
        let bindings = self.component.instantiate_async(&mut store).await;
        let bindings = bindings.map_err(start_error)?;
        let sessions = bindings.wasi_sessions_store_sessions().store();
        let opened = sessions.call_open(&mut store, location, options).await;
        let opened = opened.map_err(start_error)??;
        Ok(Guest {
            store,
            bindings,
            opened,
        })
    }
}

/// Creates an engine that reserves the whole address space of a linear memory, so that
/// accesses need no bounds checks. If the process may not reserve that much (`ulimit -v`),
/// the engine reserves only the memory limit.
fn engine(memory_limit: usize) -> wasmtime::Result<Engine> {
    let mut config = Config::new();
    config.cranelift_opt_level(OptLevel::Speed);
    // The contract has no concurrent calls, and calls are four times faster without this.
    config.concurrency_support(false);
    // Not needed: the component's backtraces are never shown.
    config.wasm_backtrace_max_frames(None);
    config.generate_address_map(false);
    let engine = Engine::new(&config)?;
    if has_address_space(&engine) {
        return Ok(engine);
    }
    config.memory_reservation(memory_limit as u64);
    Engine::new(&config)
}

/// Whether there is address space for two linear memories: one for the component, and as
/// much for everything else.
fn has_address_space(engine: &Engine) -> bool {
    let mut store = Store::new(engine, ());
    let smallest = MemoryType::new(0, None);
    (0..2).all(|_| Memory::new(&mut store, smallest.clone()).is_ok())
}

pub(crate) fn start_error(error: wasmtime::Error) -> Error {
    Error::Start(Cause::new(error.into_boxed_dyn_error()))
}

/// An instance of the component with the database open.
pub(crate) struct Guest {
    store: Store<State>,
    bindings: SessionStore,
    opened: ResourceAny,
}

impl Guest {
    /// The live session with this id, if there is one.
    pub(crate) async fn get(&mut self, id: &str) -> Called<Option<Session>> {
        let sessions = self.bindings.wasi_sessions_store_sessions().store();
        sessions.call_get(&mut self.store, self.opened, id).await
    }

    /// Calls the contract's `batch`, which runs all requests in one transaction.
    pub(crate) async fn batch(
        &mut self,
        requests: &[Request],
    ) -> Called<Vec<Result<Reply, contract::Error>>> {
        let sessions = self.bindings.wasi_sessions_store_sessions().store();
        let batch = sessions.call_batch(&mut self.store, self.opened, requests);
        batch.await
    }

    /// Runs one request as a call of the contract's function of that name.
    pub(crate) async fn request(&mut self, request: &Request) -> Called<Reply> {
        let sessions = self.bindings.wasi_sessions_store_sessions().store();
        let (store, opened) = (&mut self.store, self.opened);
        Ok(match request {
            Request::Create(CreateRequest { data, ttl, subject }) => {
                let created = sessions.call_create(store, opened, data, *ttl, subject.as_deref());
                created.await?.map(Reply::Created)
            }
            Request::Get(GetRequest { id }) => {
                let session = sessions.call_get(store, opened, id).await?;
                session.map(Reply::Session)
            }
            Request::Set(SetRequest { id, data, ttl }) => {
                let outcome = sessions.call_set(store, opened, id, data, *ttl).await?;
                outcome.map(Reply::Outcome)
            }
            Request::Update(UpdateRequest {
                id,
                data,
                ttl,
                expected,
            }) => {
                let outcome = sessions.call_update(store, opened, id, data, *ttl, *expected);
                outcome.await?.map(Reply::Outcome)
            }
            Request::Merge(MergeRequest { id, patch, ttl }) => {
                let session = sessions.call_merge(store, opened, id, patch, *ttl).await?;
                session.map(Reply::Session)
            }
            Request::Touch(TouchRequest { id, ttl }) => {
                let expires = sessions.call_touch(store, opened, id, *ttl).await?;
                expires.map(Reply::Expires)
            }
            Request::Rotate(RotateRequest { id, subject }) => {
                let rotated = sessions.call_rotate(store, opened, id, subject.as_deref());
                rotated.await?.map(Reply::Rotated)
            }
            Request::Destroy(DestroyRequest { id }) => {
                let destroyed = sessions.call_destroy(store, opened, id).await?;
                destroyed.map(Reply::Destroyed)
            }
        })
    }

    /// Calls a function of the contract's `admin` that ends sessions; returns how many.
    pub(crate) async fn end(&mut self, ending: &Ending) -> Called<u64> {
        let (admin, store, opened) = self.admin();
        match ending {
            Ending::Session(handle) => {
                let ended = admin.call_terminate(store, opened, handle).await?;
                Ok(ended.map(u64::from))
            }
            Ending::OfSubject { subject, except } => {
                let ended = admin.call_terminate_subject(store, opened, subject, except.as_deref());
                ended.await
            }
            Ending::All => admin.call_clear(store, opened).await,
        }
    }

    /// The functions of the contract's `admin` that end no session.
    pub(crate) fn keeping(&mut self) -> Keeping<'_> {
        Keeping(self)
    }

    /// What a call of `admin` needs. Private, since some of its functions end sessions.
    fn admin(&mut self) -> (&Admin, &mut Store<State>, ResourceAny) {
        let admin = self.bindings.wasi_sessions_store_admin();
        (admin, &mut self.store, self.opened)
    }

    /// Has the component write a copy of the database to [`BACKUP`] in `directory`.
    pub(crate) async fn backup(&mut self, directory: File) -> Called<()> {
        let lent = filesystem::lend(directory);
        let own = self.store.data_mut().exchange_backup_directory(lent)?;
        let location = format!("{}/{BACKUP}", GuestFiles::BACKUP);
        let done = self.keeping().backup(&location).await?;
        self.store.data_mut().exchange_backup_directory(own)?;
        Ok(done)
    }

    /// The files that the component has open.
    pub(crate) fn files(&self) -> &GuestFiles {
        &self.store.data().files
    }

    /// How often the component has tried to connect to a server.
    pub(crate) fn connects(&self) -> u64 {
        self.store.data().lookups.connects()
    }

    /// The write-ahead log that the component has open.
    pub(crate) fn log(&self) -> Option<Arc<File>> {
        self.store.data().files.log()
    }

    /// Closes the database.
    pub(crate) async fn close(mut self) {
        // After a trap here, SQLite recovers the database when it is opened next.
        let _ = self.opened.resource_drop_async(&mut self.store).await;
    }
}

/// The functions of the contract's `admin` that end no session. The others are in [`Ending`].
pub(crate) struct Keeping<'g>(&'g mut Guest);

impl Keeping<'_> {
    pub(crate) async fn list_sessions(
        self,
        subject: Option<&str>,
        cursor: Option<&str>,
        limit: u32,
    ) -> Called<Page> {
        let (admin, store, opened) = self.0.admin();
        let page = admin.call_list_sessions(store, opened, subject, cursor, limit);
        page.await
    }

    pub(crate) async fn count_sessions(self, subject: Option<&str>) -> Called<u64> {
        let (admin, store, opened) = self.0.admin();
        admin.call_count_sessions(store, opened, subject).await
    }

    pub(crate) async fn inspect(self, handle: String) -> Called<Option<Session>> {
        let (admin, store, opened) = self.0.admin();
        admin.call_inspect(store, opened, &handle).await
    }

    pub(crate) async fn collect(self, limit: u32) -> Called<Collected> {
        let (admin, store, opened) = self.0.admin();
        admin.call_collect(store, opened, limit).await
    }

    pub(crate) async fn stats(self) -> Called<Statistics> {
        let (admin, store, opened) = self.0.admin();
        admin.call_stats(store, opened).await
    }

    pub(crate) async fn check(self) -> Called<Vec<String>> {
        let (admin, store, opened) = self.0.admin();
        admin.call_check(store, opened).await
    }

    pub(crate) async fn backup(self, location: &str) -> Called<()> {
        let (admin, store, opened) = self.0.admin();
        admin.call_backup(store, opened, location).await
    }
}

/// The name of the copy in a backup's directory.
pub(crate) const BACKUP: &str = "copy";
