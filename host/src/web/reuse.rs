//! Instances, which answer one request each, or several in turn if the server reuses them.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::time::sleep;
use wasmtime::Store;
use wasmtime_wasi_http::p2::bindings::{Proxy, ProxyPre};

use super::instance::WebInstance;
use super::settings::Settings;

/// How long an instance waits for its next request.
const KEPT: Duration = Duration::from_secs(1);

/// An instance, during a request or between requests.
pub(super) struct Instance {
    pub(super) store: Store<WebInstance>,
    /// `None` before its first request.
    pub(super) proxy: Option<Proxy>,
    requests: u32,
}

impl Instance {
    /// The store of a new instance; the first call instantiates the component.
    fn new(component: &ProxyPre<WebInstance>, settings: &Settings) -> Self {
        let mut store = Store::new(component.engine(), WebInstance::new(settings));
        store.limiter(|instance| &mut instance.limits);
        store.epoch_deadline_async_yield_and_update(1);
        Self {
            store,
            proxy: None,
            requests: 0,
        }
    }

    /// Begins a request. `excused` is set once the client has gone or has sent an incomplete
    /// request; from then on the instance's standard error is logged at a lower level.
    fn begin(&mut self, settings: &Settings, excused: Arc<AtomicBool>) {
        self.requests += 1;
        self.store.data().begin(excused);
        self.store.set_hostcall_fuel(settings.memory_limit);
        self.store.set_epoch_deadline(1);
    }
}

/// The instances that wait for their next request; clones share them.
#[derive(Clone)]
pub(super) struct Instances {
    /// How many requests an instance answers.
    limit: u32,
    waiting: Arc<Mutex<Waiting>>,
}

#[derive(Default)]
struct Waiting {
    /// The instances, and since when each waits; the one that has waited longest first.
    instances: Vec<(Instant, Instance)>,
    /// Whether a task is running that drops those that have waited for too long.
    expiring: bool,
}

impl Instances {
    /// No instances yet. Each will answer at most `limit` requests.
    pub(super) fn new(limit: u32) -> Self {
        Self {
            limit,
            waiting: Arc::default(),
        }
    }

    /// An instance for a request: the one that was used last, or a new one.
    pub(super) fn take(
        &self,
        component: &ProxyPre<WebInstance>,
        settings: &Settings,
        excused: Arc<AtomicBool>,
    ) -> Instance {
        let waiting = self.waiting().instances.pop();
        let mut instance = match waiting {
            Some((_, instance)) => instance,
            None => Instance::new(component, settings),
        };
        instance.begin(settings, excused);
        instance
    }

    /// Keeps an instance after a request for the next one. Drops it if it has reached its
    /// limit, or if it still holds a resource of the request, such as a body, which then
    /// ends with an error.
    pub(super) fn put(&self, mut instance: Instance) {
        if instance.requests >= self.limit || !instance.store.data_mut().end() {
            return;
        }
        let mut waiting = self.waiting();
        waiting.instances.push((Instant::now(), instance));
        if !waiting.expiring {
            waiting.expiring = true;
            tokio::spawn(expire(Arc::downgrade(&self.waiting)));
        }
    }

    /// Drops all waiting instances.
    pub(super) fn clear(&self) {
        let instances = std::mem::take(&mut self.waiting().instances);
        drop(instances);
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        lock(&self.waiting)
    }
}

fn lock(waiting: &Mutex<Waiting>) -> MutexGuard<'_, Waiting> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Drops instances that have waited for [`KEPT`], until none waits.
async fn expire(waiting: Weak<Mutex<Waiting>>) {
    loop {
        sleep(KEPT).await;
        let Some(waiting) = waiting.upgrade() else {
            return;
        };
        let mut locked = lock(&waiting);
        let instances = &mut locked.instances;
        let expired = instances.partition_point(|(since, _)| since.elapsed() >= KEPT);
        let expired: Vec<_> = instances.drain(..expired).collect();
        let empty = instances.is_empty();
        locked.expiring = !empty;
        drop(locked);
        drop(expired);
        if empty {
            return;
        }
    }
}
