//! Tests of which thread runs a request, with the real component.

use std::fs;
use std::sync::atomic::AtomicU64;
use std::time::SystemTime;

use tempfile::TempDir;
use tokio::runtime::Builder as RuntimeBuilder;

use super::*;
use crate::contract::types::{GetRequest, SetRequest, TouchRequest};
use crate::sandbox::guest_files::SYNCS;
use crate::settings::Files;
use crate::tests::{builder, home};
use crate::{Durability, Outcome, Reply};

const NOW: u64 = 1_700_000_000_000;

/// An open store, the time that its clock shows, and how often the clock was read by the
/// store's thread (`there`) and by other threads (`here`): once for each request.
struct Store {
    home: TempDir,
    owner: OwnerThread,
    now: Arc<AtomicU64>,
    there: Arc<AtomicU64>,
    here: Arc<AtomicU64>,
}

impl Store {
    fn open(options: Options) -> Self {
        Self::with_cache(0, options)
    }

    fn with_cache(bytes: usize, options: Options) -> Self {
        let home = home();
        let now = Arc::new(AtomicU64::new(NOW));
        let (there, here) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let shown = now.clone();
        let counts = [there.clone(), here.clone()];
        let read = move || {
            let is_here = thread::current().name() != Some("wasi-sessions");
            counts[usize::from(is_here)].fetch_add(1, Ordering::SeqCst);
            SystemTime::UNIX_EPOCH + Duration::from_millis(shown.load(Ordering::SeqCst))
        };
        let settings = builder(&home).options(options).clock(read).settings;
        let files = Files::new(home.path().join("store"));
        let clock = StoreClock::new(settings.clock.clone());
        let cache = Arc::new(ReadCache::new(bytes, clock.clone(), false));
        let owner = pollster::block_on(OwnerThread::open(files, settings, clock, cache)).unwrap();
        there.store(0, Ordering::SeqCst);
        Self {
            home,
            owner,
            now,
            there,
            here,
        }
    }

    async fn ask(&self, request: Request) -> Reply {
        let replies = self.owner.batch(vec![request], &Blocking::new(false)).await;
        replies.unwrap().pop().unwrap().unwrap()
    }

    async fn set(&self, id: u64, ttl: u64) {
        let written = self.ask(set(id, ttl)).await;
        assert!(matches!(written, Reply::Outcome(Outcome::Written(_))));
    }

    async fn get(&self, id: u64) {
        let id = id.to_string();
        assert!(matches!(
            self.ask(Request::Get(GetRequest { id })).await,
            Reply::Session(_)
        ));
    }

    /// How many requests the store's thread ran, and how many other threads ran.
    fn done_there_and_here(&self) -> (u64, u64) {
        (
            self.there.load(Ordering::SeqCst),
            self.here.load(Ordering::SeqCst),
        )
    }
}

fn relaxed() -> Options {
    Options {
        durability: Durability::Relaxed,
        ..Options::default()
    }
}

fn set(id: u64, ttl: u64) -> Request {
    Request::Set(SetRequest {
        id: id.to_string(),
        data: vec![b'x'; 500],
        ttl: Some(ttl),
    })
}

#[test]
fn the_hosts_functions_for_writes_and_syncs_are_in_effect() {
    let store = Store::open(relaxed());
    let work = Inline::of(&[set(1, 1000)], &relaxed(), |_| None).unwrap();
    let waits = || {
        store
            .owner
            .shared_owner
            .lock()
            .as_ref()
            .unwrap()
            .waits_for_disk(&work)
    };
    pollster::block_on(store.set(1, 1000));
    assert!(!waits());
    store.now.fetch_add(1000, Ordering::SeqCst);
    pollster::block_on(
        store
            .owner
            .call(|owner| owner.collect(1), &Blocking::new(false)),
    )
    .unwrap();
    assert!(waits(), "a complete collection empties the log");
}

#[test]
fn small_reads_and_relaxed_writes_are_done_by_their_task() {
    for workers in [0, 1, 2] {
        let store = Arc::new(Store::open(relaxed()));
        let runtime = match workers {
            0 => RuntimeBuilder::new_current_thread().build().unwrap(),
            workers => RuntimeBuilder::new_multi_thread()
                .worker_threads(workers)
                .build()
                .unwrap(),
        };
        let task = store.clone();
        let requests = async move {
            for id in 0..300 {
                task.set(id, 1000).await;
                task.get(id).await;
            }
        };
        runtime.block_on(runtime.spawn(requests)).unwrap();
        let (there, here) = store.done_there_and_here();
        assert_eq!(there + here, 600);
        assert!(here > 300, "{here} were done by the task");
    }
}

#[test]
fn touches_of_cached_sessions_are_done_by_their_task_until_the_log_is_almost_full() {
    let store = Store::with_cache(1 << 20, relaxed());
    pollster::block_on(async {
        for id in 0..100 {
            store.set(id, 100_000).await;
            store.get(id).await;
        }
        let (there_before, _) = store.done_there_and_here();
        for number in 0..3_000 {
            let touch = Request::Touch(TouchRequest {
                id: (number % 100).to_string(),
                ttl: Some(100_000 + number),
            });
            assert!(matches!(store.ask(touch).await, Reply::Expires(Some(_))));
        }
        let there = store.done_there_and_here().0 - there_before;
        assert!(there < 300, "{there} of 3000 waited for the thread");
    });
}

#[test]
fn no_fsync_is_done_by_a_task() {
    let options = [
        relaxed(),
        Options::default(),
        Options {
            gc_frequency: 100,
            gc_step: 50,
            ..relaxed()
        },
    ];
    for options in options {
        let store = Store::open(options.clone());
        let runtime = RuntimeBuilder::new_current_thread().build().unwrap();
        let before = SYNCS.get();
        runtime.block_on(async {
            for id in 0..3_000 {
                store.set(id, 100).await;
                store.get(id).await;
                store.now.fetch_add(1, Ordering::SeqCst);
            }
        });
        assert_eq!(SYNCS.get() - before, 0, "{options:?}");
        let (_, here) = store.done_there_and_here();
        assert!(here > 300, "{here} were done by the task");
        let file = fs::metadata(store.home.path().join("store/sessions.db"));
        assert!(file.unwrap().len() > 100_000, "there was a checkpoint");
    }
}
