//! One request after the other: an instance each, within its time and its limits.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use hyper::header::{CONTENT_LENGTH, HeaderMap};
use hyper::{Request, Response};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};
use tokio::time::{Instant, timeout_at};
use wasmtime::Store;
use wasmtime::component::Resource;
use wasmtime_wasi_http::WasiHttpView;
use wasmtime_wasi_http::p2::bindings::ProxyPre;
use wasmtime_wasi_http::p2::bindings::http::types::{ErrorCode, Scheme};
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;
use wasmtime_wasi_http::p2::types::{HostIncomingRequest, HostResponseOutparam};

use super::Server;
use super::access_log::{LogLine, Target};
use super::authority;
use super::body::{Arriving, CheckedBody, Excuse, Reported};
use super::engine;
use super::failure::Failure;
use super::guest::Guest;
use super::progress::Progress;
use super::time_outs::{TimeOuts, after};
use crate::sandbox::compiled::Cache;

/// The component, what its instances are given, and room for so many of them.
pub(super) struct Service {
    component: ProxyPre<Guest>,
    settings: Server,
    places: Arc<Semaphore>,
    stopped: watch::Sender<bool>,
}

impl Service {
    /// Compiles the component.
    pub(super) fn new(settings: Server, component: &[u8]) -> wasmtime::Result<Self> {
        let cache = match &settings.cache_directory {
            Some(directory) => Cache::open(directory, settings.stores.directories())?,
            None => None,
        };
        let component = engine::prepare(
            component,
            cache.as_ref(),
            settings.admin,
            settings.memory_limit,
            settings.instance_limit,
        )?;
        Ok(Self {
            component,
            places: Arc::new(Semaphore::new(settings.instance_limit as usize)),
            settings,
            stopped: watch::Sender::new(false),
        })
    }

    pub(super) fn time_outs(&self) -> &TimeOuts {
        &self.settings.time_outs
    }

    pub(super) fn connection_limit(&self) -> usize {
        self.settings.connection_limit
    }

    /// Waits until no instance is left.
    pub(super) async fn finished(&self) {
        // The semaphore is never closed, and then none would be left either.
        let _ = self.places.acquire_many(self.settings.instance_limit).await;
    }

    /// Stops all instances, and the requests that wait for one.
    pub(super) async fn stop(&self) {
        self.stopped.send_replace(true);
        self.finished().await;
    }

    /// Answers a request that was received at the address `local`.
    pub(super) async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
        local: SocketAddr,
        progress: Arc<Progress>,
    ) -> Result<Response<Reported>, Infallible> {
        let target = Arc::new(Target::of(&request));
        progress.begin(LogLine::new(target.clone()));
        let response = self.respond(request, local, target, &progress).await;
        let response = response.unwrap_or_else(|failure| failure.response());
        progress.respond(response.status());
        Ok(response.map(|body| Reported::new(body, progress)))
    }

    async fn respond(
        self: Arc<Self>,
        request: Request<Incoming>,
        local: SocketAddr,
        target: Arc<Target>,
        progress: &Progress,
    ) -> Result<Response<HyperOutgoingBody>, Failure> {
        let limit = self.settings.body_limit;
        let deadline = after(self.time_outs().request);
        let (mut head, body) = request.into_parts();
        authority::complete(&mut head, local)?;
        if body.size_hint().lower() > limit {
            return Err(Failure::TooLarge);
        }
        let excused = Arc::new(AtomicBool::new(false));
        let patience = self.time_outs().body;
        let (mut body, cut) = Arriving::new(body, limit, patience, deadline, excused.clone());
        let mut stopped = self.stopped.subscribe();
        // A request takes an instance only after its body has arrived.
        let ready = async {
            body.gather().await?;
            progress.has_body();
            match timeout_at(deadline, self.places.clone().acquire_owned()).await {
                Ok(Ok(place)) => Ok(place),
                _ => Err(Failure::Busy),
            }
        };
        let place = tokio::select! {
            biased;
            _ = stopped.wait_for(|stopped| *stopped) => Err(Failure::Stopped),
            ready = ready => ready,
        }?;
        let (out, response) = oneshot::channel();
        let request = Request::from_parts(head, body);
        let instance = Instance::new(&self, request, out, excused.clone());
        let instance = instance.map_err(|_| Failure::Malformed)?;
        let failed = instance.failed.clone();
        // A task of its own, which goes on when the response has begun, and when
        // nobody waits for it any more.
        let excuse = Excuse::new(excused);
        let ended = tokio::spawn(instance.run(self, target.clone(), deadline, place));
        tokio::select! {
            biased;
            Ok(failure) = cut => Err(failure),
            response = response => match response {
                Ok(Ok(response)) if response.status().is_informational() => {
                    Err(target.logged(Failure::Interim))
                }
                Ok(Ok(response)) => {
                    let length = length(response.headers());
                    Ok(response.map(|body| {
                        CheckedBody::new(body, length, failed, excuse).boxed_unsync()
                    }))
                }
                Ok(Err(_)) => Err(target.logged(Failure::Refused)),
                // The instance is gone, and with it whoever could respond.
                Err(_) => Err(match ended.await {
                    Ok(Ok(())) => target.logged(Failure::Silent),
                    Ok(Err(failure)) => failure,
                    Err(panicked) => target.logged(Failure::Trapped(panicked.to_string())),
                }),
            },
        }
    }
}

/// The length of a body, if its head has a valid Content-Length.
fn length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// An instance of the component with one request.
struct Instance {
    store: Store<Guest>,
    request: Resource<HostIncomingRequest>,
    out: Resource<HostResponseOutparam>,
    /// Whether it failed, which is known before the instance is dropped.
    failed: Arc<AtomicBool>,
    /// Whether its client has gone or sent an incomplete request: later failures
    /// are not the component's fault.
    excused: Arc<AtomicBool>,
}

type Sender = oneshot::Sender<Result<Response<HyperOutgoingBody>, ErrorCode>>;

impl Instance {
    fn new(
        service: &Service,
        request: Request<Arriving>,
        out: Sender,
        excused: Arc<AtomicBool>,
    ) -> wasmtime::Result<Self> {
        let settings = &service.settings;
        let memory_limit = settings.memory_limit;
        let guest = Guest::new(
            &settings.environment,
            &settings.stores,
            memory_limit,
            excused.clone(),
        );
        let mut store = Store::new(service.component.engine(), guest);
        store.limiter(|guest| &mut guest.limits);
        store.set_hostcall_fuel(memory_limit);
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

    /// Has the component answer the request; it is done when the body is.
    async fn run(
        self,
        service: Arc<Service>,
        target: Arc<Target>,
        deadline: Instant,
        place: OwnedSemaphorePermit,
    ) -> Result<(), Failure> {
        let Self {
            mut store,
            request,
            out,
            failed,
            excused,
        } = self;
        let answering = async {
            let instance = service.component.instantiate_async(&mut store).await?;
            let handler = instance.wasi_http_incoming_handler();
            handler.call_handle(&mut store, request, out).await
        };
        let mut stopped = service.stopped.subscribe();
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
        // The log is complete when all places are free.
        let ended = ended.map_err(|failure| match excused.load(Ordering::Acquire) {
            true => failure,
            false => target.logged(failure),
        });
        drop(place);
        ended
    }
}
