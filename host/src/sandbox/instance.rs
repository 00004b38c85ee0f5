//! The component in wasmtime: compiled, started and called.

use std::fs::File;
use std::sync::Arc;

use wasmtime::component::{Linker, ResourceAny};
use wasmtime::{Config, Engine, Memory, MemoryType, OptLevel, Store};
use zeroize::Zeroizing;

use crate::cause::Cause;
use crate::clock::StoreClock;
use crate::contract::types::Request;
use crate::contract::{self, SessionStore, SessionStorePre};
use crate::sandbox::compiled::{self, Cache};
use crate::sandbox::directory::Directory;
use crate::sandbox::filesystem;
use crate::sandbox::guest_files::GuestFiles;
use crate::sandbox::state::{State, complete};
use crate::settings::Settings;
use crate::{Error, Reply, Session};

/// The component, as the bytes of its `.wasm` file, which the build script built.
///
/// It exports the contract and imports WASI 0.2. It can be composed with a component that
/// imports the contract into one file that needs only a directory:
/// `wac plug web.wasm --plug store.wasm`. [`Builder::open`](crate::Builder::open) starts
/// this crate's own instances.
pub static COMPONENT: &[u8] = include_bytes!(env!("WASI_SESSIONS_COMPONENT_FILE"));

/// The result of a call of the component. The outer error is a trap, after which the guest
/// cannot be used any more; the inner one is the contract's.
pub(crate) type Called<T> = wasmtime::Result<Result<T, contract::Error>>;

/// Starts instances: the compiled component, and the settings of its instances.
pub(crate) struct Launcher {
    engine: Engine,
    component: SessionStorePre<State>,
    settings: Settings,
    clock: Arc<StoreClock>,
    options: Zeroizing<String>,
}

impl Launcher {
    /// Compiles the component, or takes it from the cache.
    pub(crate) fn new(
        settings: Settings,
        clock: Arc<StoreClock>,
        directory: &Directory,
    ) -> Result<Self, Error> {
        let options = settings
            .options
            .to_json()
            .map_err(|error| Error::Start(Cause::new(error)))?;
        let cache = match &settings.cache_directory {
            Some(cache) => Cache::open(cache, Some(directory.path()))?,
            None => None,
        };
        let (engine, component) =
            prepare(settings.memory_limit, cache.as_ref()).map_err(start_error)?;
        Ok(Self {
            engine,
            component,
            settings,
            clock,
            options: Zeroizing::new(options),
        })
    }

    /// Starts an instance and opens the database in it.
    pub(crate) fn start(&self, directory: &mut Directory) -> Result<Guest, Error> {
        directory.prepare()?;
        let clock = self.clock.clone();
        let state = State::new(&self.settings, clock, directory).map_err(start_error)?;
        let mut store = Store::new(&self.engine, state);
        store.limiter(|state| &mut state.limits);
        // An answer may be as large as the component's memory; wasmtime's default limit is
        // smaller than the largest payload.
        store.set_hostcall_fuel(self.settings.memory_limit);
        let bindings =
            complete(self.component.instantiate_async(&mut store)).map_err(start_error)?;
        let location = format!("/{}", self.settings.file_name);
        let sessions = bindings.wasi_sessions_store_sessions().store();
        let opened = sessions.call_open(&mut store, &location, &self.options);
        let opened = complete(opened).map_err(start_error)??;
        let files = &store.data().files;
        if !files.are_in_effect() {
            let words = "WASI opens files in another way than this host expects";
            return Err(Error::Start(Cause::new(words)));
        }
        directory.opened(files.database().as_deref())?;
        Ok(Guest {
            store,
            bindings,
            opened,
        })
    }
}

fn prepare(
    memory_limit: usize,
    cache: Option<&Cache>,
) -> wasmtime::Result<(Engine, SessionStorePre<State>)> {
    let engine = engine(memory_limit)?;
    let component = compiled::compile(&engine, COMPONENT, cache)?;
    let mut linker = Linker::new(&engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    filesystem::add_to_linker(&mut linker)?;
    let component = SessionStorePre::new(linker.instantiate_pre(&component)?)?;
    Ok((engine, component))
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

fn start_error(error: wasmtime::Error) -> Error {
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
    pub(crate) fn get(&mut self, id: &str) -> Called<Option<Session>> {
        let sessions = self.bindings.wasi_sessions_store_sessions().store();
        complete(sessions.call_get(&mut self.store, self.opened, id))
    }

    /// Calls the contract's `batch`, which runs all requests in one transaction.
    pub(crate) fn batch(
        &mut self,
        requests: &[Request],
    ) -> Called<Vec<Result<Reply, contract::Error>>> {
        let sessions = self.bindings.wasi_sessions_store_sessions().store();
        complete(sessions.call_batch(&mut self.store, self.opened, requests))
    }

    /// Calls one function of the contract's `admin`.
    pub(crate) fn admin<T>(
        &mut self,
        call: impl AsyncFnOnce(&contract::Admin, &mut Store<State>, ResourceAny) -> Called<T>,
    ) -> Called<T> {
        let admin = self.bindings.wasi_sessions_store_admin();
        complete(call(admin, &mut self.store, self.opened))
    }

    /// Has the component write a copy of the database to [`BACKUP`] in `directory`.
    pub(crate) fn backup(&mut self, directory: File) -> Called<()> {
        let lent = filesystem::lend(directory);
        let own = self.store.data_mut().exchange_backup_directory(lent)?;
        let location = format!("{}/{BACKUP}", GuestFiles::BACKUP);
        let done = self.admin(async |admin, store, opened| {
            admin.call_backup(store, opened, &location).await
        })?;
        self.store.data_mut().exchange_backup_directory(own)?;
        Ok(done)
    }

    /// The files that the component has open.
    pub(crate) fn files(&self) -> &GuestFiles {
        &self.store.data().files
    }

    /// The write-ahead log that the component has open.
    pub(crate) fn log(&self) -> Option<Arc<File>> {
        self.store.data().files.log()
    }

    /// Closes the database.
    pub(crate) fn close(mut self) {
        // After a trap here, SQLite recovers the database when it is opened next.
        let _ = complete(self.opened.resource_drop_async(&mut self.store));
    }
}

/// The name of the copy in a backup's directory.
pub(crate) const BACKUP: &str = "copy";
