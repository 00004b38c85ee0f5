//! Instances: each answers one request, or several one after the other if the server is
//! told to reuse them.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::time::sleep;
use wasmtime::Store;
use wasmtime_wasi_http::p2::bindings::{Proxy, ProxyPre};

use super::instance::WebInstance;
use super::settings::Settings;

/// How long an instance is kept for a next request.
const KEPT: Duration = Duration::from_secs(1);

/// An instance, between requests or in one.
pub(super) struct Instance {
    pub(super) store: Store<WebInstance>,
    /// `None` before its first request.
    pub(super) proxy: Option<Proxy>,
    requests: u32,
}

impl Instance {
    /// The data of an instance that its first request creates.
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

    /// Begins a request. Once `excused` is set, the client has gone or has sent an
    /// incomplete request: what the instance then writes to standard error is logged
    /// at a lower level.
    fn begin(&mut self, settings: &Settings, excused: Arc<AtomicBool>) {
        self.requests += 1;
        self.store.data().begin(excused);
        self.store.set_hostcall_fuel(settings.memory_limit);
        self.store.set_epoch_deadline(1);
    }
}

/// The instances that wait for a next request; clones are the same.
#[derive(Clone)]
pub(super) struct Instances {
    /// How many requests an instance answers.
    limit: u32,
    waiting: Arc<Mutex<Waiting>>,
}

#[derive(Default)]
struct Waiting {
    /// Those that have waited longest first.
    instances: Vec<(Instant, Instance)>,
    /// Whether a task drops those that have waited for too long.
    expiring: bool,
}

impl Instances {
    /// None yet; each answers at most `limit` requests.
    pub(super) fn new(limit: u32) -> Self {
        Self {
            limit,
            waiting: Arc::default(),
        }
    }

    /// An instance for a request: the one that answered last, or a new one.
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

    /// Keeps an instance that has answered, for a next request. Drops it if that was
    /// its last one, or if it still holds a part of it: dropped, that part ends
    /// visibly.
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

    /// Drops all that wait.
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
