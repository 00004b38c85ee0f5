//! An instance of a component over a network, in a sandbox of the tests' own.

use std::net::SocketAddr;

use wasmtime::component::{Component, Linker, ResourceAny, ResourceTable};
use wasmtime::{Engine, Store};
use wasmtime_wasi::sockets::SocketAddrUse;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

// The documentation is in the WIT files.
#[allow(missing_docs)]
pub mod bindings {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "session-store",
        exports: { default: async },
    });
}

use bindings::exports::wasi_sessions::store::sessions::Error;

/// The state of an instance.
pub struct State {
    wasi: WasiCtx,
    table: ResourceTable,
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

/// An instance of the component that may connect to one address.
pub struct Instance {
    pub store: Store<State>,
    pub component: bindings::SessionStore,
}

impl Instance {
    /// One of the component in `file`, with a variable in its environment.
    pub async fn start(file: &str, allowed: SocketAddr, variable: (&str, &str)) -> Instance {
        let engine = Engine::default();
        let component = Component::from_file(&engine, file).unwrap();
        let mut linker = Linker::new(&engine);
        wasmtime_wasi::p2::add_to_linker_async(&mut linker).unwrap();
        let wasi = WasiCtx::builder()
            .allow_tcp(true)
            .allow_udp(false)
            .socket_addr_check(move |address, purpose| {
                Box::pin(async move {
                    match purpose {
                        SocketAddrUse::TcpConnect => address == allowed,
                        // The system chooses the local address of the connection.
                        SocketAddrUse::TcpBind => address.ip().is_unspecified(),
                        _ => false,
                    }
                })
            })
            .env(variable.0, variable.1)
            .build();
        let state = State {
            wasi,
            table: ResourceTable::new(),
        };
        let mut store = Store::new(&engine, state);
        let component = bindings::SessionStore::instantiate_async(&mut store, &component, &linker);
        let component = component.await.unwrap();
        Instance { store, component }
    }

    /// Opens a store.
    pub async fn open(&mut self, url: &str, options: &str) -> Result<ResourceAny, Error> {
        let sessions = self.component.wasi_sessions_store_sessions();
        let stores = sessions.store();
        stores
            .call_open(&mut self.store, url, options)
            .await
            .unwrap()
    }
}

/// Calls a function of an open store, which must not trap.
macro_rules! call {
    ($instance:expr, $open:expr, $function:ident($($argument:expr),*)) => {{
        let sessions = $instance.component.wasi_sessions_store_sessions();
        let store = sessions.store();
        store.$function(&mut $instance.store, $open $(, $argument)*).await.unwrap()
    }};
}

pub(crate) use call;
