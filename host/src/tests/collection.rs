//! Tests of collections that the crate itself runs, while it is idle or in many steps.

use std::sync::Condvar;
use std::time::Instant;

use super::*;

#[test]
fn an_idle_store_collects_its_garbage() {
    for through_the_queue in [false, true] {
        let home = home();
        let now = Arc::new(AtomicU64::new(1_700_000_000_000));
        let clock = now.clone();
        let mut idle = builder(&home).clock(move || {
            SystemTime::UNIX_EPOCH + Duration::from_millis(clock.load(Ordering::SeqCst))
        });
        idle.settings.idle = Duration::from_millis(5);
        let sessions = idle.open().wait().unwrap();
        let done = |batch: Answer<_>| match through_the_queue {
            true => pollster::block_on(batch),
            false => batch.wait(),
        };
        let create = Request::Create(NewSession::new(vec![b'x'; 4000]).ttl(ms(1000)));
        for _ in 0..10 {
            done(sessions.batch(vec![create.clone(); 100])).unwrap();
        }
        let file = home.path().join("store/sessions.db");
        let size = || fs::metadata(&file).unwrap().len();
        now.fetch_add(1000, Ordering::SeqCst);
        // One request wakes the store's thread; no others follow.
        assert_eq!(sessions.count_sessions(None).wait(), Ok(0));
        let deadline = Instant::now() + Duration::from_secs(300);
        while size() > 1 << 20 {
            assert!(Instant::now() < deadline, "{} bytes are left", size());
            thread::yield_now();
        }
    }
}

#[test]
fn a_full_collection_lets_other_requests_run_between_its_steps() {
    let home = home();
    let clock = Arc::new(PausingClock::default());
    let shown = clock.clone();
    let sessions = builder(&home).clock(move || shown.read());
    let sessions = sessions.open().wait().unwrap();
    let create = Request::Create(NewSession::new(vec![b'x'; 500]).ttl(ms(1000)));
    for _ in 0..20 {
        sessions.batch(vec![create.clone(); 1000]).wait().unwrap();
    }
    let kept = sessions
        .create(NewSession::new("kept").ttl(ms(1_000_000)))
        .wait();
    let id = kept.unwrap().id;
    clock.now.store(1000, Ordering::SeqCst);

    // The collection is stopped in its first step, and again two readings later.
    clock.stop_after(1);
    let collector = sessions.clone();
    let collection = thread::spawn(move || collector.collect_all().wait());
    let mut context = Context::from_waker(Waker::noop());
    let mut asked = vec![];
    for _ in 0..2 {
        clock.wait_until_stopped();
        let mut set = sessions.set(&id, "", Some(ms(1_000_000)));
        let mut stats = sessions.stats();
        assert!(Pin::new(&mut set).poll(&mut context).is_pending());
        assert!(Pin::new(&mut stats).poll(&mut context).is_pending());
        asked.push((set, stats));
        clock.stop_after(2);
    }
    clock.go_on();
    let seen: Vec<u64> = asked
        .into_iter()
        .map(|(set, stats)| {
            assert!(matches!(set.wait(), Ok(Outcome::Written(_))));
            stats.wait().unwrap().expired
        })
        .collect();
    assert_eq!(collection.join().unwrap(), Ok(20_000));
    assert!(
        20_000 > seen[0] && seen[0] >= seen[1] && seen[1] > 0,
        "others saw {seen:?}"
    );
    assert_eq!(sessions.stats().wait().unwrap().expired, 0);
    assert_eq!(sessions.collect_all().wait(), Ok(0));
}

/// A clock that blocks its reader at the n-th reading.
#[derive(Default)]
struct PausingClock {
    /// The time, in milliseconds.
    now: AtomicU64,
    state: Mutex<Pause>,
    changed: Condvar,
}

#[derive(Default)]
struct Pause {
    /// The readings until a reader is stopped; `None` if none is to be stopped.
    left: Option<u64>,
    has_stopped: bool,
}

impl PausingClock {
    fn read(&self) -> SystemTime {
        let mut state = self.state.lock().unwrap();
        state.left = state.left.map(|left| left.saturating_sub(1));
        if state.left == Some(0) {
            state.has_stopped = true;
            self.changed.notify_all();
            let going_on = self
                .changed
                .wait_while(state, |state| state.left == Some(0));
            drop(going_on.unwrap());
        }
        SystemTime::UNIX_EPOCH + Duration::from_millis(self.now.load(Ordering::SeqCst))
    }

    /// Lets a stopped reader go on, and stops the one after so many further readings.
    fn stop_after(&self, readings: u64) {
        self.set(Some(readings));
    }

    /// Lets all readers go on.
    fn go_on(&self) {
        self.set(None);
    }

    fn set(&self, left: Option<u64>) {
        let mut state = self.state.lock().unwrap();
        (state.left, state.has_stopped) = (left, false);
        self.changed.notify_all();
    }

    fn wait_until_stopped(&self) {
        let state = self.state.lock().unwrap();
        let stopped = self.changed.wait_while(state, |state| !state.has_stopped);
        drop(stopped.unwrap());
    }
}
