//! One call of the component: an instance that answers a request before a deadline.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hyper::{Request, Response};
use tokio::sync::{OwnedSemaphorePermit, oneshot, watch};
use tokio::time::{Instant, timeout_at};
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
use super::reuse::{Instance, Instances};

/// Sends the head of the response, or the component's error.
pub(super) type ResponseSender = oneshot::Sender<Result<Response<HyperOutgoingBody>, ErrorCode>>;

/// A request that was given to an instance and is not answered yet.
pub(super) struct Call {
    instance: Instance,
    request: Resource<HostIncomingRequest>,
    out: Resource<HostResponseOutparam>,
    failed: Arc<AtomicBool>,
    excused: Arc<AtomicBool>,
}

impl Call {
    /// `excused` is set once the client has gone or has sent an incomplete request:
    /// later failures are not the component's fault.
    pub(super) fn new(
        mut instance: Instance,
        request: Request<RequestBody>,
        out: ResponseSender,
        excused: Arc<AtomicBool>,
    ) -> wasmtime::Result<Self> {
        let mut http = instance.store.data_mut().http();
        let request = http.new_incoming_request(Scheme::Http, request)?;
        let out = http.new_response_outparam(out)?;
        Ok(Self {
            instance,
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

    /// Calls the component, until `deadline` or until `stopped` is set. Completes when the
    /// body of the response is complete. `permit` is the instance's, and is released at the
    /// end, after the instance was returned to `instances`.
    pub(super) async fn run(
        self,
        component: ProxyPre<WebInstance>,
        instances: Instances,
        target: Arc<Target>,
        deadline: Instant,
        mut stopped: watch::Receiver<bool>,
        permit: OwnedSemaphorePermit,
    ) -> Result<(), Failure> {
        let Self {
            mut instance,
            request,
            out,
            failed,
            excused,
        } = self;
        let answering = async {
            let Instance { store, proxy, .. } = &mut instance;
            let proxy = match proxy {
                Some(proxy) => proxy,
                None => proxy.insert(component.instantiate_async(&mut *store).await?),
            };
            let handler = proxy.wasi_http_incoming_handler();
            handler.call_handle(store, request, out).await
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
        match ended {
            Ok(()) => instances.put(instance),
            Err(_) => drop(instance),
        }
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
