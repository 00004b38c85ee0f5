//! An instance of a component over a network, in a sandbox of the tests' own.

use std::net::SocketAddr;

use wasmtime::component::{Component, Linker, ResourceAny, ResourceTable};
use wasmtime::{Engine, Store};
use wasmtime_wasi::sockets::SocketAddrUse;
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

// The documentation is in the WIT files.
#[allow(missing_docs)]
pub mod bindings {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "session-store",
        exports: { default: async },
    });
}

use bindings::exports::wasi_sessions::store::sessions::{Error, Outcome};

/// Calls a function of an open store, which must not trap.
macro_rules! call {
    ($instance:expr, $open:expr, $function:ident($($argument:expr),*)) => {{
        let sessions = $instance.component.wasi_sessions_store_sessions();
        let store = sessions.store();
        store.$function(&mut $instance.store, $open $(, $argument)*).await.unwrap()
    }};
}

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

/// A WASI that may connect to this address, and nothing else on the network.
pub fn reaching(allowed: SocketAddr) -> WasiCtxBuilder {
    let mut wasi = WasiCtx::builder();
    wasi.allow_tcp(true)
        .allow_udp(false)
        .socket_addr_check(move |address, purpose| {
            let is_allowed = match purpose {
                SocketAddrUse::TcpConnect => address == allowed,
                // The system chooses the local address of the connection.
                SocketAddrUse::TcpBind => address.ip().is_unspecified(),
                _ => false,
            };
            Box::pin(async move { is_allowed })
        });
    wasi
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
        let wasi = reaching(allowed).env(variable.0, variable.1).build();
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

    /// Writes a session, and moves it to a new id.
    pub async fn write(&mut self, open: ResourceAny) -> Written {
        let created = call!(self, open, call_create(b"{}", None, Some("alice"))).unwrap();
        let session = call!(self, open, call_get(&created.id)).unwrap().unwrap();
        assert_eq!((session.data, session.version), (b"{}".to_vec(), 1));
        // The largest payload, over many packets in both directions.
        let large: Vec<u8> = (0..1 << 20).map(|number| number as u8).collect();
        let written = call!(self, open, call_set(&created.id, &large, None)).unwrap();
        assert!(matches!(written, Outcome::Written(written) if written.version == 2));
        let rotated = call!(self, open, call_rotate(&created.id, Some("bob"))).unwrap();
        Written {
            ended: created.id,
            id: rotated.unwrap().id,
            large,
        }
    }

    /// Checks that the session is as it was written, and that its old id is refused.
    pub async fn check(&mut self, open: ResourceAny, written: &Written) {
        let late = call!(self, open, call_set(&written.ended, b"late", None));
        assert!(matches!(late, Ok(Outcome::Gone)), "{late:?}");
        let session = call!(self, open, call_get(&written.id)).unwrap().unwrap();
        assert!(session.data == written.large);
        assert_eq!(
            (session.subject.as_deref(), session.version),
            (Some("bob"), 3)
        );
    }

    /// Checks that the host refuses another address, and the component an option of SQLite.
    pub async fn refuses(&mut self, url: &str, options: &str) {
        let elsewhere = url.replace("127.0.0.1", "127.0.0.2");
        match self.open(&elsewhere, options).await.err() {
            Some(Error::Other(words)) => assert!(words.contains("does not let it"), "{words}"),
            other => panic!("{other:?}"),
        }
        match self.open(url, r#"{"access": "shared"}"#).await.err() {
            Some(Error::InvalidArgument(words)) => assert!(words.contains("`access`"), "{words}"),
            other => panic!("{other:?}"),
        }
    }
}

/// A session that was written, and then moved to another id.
pub struct Written {
    ended: String,
    id: String,
    large: Vec<u8>,
}
