//! One request after the other: an instance each, within its time and its limits.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
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
use super::body::{Limited, Whole};
use super::engine::{self, INSTANCES};
use super::guest::Guest;
use crate::compiled::Cache;

/// Longest part of a path in the log, in bytes.
const PATH_IN_LOG: usize = 256;

/// Thirty years, which every clock can add.
const FAR: Duration = Duration::from_secs(30 * 365 * 86_400);

/// What the log says of a client that did not wait for the response: nobody is
/// sent this status, which other servers' logs have, too.
const CLIENT_IS_GONE: StatusCode = match StatusCode::from_u16(499) {
    Ok(status) => status,
    Err(_) => panic!("no status"),
};

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
        let memory_limit = settings.memory_limit;
        let component = engine::prepare(component, cache.as_ref(), settings.admin, memory_limit)?;
        Ok(Self {
            component,
            settings,
            places: Arc::new(Semaphore::new(INSTANCES as usize)),
            stopped: watch::Sender::new(false),
        })
    }

    pub(super) fn time_out(&self) -> Duration {
        self.settings.time_out
    }

    /// Waits until no instance is left.
    pub(super) async fn finished(&self) {
        // The semaphore is never closed, and then none would be left either.
        let _ = self.places.acquire_many(INSTANCES).await;
    }

    /// Stops all instances, wherever they are.
    pub(super) async fn stop(&self) {
        self.stopped.send_replace(true);
        self.finished().await;
    }

    /// Answers a request, and logs that.
    pub(super) async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> Result<Response<HyperOutgoingBody>, Infallible> {
        let mut line = Line::new(&request);
        let response = self.respond(request, line.target.clone()).await;
        let response = response.unwrap_or_else(|failure| failure.response());
        line.status = response.status();
        Ok(response)
    }

    async fn respond(
        self: Arc<Self>,
        request: Request<Incoming>,
        target: Arc<Target>,
    ) -> Result<Response<HyperOutgoingBody>, Failure> {
        let limit = self.settings.body_limit;
        if request.body().size_hint().lower() > limit {
            return Err(Failure::TooLarge);
        }
        let deadline = after(self.settings.time_out);
        let place = timeout_at(deadline, self.places.clone().acquire_owned());
        let Ok(Ok(place)) = place.await else {
            return Err(Failure::Busy);
        };
        let (request, exceeded) = {
            let (head, body) = request.into_parts();
            let (body, exceeded) = Limited::new(body, limit);
            (Request::from_parts(head, body), exceeded)
        };
        let (out, response) = oneshot::channel();
        let instance = Instance::new(&self, request, out).map_err(|_| Failure::Malformed)?;
        let failed = instance.failed.clone();
        // A task of its own, which goes on when the response has begun, and when
        // nobody waits for it any more.
        let ended = tokio::spawn(instance.run(self, target.clone(), deadline, place));
        tokio::select! {
            biased;
            Ok(()) = exceeded => Err(Failure::TooLarge),
            response = response => match response {
                Ok(Ok(response)) => Ok(response.map(|body| Whole::new(body, failed).boxed_unsync())),
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

/// What a request asks for, as the log names it.
struct Target {
    method: Method,
    path: String,
}

impl Target {
    /// The failure, after the log heard of it where the component is to blame.
    fn logged(&self, failure: Failure) -> Failure {
        if let Some(reason) = failure.reason() {
            let Self { method, path } = self;
            tracing::warn!(%method, path, reason, "the component failed");
        }
        failure
    }
}

/// A request's line in the log, written when this is dropped.
struct Line {
    started: Instant,
    target: Arc<Target>,
    status: StatusCode,
}

impl Line {
    fn new(request: &Request<Incoming>) -> Self {
        let mut path = request.uri().path().to_owned();
        path.truncate(path.floor_char_boundary(PATH_IN_LOG));
        let method = request.method().clone();
        Self {
            started: Instant::now(),
            target: Arc::new(Target { method, path }),
            status: CLIENT_IS_GONE,
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let Target { method, path } = &*self.target;
        let status = self.status.as_u16();
        let milliseconds = self.started.elapsed().as_millis() as u64;
        tracing::info!(%method, path, status, milliseconds);
    }
}

/// An instance of the component with one request.
struct Instance {
    store: Store<Guest>,
    request: Resource<HostIncomingRequest>,
    out: Resource<HostResponseOutparam>,
    /// Whether it failed, which is known before the instance is dropped.
    failed: Arc<AtomicBool>,
}

type Sender = oneshot::Sender<Result<Response<HyperOutgoingBody>, ErrorCode>>;

impl Instance {
    /// Fails for a request that does not say for which host it is.
    fn new(service: &Service, request: Request<Limited>, out: Sender) -> wasmtime::Result<Self> {
        let settings = &service.settings;
        let memory_limit = settings.memory_limit;
        let guest = Guest::new(&settings.environment, &settings.stores, memory_limit);
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
        let ended = ended.map_err(|failure| target.logged(failure));
        drop(place);
        ended
    }
}

/// The moment after that time, or one that nobody lives to see.
fn after(time: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(time).unwrap_or(now + FAR)
}

/// Why a component has no response to a request, or not all of it.
#[derive(Debug)]
enum Failure {
    /// The request does not say for which host it is.
    Malformed,
    /// Its body is longer than the limit.
    TooLarge,
    /// No place was free in time.
    Busy,
    /// The instance trapped; says how.
    Trapped(String),
    /// The instance took too long.
    TimedOut,
    /// The server stops.
    Stopped,
    /// The instance ended without a response.
    Silent,
    /// The instance responded with an error of its own.
    Refused,
}

impl Failure {
    fn status(&self) -> StatusCode {
        match self {
            Self::Malformed => StatusCode::BAD_REQUEST,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Busy | Self::Stopped => StatusCode::SERVICE_UNAVAILABLE,
            Self::TimedOut => StatusCode::GATEWAY_TIMEOUT,
            Self::Trapped(_) | Self::Silent | Self::Refused => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// What the log says beside the status, where that is about the component.
    fn reason(&self) -> Option<&str> {
        let reason = match self {
            Self::Trapped(reason) => reason,
            Self::TimedOut => "the component took too long",
            Self::Silent => "the component ended without a response",
            Self::Refused => "the component responded with an error",
            Self::Malformed | Self::TooLarge | Self::Busy | Self::Stopped => return None,
        };
        Some(reason)
    }

    /// A response in plain words, after which the connection is closed where
    /// something of the request may be left unread.
    fn response(&self) -> Response<HyperOutgoingBody> {
        let status = self.status();
        let words = format!("{status}\n");
        let body = Full::from(words).map_err(|never| match never {});
        let mut response = Response::new(body.boxed_unsync());
        *response.status_mut() = status;
        let headers = response.headers_mut();
        let text = HeaderValue::from_static("text/plain; charset=utf-8");
        headers.insert(CONTENT_TYPE, text);
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        response
    }
}
