//! One call of the component: an instance that answers one request, within its time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hyper::{Request, Response};
use tokio::sync::{OwnedSemaphorePermit, oneshot, watch};
use tokio::time::{Instant, timeout_at};
use wasmtime::Store;
use wasmtime::component::Resource;
use wasmtime_wasi_http::WasiHttpView;
use wasmtime_wasi_http::p2::bindings::ProxyPre;
use wasmtime_wasi_http::p2::bindings::http::types::{ErrorCode, Scheme};
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;
use wasmtime_wasi_http::p2::types::{HostIncomingRequest, HostResponseOutparam};

use super::access_log::Target;
use super::body::RequestBody;
use super::failure::Failure;
use super::instance::WebInstance;
use super::settings::Settings;

/// Sends the head of the response, or the component's error.
pub(super) type ResponseSender = oneshot::Sender<Result<Response<HyperOutgoingBody>, ErrorCode>>;

/// A request in the store of an instance that is yet to be created.
pub(super) struct Call {
    store: Store<WebInstance>,
    request: Resource<HostIncomingRequest>,
    out: Resource<HostResponseOutparam>,
    failed: Arc<AtomicBool>,
    excused: Arc<AtomicBool>,
}

impl Call {
    /// `excused` is set once the client has gone or has sent an incomplete request:
    /// later failures are not the component's fault.
    pub(super) fn new(
        component: &ProxyPre<WebInstance>,
        settings: &Settings,
        request: Request<RequestBody>,
        out: ResponseSender,
        excused: Arc<AtomicBool>,
    ) -> wasmtime::Result<Self> {
        let instance = WebInstance::new(settings, excused.clone());
        let mut store = Store::new(component.engine(), instance);
        store.limiter(|instance| &mut instance.limits);
        store.set_hostcall_fuel(settings.memory_limit);
        store.set_epoch_deadline(1);
        store.epoch_deadline_async_yield_and_update(1);
        let mut http = store.data_mut().http();
        let request = http.new_incoming_request(Scheme::Http, request)?;
        let out = http.new_response_outparam(out)?;
        Ok(Self {
            store,
            request,
            out,
            failed: Arc::new(AtomicBool::new(false)),
            excused,
        })
    }

    /// The flag that is set if the call fails, before its instance is dropped.
    pub(super) fn failed(&self) -> Arc<AtomicBool> {
        self.failed.clone()
    }

    /// Has the component answer the request, until `deadline` or until `stopped` is
    /// set; completes when the body of the response does. `permit` is the instance's,
    /// released at the end.
    pub(super) async fn run(
        self,
        component: ProxyPre<WebInstance>,
        target: Arc<Target>,
        deadline: Instant,
        mut stopped: watch::Receiver<bool>,
        permit: OwnedSemaphorePermit,
    ) -> Result<(), Failure> {
        let Self {
            mut store,
            request,
            out,
            failed,
            excused,
        } = self;
        let answering = async {
            let instance = component.instantiate_async(&mut store).await?;
            let handler = instance.wasi_http_incoming_handler();
            handler.call_handle(&mut store, request, out).await
        };
        let ended = tokio::select! {
            biased;
            _ = stopped.wait_for(|stopped| *stopped) => Err(Failure::Stopped),
            ended = timeout_at(deadline, answering) => match ended {
                Ok(ended) => ended.map_err(|error| Failure::Trapped(error.root_cause().to_string())),
                Err(_) => Err(Failure::TimedOut),
            },
        };
        failed.store(ended.is_err(), Ordering::Release);
        drop(store);
        // Logged before the permit is released: when all permits are free, the log is
        // complete.
        let ended = ended.map_err(|failure| match excused.load(Ordering::Acquire) {
            true => failure,
            false => target.logged(failure),
        });
        drop(permit);
        ended
    }
}
