//! A program that embeds wasmtime. It runs a command, a component of `wasi:cli` 0.2, which
//! uses a store that the program has open.
//!
//! Start it with `cargo run --example linked -- path/to/command.wasm`. The component opens
//! the store as `sessions.db`; the sessions are in `target/linked-example`.

use std::error::Error;

use wasi_sessions::{Builder, Stores, StoresView};
use wasmtime::component::{Component, Linker, ResourceTable};
use wasmtime::{Engine, Store};
use wasmtime_wasi::p2::bindings::Command;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

/// The data of an instance.
struct State {
    stores: Stores,
    table: ResourceTable,
    wasi: WasiCtx,
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

fn stores(state: &mut State) -> StoresView<'_> {
    StoresView {
        stores: &state.stores,
        table: &mut state.table,
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let file = std::env::args_os().nth(1).ok_or("a component is needed")?;
    let sessions = Builder::new("target/linked-example/sessions")
        .cache_directory("target/linked-example/compiled")
        .open()
        .await?;

    let engine = Engine::default();
    let mut linker = Linker::new(&engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    wasi_sessions::add_to_linker(&mut linker, stores)?;

    let component = Component::from_file(&engine, file)?;
    let state = State {
        stores: Stores::new().with("sessions.db", sessions),
        table: ResourceTable::new(),
        wasi: WasiCtx::builder().inherit_stdio().build(),
    };
    let mut store = Store::new(&engine, state);
    let command = Command::instantiate_async(&mut store, &component, &linker).await?;
    let ended = command.wasi_cli_run().call_run(&mut store).await?;
    ended.map_err(|()| "the component failed".into())
}
