//! The engine of web components: many short-lived instances, which it can interrupt.

use std::thread;
use std::time::Duration;

use wasmtime::component::{Component, Linker};
use wasmtime::{Config, Engine, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig};
use wasmtime_wasi_http::p2::bindings::ProxyPre;

use super::Error;
use super::guest::Guest;
use crate::sandbox::compiled::{self, Cache};

/// How long an instance may compute before others have their turn.
const TICK: Duration = Duration::from_millis(10);

/// Address space behind a memory where there is little of it, in bytes.
const SMALL_GUARD: u64 = 64 << 10;

/// Address space for a memory to grow without being moved, likewise.
const GROWTH: u64 = 1 << 20;

/// Parts that one component may have.
pub(super) const CORE_INSTANCES: u32 = 16;
pub(super) const MEMORIES: u32 = 2;
pub(super) const TABLES: u32 = 8;

/// The component, compiled and linked, ready to be instantiated.
pub(super) fn prepare(
    component: &[u8],
    cache: Option<&Cache>,
    admin: bool,
    memory_limit: usize,
    instances: u32,
) -> wasmtime::Result<ProxyPre<Guest>> {
    // Where there is no address space for the pool (ulimit -v), each instance maps
    // no more than it uses, and moves a memory that grows.
    let engine = Engine::new(configuration().allocation_strategy(pool(memory_limit, instances)))
        .or_else(|_| {
            let mut small = configuration();
            small.memory_reservation(0).memory_guard_size(SMALL_GUARD);
            small.memory_reservation_for_growth(GROWTH);
            Engine::new(&small)
        })?;
    let component: Component = compiled::compile(&engine, component, cache)?;
    let mut linker = Linker::new(&engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    crate::add_to_linker(&mut linker, Guest::stores)?;
    if admin {
        crate::add_admin_to_linker(&mut linker, Guest::stores)?;
    } else if imports_admin(&component) {
        return Err(Error::AdminNotLinked.into());
    }
    let prepared = ProxyPre::new(linker.instantiate_pre(&component)?)?;
    tick(&engine)?;
    Ok(prepared)
}

/// Whether the component imports `admin`, in whichever version.
fn imports_admin(component: &Component) -> bool {
    let of_component = component.component_type();
    let mut imports = of_component.imports(component.engine());
    imports.any(|(name, _)| name.starts_with("wasi-sessions:store/admin@"))
}

fn configuration() -> Config {
    let mut config = Config::new();
    config.cranelift_opt_level(OptLevel::Speed);
    config.epoch_interruption(true);
    // WASI 0.2 has no concurrent calls, and others are faster without.
    config.concurrency_support(false);
    // A backtrace tells nothing without the names that components are stripped of.
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
    InstanceAllocationStrategy::Pooling(pool)
}

/// Has whoever computes stop and let others go first, again and again, as long
/// as the engine is there. A thread of its own does it: all others may be computing.
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
