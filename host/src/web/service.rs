//! Handles requests: each is checked, waits for a permit, and is answered by an instance, or
//! else with the response of a [`Failure`].

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use hyper::header::{CONTENT_LENGTH, HeaderMap};
use hyper::{Method, Request, Response, StatusCode};
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::time::timeout_at;
use wasmtime_wasi_http::p2::bindings::ProxyPre;
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;

use super::access_log::{LogLine, Target};
use super::authority;
use super::body::{CheckedBody, Excuse, RequestBody, TrackedBody, discard};
use super::call::Call;
use super::engine;
use super::failure::Failure;
use super::instance::WebInstance;
use super::progress::Progress;
use super::reuse::Instances;
use super::settings::{Settings, TimeOuts, after};
use crate::sandbox::compiled::Cache;

/// The compiled component, its settings, and the permits of its instances.
pub(super) struct Service {
    component: ProxyPre<WebInstance>,
    settings: Settings,
    permits: Arc<Semaphore>,
    /// The waiting instances. Together with those that have a permit they never exceed the
    /// limit.
    instances: Instances,
    stopped: watch::Sender<bool>,
}

impl Service {
    /// Compiles the component.
    pub(super) fn new(settings: Settings, component: &[u8]) -> wasmtime::Result<Self> {
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
            permits: Arc::new(Semaphore::new(settings.instance_limit as usize)),
            instances: Instances::new(settings.requests_per_instance),
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

    /// Waits until no instance runs, and drops the waiting ones.
    pub(super) async fn finished(&self) {
        // Fails only if the semaphore is closed, which it never is.
        let _ = self
            .permits
            .acquire_many(self.settings.instance_limit)
            .await;
        self.instances.clear();
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
    ) -> Result<Response<TrackedBody>, Infallible> {
        let target = Arc::new(Target::of(&request));
        progress.begin(LogLine::new(target.clone()));
        let response = self.respond(request, local, target, &progress).await;
        let response = response.unwrap_or_else(|failure| failure.response());
        progress.respond(response.status());
        Ok(response.map(|body| TrackedBody::new(body, progress)))
    }

    async fn respond(
        self: Arc<Self>,
        request: Request<Incoming>,
        local: SocketAddr,
        target: Arc<Target>,
        progress: &Arc<Progress>,
    ) -> Result<Response<HyperOutgoingBody>, Failure> {
        let limit = self.settings.body_limit;
        let deadline = after(self.time_outs().request);
        let (mut head, body) = request.into_parts();
        let is_head = head.method == Method::HEAD;
        authority::complete(&mut head, local)?;
        if body.size_hint().lower() > limit {
            return Err(Failure::TooLarge);
        }
        let excused = Arc::new(AtomicBool::new(false));
        let patience = self.time_outs().body;
        let upload = progress.upload();
        let (mut body, cut) =
            RequestBody::new(body, limit, patience, deadline, excused.clone(), upload);
        let mut stopped = self.stopped.subscribe();
        // A request takes an instance only after its body has arrived.
        let ready = async {
            body.gather().await?;
            progress.has_body();
            match timeout_at(deadline, self.permits.clone().acquire_owned()).await {
                Ok(Ok(permit)) => Ok(permit),
                _ => Err(Failure::Busy),
            }
        };
        let permit = tokio::select! {
            biased;
            _ = stopped.wait_for(|stopped| *stopped) => Err(Failure::Stopped),
            ready = ready => ready,
        }?;
        let (out, response) = oneshot::channel();
        let request = Request::from_parts(head, body);
        let instance = self
            .instances
            .take(&self.component, &self.settings, excused.clone());
        let call = Call::new(instance, request, out, excused.clone());
        let call = call.map_err(|_| Failure::Malformed)?;
        let failed = call.failed();
        let excuse = Excuse::new(excused);
        // In its own task, which continues after the response has begun, and if the client
        // goes away.
        let component = self.component.clone();
        let instances = self.instances.clone();
        let run = call.run(
            component,
            instances,
            target.clone(),
            deadline,
            stopped,
            permit,
        );
        let ended = tokio::spawn(run);
        tokio::select! {
            biased;
            Ok(failure) = cut => Err(failure),
            response = response => match response {
                Ok(Ok(response)) if response.status().is_informational() => {
                    Err(target.logged(Failure::Interim))
                }
                Ok(Ok(response)) => {
                    let length = length(response.headers());
                    let unsent = is_head || length == Some(0) || has_no_body(response.status());
                    Ok(response.map(|body| match unsent {
                        true => discard(body, excuse).boxed_unsync(),
                        false => CheckedBody::new(body, length, failed, excuse).boxed_unsync(),
                    }))
                }
                Ok(Err(_)) => Err(target.logged(Failure::Refused)),
                // The sender was dropped: the instance ended without a response.
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

/// Whether responses with this status have no body.
fn has_no_body(status: StatusCode) -> bool {
    matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}
