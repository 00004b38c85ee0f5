//! The engine of web components, with a pool of short-lived instances and an epoch that
//! interrupts them.

use std::thread;
use std::time::Duration;

use wasmtime::component::{Component, Linker};
use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig,
};
use wasmtime_wasi_http::p2::bindings::ProxyPre;

use super::error::Error;
use super::instance::WebInstance;
use super::limits::{CORE_INSTANCES, MEMORIES, TABLES};
use crate::sandbox::compiled::{self, Cache};

/// How long an instance may compute before it yields.
const TICK: Duration = Duration::from_millis(10);

/// The size of the guard region behind a memory if there is no address space for the pool,
/// in bytes.
const SMALL_GUARD: u64 = 64 << 10;

/// The address space into which a memory without a pool can grow before it is moved, in
/// bytes.
const GROWTH: u64 = 1 << 20;

/// How much of each memory a slot of the pool keeps resident for the next instance, in
/// bytes. Resetting pages takes less time than unmapping and mapping them again.
const KEPT_OF_MEMORY: usize = 1 << 20;

/// How much of each table a slot keeps resident, in bytes.
const KEPT_OF_TABLE: usize = 64 << 10;

/// How much of its stack a slot keeps resident, in bytes.
const KEPT_OF_STACK: usize = 256 << 10;

/// Compiles and links the component.
pub(super) fn prepare(
    component: &[u8],
    cache: Option<&Cache>,
    admin: bool,
    memory_limit: usize,
    instances: u32,
) -> wasmtime::Result<ProxyPre<WebInstance>> {
    // Without address space for the pool (`ulimit -v`), each instance maps only what it
    // uses, and a memory that grows is moved.
    let engine = Engine::new(configuration().allocation_strategy(pool(memory_limit, instances)))
        .or_else(|_| {
            let mut small = configuration();
            small.memory_reservation(0).memory_guard_size(SMALL_GUARD);
            small.memory_reservation_for_growth(GROWTH);
            Engine::new(&small)
        })?;
    let component: Component = compiled::compile(&engine, component, component, cache)?;
    let mut linker = Linker::new(&engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    crate::add_to_linker(&mut linker, WebInstance::stores)?;
    if admin {
        crate::add_admin_to_linker(&mut linker, WebInstance::stores)?;
    } else if imports_admin(&component) {
        return Err(Error::AdminNotLinked.into());
    }
    let prepared = ProxyPre::new(linker.instantiate_pre(&component)?)?;
    tick(&engine)?;
    Ok(prepared)
}

/// Whether the component imports any version of `admin`.
fn imports_admin(component: &Component) -> bool {
    let of_component = component.component_type();
    let mut imports = of_component.imports(component.engine());
    imports.any(|(name, _)| name.starts_with("wasi-sessions:store/admin@"))
}

fn configuration() -> Config {
    let mut config = Config::new();
    config.cranelift_opt_level(OptLevel::Speed);
    config.epoch_interruption(true);
    // WASI 0.2 has no concurrent calls, and calls are faster without this.
    config.concurrency_support(false);
    // Backtraces are useless, because components are stripped of names.
    config.wasm_backtrace_max_frames(None);
    config.generate_address_map(false);
    config
}

fn pool(memory_limit: usize, instances: u32) -> InstanceAllocationStrategy {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(instances)
        .total_stacks(instances)
        .total_core_instances(instances.saturating_mul(CORE_INSTANCES))
        .total_memories(instances.saturating_mul(MEMORIES))
        .total_tables(instances.saturating_mul(TABLES))
        .max_core_instances_per_component(CORE_INSTANCES)
        .max_memories_per_component(MEMORIES)
        .max_tables_per_component(TABLES)
        .max_memory_size(memory_limit);
    pool.linear_memory_keep_resident(KEPT_OF_MEMORY)
        .table_keep_resident(KEPT_OF_TABLE)
        .async_stack_keep_resident(KEPT_OF_STACK)
        // Resets only the pages that were written if the kernel reports them (Linux 6.7),
        // otherwise everything resident.
        .pagemap_scan(Enabled::Auto);
    InstanceAllocationStrategy::Pooling(pool)
}

/// Increments the epoch every [`TICK`] so that running instances yield; ends when the
/// engine is dropped. Uses its own thread, because all others may be busy in instances.
fn tick(engine: &Engine) -> wasmtime::Result<()> {
    let engine = engine.weak();
    thread::Builder::new()
        .name("wasi-sessions-web".to_owned())
        .spawn(move || {
            while let Some(engine) = engine.upgrade() {
                engine.increment_epoch();
                drop(engine);
                thread::sleep(TICK);
            }
        })?;
    Ok(())
}
