//! The component in wasmtime: how it is started, what it may touch, how it is called.

use std::convert::Infallible;
use std::fs::File;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use rand_core::TryRng;
use tokio::task::unconstrained;
use wasmtime::component::{Linker, ResourceAny, ResourceTable};
use wasmtime::{
    Config, Engine, Memory, MemoryType, OptLevel, Store, StoreLimits, StoreLimitsBuilder,
};
use wasmtime_wasi::{FsPerms, HostWallClock, WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

use crate::clock::StoreClock;
use crate::sandbox::compiled::{self, Cache};
use crate::sandbox::directory::Directory;
use crate::sandbox::guest_files::{self, GuestFiles};
use crate::settings::{Random, Settings};
use crate::{Error, Reply, Request, Session};

// The documentation is in `wit/`.
#[allow(missing_docs)]
mod bindings {
    wasmtime::component::bindgen!({
        path: "wit",
        world: "session-store",
        exports: { default: async },
        additional_derives: [PartialEq, Eq],
        trappable_error_type: { "wasi-sessions:store/types.error" => wasmtime::Error },
    });
}

/// The contract's types, as generated from `wit/`.
pub(crate) mod contract {
    pub use super::bindings::exports::wasi_sessions::store::admin::Guest as Admin;
    pub use super::bindings::wasi_sessions::store::types;
    pub use super::bindings::wasi_sessions::store::types::Error;
}

/// The store itself: the bytes of the component's file, which the build script
/// built.
///
/// It exports the contract and imports WASI 0.2, so that it can be composed with
/// a component that imports the contract into one file that needs only a
/// directory: `wac plug web.wasm --plug store.wasm`. This crate's own instances
/// are started by [`Builder::open`](crate::Builder::open).
pub static COMPONENT: &[u8] = include_bytes!(env!("WASI_SESSIONS_COMPONENT_FILE"));

/// What a call of the component comes to: the outer error is a trap, after
/// which the guest is of no use; the inner one is the contract's.
pub(crate) type Called<T> = wasmtime::Result<Result<T, contract::Error>>;

/// The compiled component, and what its instances are given.
pub(crate) struct Launcher {
    engine: Engine,
    component: bindings::SessionStorePre<State>,
    settings: Settings,
    clock: Arc<StoreClock>,
    options: String,
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
            .map_err(|error| Error::Start(error.to_string()))?;
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
            options,
        })
    }

    /// Starts an instance and opens the database in it.
    pub(crate) fn start(&self, directory: &mut Directory) -> Result<Guest, Error> {
        directory.prepare()?;
        let clock = self.clock.clone();
        let state = State::new(&self.settings, clock, directory).map_err(start_error)?;
        let mut store = Store::new(&self.engine, state);
        store.limiter(|state| &mut state.limits);
        // An answer may be as large as the memory it comes from; wasmtime's own
        // limit is below the largest payload.
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
            return Err(Error::Start(words.to_owned()));
        }
        directory.opened(files.database().as_deref())?;
        Ok(Guest {
            store,
            bindings,
            opened,
        })
    }
}

/// Runs a call of the component on this thread. The call has a stack of its own,
/// and WASI's files block the thread instead of waiting for a runtime, so the call
/// is complete after one poll, inside a runtime or not. If it is not, this blocks
/// until it is: a dropped call would leave an instance of no use.
pub(super) fn complete<T>(call: impl Future<Output = T>) -> T {
    let mut call = pin!(call);
    let mut context = Context::from_waker(Waker::noop());
    match call.as_mut().poll(&mut context) {
        Poll::Ready(done) => done,
        Poll::Pending => pollster::block_on(unconstrained(call)),
    }
}

