//! What one instance of a web component is given.

use std::future::Future;

use hyper::{Request, Response};
use wasmtime::component::ResourceTable;
use wasmtime::{StoreLimits, StoreLimitsBuilder};
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_http::{
    Error, RequestOptions, WasiBody, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks, WasiHttpView,
};

use crate::{Stores, StoresView};

/// Things of the host that an instance may hold at the same time.
const RESOURCES: usize = 10_000;

/// The data of one instance: clocks, randomness, an environment, stores. No
/// arguments, files, standard streams or network.
pub(super) struct Guest {
    wasi: WasiCtx,
    http: WasiHttpCtx,
    table: ResourceTable,
    stores: Stores,
    pub(super) limits: StoreLimits,
    network: NoNetwork,
}

impl Guest {
    pub(super) fn new(
        environment: &[(String, String)],
        stores: &Stores,
        memory_limit: usize,
    ) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(RESOURCES);
        Self {
            wasi: WasiCtxBuilder::new().envs(environment).build(),
            http: WasiHttpCtx::new(),
            table,
            stores: stores.clone(),
            limits: StoreLimitsBuilder::new().memory_size(memory_limit).build(),
            network: NoNetwork,
        }
    }

    pub(super) fn stores(&mut self) -> StoresView<'_> {
        StoresView {
            stores: &self.stores,
            table: &mut self.table,
        }
    }
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

impl WasiHttpView for Guest {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView {
            ctx: &mut self.http,
            table: &mut self.table,
            hooks: &mut self.network,
        }
    }
}

/// Sends no request anywhere.
struct NoNetwork;

type Sending = dyn Future<Output = Result<(), Error>> + Send;
type Sent = Result<(Response<WasiBody>, Box<Sending>), Error>;

impl WasiHttpHooks for NoNetwork {
    fn send_request(
        &mut self,
        _: Request<WasiBody>,
        _: Option<RequestOptions>,
        _: Box<Sending>,
    ) -> Box<dyn Future<Output = Sent> + Send> {
        Box::new(async { Err(Error::HttpRequestDenied) })
    }
}
