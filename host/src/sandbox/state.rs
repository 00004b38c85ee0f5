//! The state of one instance of the component: its WASI context, its limits and its files.

use std::convert::Infallible;
use std::mem;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use rand_core::TryRng;
use tokio::task::unconstrained;
use wasmtime::component::{Resource, ResourceTable};
use wasmtime::{StoreLimits, StoreLimitsBuilder};
use wasmtime_wasi::filesystem::{Descriptor, Dir};
use wasmtime_wasi::{FsPerms, HostWallClock, WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

use crate::clock::StoreClock;
use crate::sandbox::directory::Directory;
use crate::sandbox::guest_files::GuestFiles;
use crate::sandbox::reachable::{Lookups, Reachable, Server};
use crate::settings::{Random, Settings};

/// Runs a call of the component to completion on this thread. WASI's file operations block
/// the thread instead of waiting for a runtime, so one poll completes the call, inside a
/// runtime or not. If it does not, this blocks until the call is complete: an instance is
/// unusable after a dropped call.
pub(crate) fn complete<T>(call: impl Future<Output = T>) -> T {
    let mut call = pin!(call);
    let mut context = Context::from_waker(Waker::noop());
    match call.as_mut().poll(&mut context) {
        Poll::Ready(done) => done,
        Poll::Pending => pollster::block_on(unconstrained(call)),
    }
}

/// The state of one instance. It has the clocks and randomness, and either the store's
/// directory as `/` or a network of some servers; no arguments or standard streams.
pub(crate) struct State {
    wasi: WasiCtx,
    pub(crate) table: ResourceTable,
    pub(crate) limits: StoreLimits,
    /// The files that it has open, if it has a directory.
    pub(crate) files: GuestFiles,
    /// The names that it looks up, if it has a network.
    pub(crate) lookups: Lookups,
}

impl State {
    /// The state of an instance that keeps its sessions in a directory. It has no
    /// environment and no network.
    pub(crate) fn with_directory(
        settings: &Settings,
        clock: Arc<StoreClock>,
        directory: &Directory,
        file_name: &str,
    ) -> wasmtime::Result<Self> {
        let mut wasi = context(settings, clock);
        // Lets file operations block the thread that calls the component. Must come before
        // the directories, which are opened with this setting.
        wasi.allow_blocking_current_thread(true);
        wasi.preopened_dir(directory.path(), "/", FsPerms::ReadWrite)?;
        wasi.preopened_dir(directory.path(), GuestFiles::BACKUP, FsPerms::ReadOnly)?;
        let files = GuestFiles::new(file_name, directory.new_file_mode());
        Ok(Self::new(settings, wasi, files, Lookups::default()))
    }

    /// The state of an instance that keeps its sessions on a server. It has this variable of
    /// the environment, TCP to these servers, and no files.
    pub(crate) fn with_network(
        settings: &Settings,
        clock: Arc<StoreClock>,
        servers: &[Server],
        environment: Option<(&str, &str)>,
    ) -> Self {
        let mut wasi = context(settings, clock);
        if let Some((name, value)) = environment {
            wasi.env(name, value);
        }
        let reachable = Arc::new(Reachable::new(servers));
        let lookups = Lookups::of(reachable.clone());
        wasi.allow_tcp(true)
            .allow_udp(false)
            .allow_ip_name_lookup(reachable.has_names())
            .socket_addr_check(move |address, purpose| {
                let allowed = reachable.allows(address, purpose);
                Box::pin(async move { allowed })
            });
        Self::new(settings, wasi, GuestFiles::new("", 0), lookups)
    }

    fn new(
        settings: &Settings,
        mut wasi: WasiCtxBuilder,
        files: GuestFiles,
        lookups: Lookups,
    ) -> Self {
        let limits = StoreLimitsBuilder::new()
            .memory_size(settings.memory_limit)
            .trap_on_grow_failure(true)
            .build();
        Self {
            wasi: wasi.build(),
            table: ResourceTable::new(),
            limits,
            files,
            lookups,
        }
    }

    /// Replaces the component's directory for backups; returns the previous one.
    pub(crate) fn exchange_backup_directory(&mut self, directory: Dir) -> wasmtime::Result<Dir> {
        let backup = self.files.backup();
        let backup = backup.ok_or_else(|| wasmtime::Error::msg("no directory for backups"))?;
        let place = Resource::<Descriptor>::new_borrow(backup);
        let place = self.table.get_mut(&place)?;
        match mem::replace(place, Descriptor::Dir(directory)) {
            Descriptor::Dir(before) => Ok(before),
            Descriptor::File(_) => Err(wasmtime::Error::msg("not a directory for backups")),
        }
    }
}

/// The clock and the randomness of any instance.
fn context(settings: &Settings, clock: Arc<StoreClock>) -> WasiCtxBuilder {
    let mut wasi = WasiCtxBuilder::new();
    wasi.wall_clock(WallClock(clock));
    if let Some(random) = &settings.random {
        wasi.secure_random(SecureRandom(random.clone()));
    }
    wasi
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
