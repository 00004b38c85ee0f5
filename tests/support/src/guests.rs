//! Instances of the tests' own guest, with stores that the host links.

use std::sync::LazyLock;

use wasi_sessions::{Stores, StoresView};
use wasmtime::component::{Component, Linker, ResourceTable};
use wasmtime::{Engine, Store};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{
    Error, RequestOptions, WasiBody, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks, WasiHttpView,
};

// The documentation is in the WIT files.
#[allow(missing_docs)]
mod bindings {
    wasmtime::component::bindgen!({
        path: ["../../wit", "../guests/test_guest/src/guest.wit"],
        world: "test:guest/guest",
        exports: { default: async },
    });
}

pub use bindings::exports::test::guest::calls;
pub use bindings::wasi_sessions::store::types::{self, Error as Refusal};

/// The file of the tests' own guest.
pub const FILE: &str = env!("TEST_GUEST_COMPONENT_FILE");

/// The file of the README's web component.
pub const COUNTER: &str = env!("COUNTER_COMPONENT_FILE");

/// The file of the component over PostgreSQL.
pub const POSTGRES: &str = env!("POSTGRES_COMPONENT_FILE");

/// The file of the component over MariaDB; `None` without Rust's own target, which it needs.
pub const MARIADB: Option<&str> = option_env!("MARIADB_COMPONENT_FILE");

/// The file of the web demo.
pub const WEB_DEMO: &str = env!("WEB_DEMO_COMPONENT_FILE");

static ENGINE: LazyLock<Engine> = LazyLock::new(Engine::default);
static COMPONENT: LazyLock<Component> =
    LazyLock::new(|| Component::from_file(&ENGINE, FILE).unwrap());

/// The linked guest, from which instances are created.
pub struct Guests {
    guest: bindings::GuestPre<State>,
    stores: Stores,
}

impl Guests {
    /// Guests with `sessions` and `admin` of these stores.
    pub fn new(stores: Stores) -> Self {
        let mut linker = linker();
        wasi_sessions::add_admin_to_linker(&mut linker, stores_view).unwrap();
        Self::with(linker, stores).unwrap()
    }

    /// Guests without `admin`, which fails, because this guest imports it.
    pub fn without_admin(stores: Stores) -> wasmtime::Result<Self> {
        Self::with(linker(), stores)
    }

    fn with(linker: Linker<State>, stores: Stores) -> wasmtime::Result<Self> {
        let guest = bindings::GuestPre::new(linker.instantiate_pre(&COMPONENT)?)?;
        Ok(Self { guest, stores })
    }

    /// A new instance, with no store open yet.
    pub async fn start(&self) -> Instance {
        let state = State::new(WasiCtx::builder().build(), self.stores.clone());
        let mut store = Store::new(&ENGINE, state);
        let guest = self.guest.instantiate_async(&mut store).await.unwrap();
        Instance { store, guest }
    }

    /// A new instance that has opened `sessions.db`.
    pub async fn open(&self) -> Instance {
        let mut instance = self.start().await;
        instance.open("sessions.db", "").await.unwrap();
        instance
    }
}

/// An instance of the guest.
pub struct Instance {
    /// Its state, limits and fuel.
    pub store: Store<State>,
    guest: bindings::Guest,
}

impl Instance {
    /// Lets the guest open a store, with options as JSON or an empty text.
    pub async fn open(&mut self, location: &str, options: &str) -> Result<(), Refusal> {
        let (calls, store) = self.calls();
        calls.call_open(store, location, options).await.unwrap()
    }

    /// The functions that the guest exports, and the store for calls.
    pub fn calls(&mut self) -> (&calls::Guest, &mut Store<State>) {
        (self.guest.test_guest_calls(), &mut self.store)
    }
}

/// The host's data of one instance of a component, this guest or another.
pub struct State {
    stores: Stores,
    table: ResourceTable,
    wasi: WasiCtx,
    http: WasiHttpCtx,
    hooks: NoNetwork,
}

impl State {
    /// Data with this WASI context, these stores, and no network.
    pub fn new(wasi: WasiCtx, stores: Stores) -> Self {
        Self {
            stores,
            table: ResourceTable::new(),
            wasi,
            http: WasiHttpCtx::new(),
            hooks: NoNetwork,
        }
    }
}

fn linker() -> Linker<State> {
    let mut linker = Linker::new(&ENGINE);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker).unwrap();
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker).unwrap();
    wasi_sessions::add_to_linker(&mut linker, stores_view).unwrap();
    linker
}

fn stores_view(state: &mut State) -> StoresView<'_> {
    StoresView {
        stores: &state.stores,
        table: &mut state.table,
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

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView {
            ctx: &mut self.http,
            table: &mut self.table,
            hooks: &mut self.hooks,
        }
    }
}

struct NoNetwork;

type Sending = dyn Future<Output = Result<(), Error>> + Send;
type Sent = Result<(hyper::Response<WasiBody>, Box<Sending>), Error>;

impl WasiHttpHooks for NoNetwork {
    fn send_request(
        &mut self,
        _: hyper::Request<WasiBody>,
        _: Option<RequestOptions>,
        _: Box<Sending>,
    ) -> Box<dyn Future<Output = Sent> + Send> {
        Box::new(async { Err(Error::HttpRequestDenied) })
    }
}