fn prepare(
    memory_limit: usize,
    cache: Option<&Cache>,
) -> wasmtime::Result<(Engine, bindings::SessionStorePre<State>)> {
    let engine = engine(memory_limit)?;
    let component = compiled::compile(&engine, COMPONENT, cache)?;
    let mut linker = Linker::new(&engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    guest_files::add_to_linker(&mut linker)?;
    let component = bindings::SessionStorePre::new(linker.instantiate_pre(&component)?)?;
    Ok((engine, component))
}

/// Creates an engine that reserves the whole address space of a linear memory, so
/// that accesses need no bounds check; or, if the process may not have so much
/// (`ulimit -v`), one that reserves only the memory limit.
fn engine(memory_limit: usize) -> wasmtime::Result<Engine> {
    let mut config = Config::new();
    config.cranelift_opt_level(OptLevel::Speed);
    // The contract has no concurrent calls, and a call is four times faster
    // without what they need.
    config.concurrency_support(false);
    // Backtraces of the component are never shown.
    config.wasm_backtrace_max_frames(None);
    config.generate_address_map(false);
    let engine = Engine::new(&config)?;
    if has_address_space(&engine) {
        return Ok(engine);
    }
    config.memory_reservation(memory_limit as u64);
    Engine::new(&config)
}

/// Whether there is address space for a memory, and as much again for everything
/// else.
fn has_address_space(engine: &Engine) -> bool {
    let mut store = Store::new(engine, ());
    let smallest = MemoryType::new(0, None);
    (0..2).all(|_| Memory::new(&mut store, smallest.clone()).is_ok())
}

fn start_error(error: wasmtime::Error) -> Error {
    Error::Start(format!("{error:#}"))
}

/// An instance of the component with the database open.
pub(crate) struct Guest {
    store: Store<State>,
    bindings: bindings::SessionStore,
    opened: ResourceAny,
}

impl Guest {
    /// The session, if it is there.
    pub(crate) fn get(&mut self, id: &str) -> Called<Option<Session>> {
        let sessions = self.bindings.wasi_sessions_store_sessions().store();
        complete(sessions.call_get(&mut self.store, self.opened, id))
    }

    /// Does all requests in one transaction, as the contract's `batch`.
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
        let lent = guest_files::lend(directory);
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
        // A trap here leaves the database to the recovery of the next open.
        let _ = complete(self.opened.resource_drop_async(&mut self.store));
    }
}

/// The copy's name in the directory that a backup is written to.
pub(crate) const BACKUP: &str = "copy";

/// What one instance is given: the store's directory as `/`, the clocks and
/// randomness. No arguments, environment, standard streams or network.
pub(crate) struct State {
    wasi: WasiCtx,
    pub(crate) table: ResourceTable,
    limits: StoreLimits,
    pub(crate) files: GuestFiles,
}

impl State {
    fn new(
        settings: &Settings,
        clock: Arc<StoreClock>,
        directory: &Directory,
    ) -> wasmtime::Result<Self> {
        let mut wasi = WasiCtxBuilder::new();
        wasi.wall_clock(WallClock(clock));
        if let Some(random) = &settings.random {
            wasi.secure_random(SecureRandom(random.clone()));
        }
        // The directory is opened with this setting, so it has to come first:
        // whichever thread calls the component may wait for files.
        wasi.allow_blocking_current_thread(true);
        wasi.preopened_dir(directory.path(), "/", FsPerms::ReadWrite)?;
        wasi.preopened_dir(directory.path(), GuestFiles::BACKUP, FsPerms::ReadOnly)?;
        let limits = StoreLimitsBuilder::new()
            .memory_size(settings.memory_limit)
            .trap_on_grow_failure(true)
            .build();
        Ok(Self {
            wasi: wasi.build(),
            table: ResourceTable::new(),
            limits,
            files: GuestFiles::new(&settings.file_name, directory.new_file_mode()),
        })
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

struct WallClock(Arc<StoreClock>);

impl HostWallClock for WallClock {
    fn resolution(&self) -> Duration {
        Duration::from_millis(1)
    }

    fn now(&self) -> Duration {
        self.0.tell()
    }
}

struct SecureRandom(Random);

impl SecureRandom {
    fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        (self.0)(&mut bytes);
        bytes
    }
}

impl TryRng for SecureRandom {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(u32::from_le_bytes(self.bytes()))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(u64::from_le_bytes(self.bytes()))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        (self.0)(bytes);
        Ok(())
    }
}
