//! The host's data of one instance: its WASI context, its stores and its limits.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use hyper::{Request, Response};
use wasmtime::component::ResourceTable;
use wasmtime_wasi::p2::DynOutputStream;
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_http::{
    Error, RequestOptions, WasiBody, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks, WasiHttpView,
};

use super::guest_stderr::GuestStderr;
use super::limits::Limits;
use super::settings::{HEAD_LIMIT, Settings};
use crate::linked::OpenStore;
use crate::{Stores, StoresView};

/// The maximum number of the host's resources that an instance may hold at the same time.
/// Each takes memory of the host: at most a small multiple of [`FIELDS`] or [`CHUNK`].
const RESOURCES: usize = 256;

/// The maximum size of one set of headers, in bytes: names, values and about 40 bytes for
/// each of them. An instance that adds more traps.
const FIELDS: usize = HEAD_LIMIT;

/// The maximum number of resources that an instance may keep from one request to the next.
const KEPT_RESOURCES: usize = 16;

/// How much of a body may wait to be sent, in bytes.
const CHUNK: usize = 64 << 10;

/// The host's data of one instance: clocks, randomness, an environment, stores, and standard
/// error, which is logged. No arguments, files or network.
pub(super) struct WebInstance {
    wasi: WasiCtx,
    http: WasiHttpCtx,
    table: ResourceTable,
    stores: Stores,
    stderr: GuestStderr,
    pub(super) limits: Limits,
    network: NoNetwork,
}

impl WebInstance {
    /// The data of a new instance.
    pub(super) fn new(settings: &Settings) -> Self {
        let stderr = GuestStderr::default();
        let mut table = ResourceTable::new();
        table.set_max_capacity(RESOURCES);
        let mut http = WasiHttpCtx::new();
        http.set_field_size_limit(FIELDS);
        Self {
            wasi: WasiCtxBuilder::new()
                .envs(&settings.environment)
                .stderr(stderr.clone())
                .build(),
            http,
            table,
            stores: settings.stores.clone(),
            stderr,
            limits: Limits::new(settings.memory_limit),
            network: NoNetwork,
        }
    }

    /// Begins a request. After `excused` is set, its standard error is logged at a lower
    /// level.
    pub(super) fn begin(&self, excused: Arc<AtomicBool>) {
        self.stderr.begin(excused);
    }

    /// Ends a request; returns whether the instance can be reused: it holds no resource of
    /// the request, and few others. It may keep stores and standard error. An output stream
    /// is taken for standard error, because a body's stream never exists without the body.
    pub(super) fn end(&mut self) -> bool {
        self.stderr.end();
        let mut left = 0;
        let only_lasting = self.table.iter_mut().all(|entry| {
            left += 1;
            entry.is::<OpenStore>() || entry.is::<DynOutputStream>()
        });
        only_lasting && left <= KEPT_RESOURCES
    }

    pub(super) fn stores(&mut self) -> StoresView<'_> {
        StoresView {
            stores: &self.stores,
            table: &mut self.table,
        }
    }
}

impl WasiView for WebInstance {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

impl WasiHttpView for WebInstance {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView {
            ctx: &mut self.http,
            table: &mut self.table,
            hooks: &mut self.network,
        }
    }
}

/// Refuses outgoing requests.
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

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        CHUNK
    }
}
