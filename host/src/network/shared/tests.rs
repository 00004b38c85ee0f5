//! Tests of calls that callers run themselves, over connections that are numbers.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};

use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

use super::super::job::Finished;
use super::*;
use crate::owner::blocking::Blocking;

type Answer = Result<Replies, Error>;

/// A store without a dispatcher, in whose place the tests receive messages.
struct Store {
    runtime: Runtime,
    shared: Shared<usize>,
    queue: Arc<Queue>,
    messages: mpsc::UnboundedSender<Message<usize>>,
    received: mpsc::UnboundedReceiver<Message<usize>>,
}

fn store(connections: usize) -> Store {
    let runtime = Builder::new_current_thread().build().unwrap();
    let mut pool = Pool::new(0, connections);
    for number in 1..connections {
        pool.started(Some(number), Instant::now());
    }
    let queue = Arc::new(Queue::new());
    let shared = runtime.block_on(async { Shared::new(pool, queue.clone()) });
    let (messages, received) = mpsc::unbounded_channel();
    Store {
        runtime,
        shared,
        queue,
        messages,
        received,
    }
}

impl Store {
    /// Begins a call that is done when the sender sends its answer, or that traps.
    fn begin(&self, kind: Kind) -> Option<(Inline<'_, usize>, oneshot::Sender<Answer>)> {
        self.begin_from(kind, false)
    }

    /// The same for a task of the application's runtime, or another caller.
    fn begin_from(
        &self,
        kind: Kind,
        is_task: bool,
    ) -> Option<(Inline<'_, usize>, oneshot::Sender<Answer>)> {
        let (sender, answer) = oneshot::channel();
        let call = |connection, _| -> Running<usize> {
            Box::pin(async move {
                let done = answer.await.unwrap();
                let traps = done == Err(Error::Crashed);
                Finished {
                    connection: (!traps).then_some(connection),
                    done,
                }
            })
        };
        let inline = self.shared.begin(&self.messages, kind, is_task, call)?;
        Some((inline, sender))
    }

    fn is_free(&self) -> bool {
        self.begin(Kind::Read).is_some()
    }
}

fn poll(inline: &mut Inline<'_, usize>, waker: &Waker) -> Option<Answer> {
    match Pin::new(inline).poll(&mut Context::from_waker(waker)) {
        Poll::Ready(answer) => Some(answer),
        Poll::Pending => None,
    }
}

/// Counts how often it was woken.
#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn a_caller_runs_its_call_and_gives_the_connection_back() {
    let store = store(1);
    let (mut inline, sender) = store.begin(Kind::Write).unwrap();
    assert_eq!(poll(&mut inline, Waker::noop()), None);
    assert!(!store.is_free());
    sender.send(Ok(vec![])).unwrap();
    assert_eq!(poll(&mut inline, Waker::noop()), Some(Ok(vec![])));
    assert!(store.is_free());
}

#[test]
fn callers_that_write_leave_a_connection_to_reads() {
    let store = store(2);
    let _write = store.begin(Kind::Write).unwrap();
    assert!(store.begin(Kind::Write).is_none());
    assert!(store.is_free());
}

#[test]
fn no_caller_overtakes_a_job_that_waits() {
    let store = store(1);
    let blocking = Blocking::new(true);
    let queued = pollster::block_on(store.queue.enter(&blocking)).unwrap();
    assert!(!store.is_free());
    drop(queued);
    store.shared.lock().has_waiting = true;
    assert!(!store.is_free());
    store.shared.lock().has_waiting = false;
    store.shared.lock().is_crowded = true;
    assert!(!store.is_free());
    store.shared.lock().is_crowded = false;
    assert!(store.is_free());
}

#[test]
fn the_dispatcher_is_woken_if_a_job_waits_for_the_connection_of_a_caller() {
    let mut store = store(1);
    let (mut inline, sender) = store.begin(Kind::Read).unwrap();
    store.shared.lock().has_waiting = true;
    sender.send(Ok(vec![])).unwrap();
    assert!(poll(&mut inline, Waker::noop()).is_some());
    drop(inline);
    // The first one begins the ticks.
    for _ in 0..2 {
        assert!(matches!(store.received.try_recv(), Ok(Message::Wake)));
    }
    assert!(store.received.try_recv().is_err());
}

#[test]
fn a_connection_is_not_used_again_before_a_dropped_call_is_done() {
    let mut store = store(1);
    let (mut inline, sender) = store.begin(Kind::Write).unwrap();
    assert_eq!(poll(&mut inline, Waker::noop()), None);
    drop(inline);
    assert!(!store.is_free());
    assert!(matches!(store.received.try_recv(), Ok(Message::Wake)));
    let Ok(Message::Finish(Place::Pool(Kind::Write), running)) = store.received.try_recv() else {
        panic!("the call was lost");
    };
    sender.send(Ok(vec![])).unwrap();
    let finished = store.runtime.block_on(running);
    assert_eq!(finished.connection, Some(0));
    assert!(!store.is_free(), "the dispatcher gives it back");
}

#[test]
fn a_task_of_the_application_uses_the_applications_connection_once_it_is_open() {
    let mut store = store(4);
    let application = Runtime::new().unwrap();
    let _entered = application.enter();
    assert!(!store.shared.is_task_of_application(Waker::noop()));
    let place_of = |is_task| {
        let (mut inline, sender) = store.begin_from(Kind::Read, is_task).unwrap();
        let place = store.shared.lock().calls[0].place;
        sender.send(Ok(vec![])).unwrap();
        assert!(poll(&mut inline, Waker::noop()).is_some());
        place
    };
    let pool = Place::Pool(Kind::Read);
    assert_eq!([place_of(false), place_of(true)], [pool, pool]);
    let opened = Some(Ok::<_, ()>(7));
    let now = Instant::now();
    store.shared.lock().pool.application.opened(opened, now);
    assert_eq!(place_of(true), Place::Application);
    assert_eq!(place_of(false), pool);
    let first = store.begin_from(Kind::Write, true).unwrap();
    let second = store.begin_from(Kind::Write, true).unwrap();
    assert_eq!(first.0.call.place, Place::Application);
    assert_eq!(second.0.call.place, Place::Pool(Kind::Write));
    drop((first, second));
    let opens = || store.received.try_recv().into_iter();
    let opens: Vec<_> = std::iter::repeat_with(opens).take(8).flatten().collect();
    let replaced = opens.iter().filter_map(|message| match message {
        Message::OpenForApplication(_, replaced) => Some(*replaced),
        _ => None,
    });
    assert_eq!(replaced.collect::<Vec<_>>(), [Some(0)]);
}

#[test]
fn a_call_that_is_taken_over_answers_its_caller() {
    let store = store(1);
    let (mut inline, sender) = store.begin(Kind::Read).unwrap();
    let woken = Arc::new(Woken::default());
    assert_eq!(poll(&mut inline, &woken.clone().into()), None);
    let taken = store.shared.take_over(Instant::now()).pop().unwrap();
    assert!(store.shared.take_over(Instant::now()).is_empty());
    taken.waker.unwrap().wake();
    assert_eq!(woken.0.load(Ordering::SeqCst), 1);
    assert_eq!(poll(&mut inline, &woken.clone().into()), None);
    sender.send(Ok(vec![])).unwrap();
    let finished = store.runtime.block_on(taken.running);
    let before = woken.0.load(Ordering::SeqCst);
    taken.caller.answer(finished.done);
    assert_eq!(woken.0.load(Ordering::SeqCst), before + 1);
    assert_eq!(poll(&mut inline, Waker::noop()), Some(Ok(vec![])));
}

#[test]
fn a_call_that_the_dispatcher_drops_is_closed() {
    let store = store(1);
    let (mut inline, _sender) = store.begin(Kind::Read).unwrap();
    drop(store.shared.take_over(Instant::now()));
    assert_eq!(poll(&mut inline, Waker::noop()), Some(Err(Error::Closed)));
}

#[test]
fn a_store_is_active_again_after_a_call_of_a_caller() {
    let store = store(1);
    for _ in 0..2 {
        // As the collection of an idle store begins.
        store.shared.lock().is_active = false;
        drop(store.begin(Kind::Read).unwrap());
        assert!(store.shared.lock().is_active);
        store
            .shared
            .lock()
            .pool
            .give_back(Place::Pool(Kind::Read), Some(0), Instant::now());
    }
}

#[test]
fn only_calls_that_began_before_are_taken_over() {
    let store = store(2);
    let (mut inline, sender) = store.begin(Kind::Read).unwrap();
    let before = store.shared.lock().calls[0].began;
    assert!(store.shared.take_over(before).is_empty());
    assert!(store.shared.tick() && store.shared.tick());
    sender.send(Ok(vec![])).unwrap();
    assert!(poll(&mut inline, Waker::noop()).is_some());
    assert!(store.shared.take_over(Instant::now()).is_empty());
    assert!(!store.shared.tick(), "no call runs");
}

#[test]
fn a_connection_is_not_used_again_after_a_trap() {
    let store = store(1);
    let (mut inline, sender) = store.begin(Kind::Read).unwrap();
    sender.send(Err(Error::Crashed)).unwrap();
    let crashed = poll(&mut inline, Waker::noop());
    assert_eq!(crashed, Some(Err(Error::Crashed)));
    assert!(!store.is_free());
    assert_eq!(store.shared.lock().pool.open(), 0);
}

#[test]
fn a_panic_in_a_call_closes_the_store() {
    let mut store = store(2);
    let panics = |_, _| -> Running<usize> { Box::pin(async { panic!("no time") }) };
    let inline = store
        .shared
        .begin(&store.messages, Kind::Read, false, panics);
    let answer = poll(&mut inline.unwrap(), Waker::noop());
    assert_eq!(answer, Some(Err(Error::Closed)));
    assert!(!store.is_free());
    assert!(matches!(store.received.try_recv(), Ok(Message::Wake)));
    assert!(matches!(store.received.try_recv(), Ok(Message::Panicked)));
}

#[test]
fn a_call_that_ends_after_the_store_was_closed_gives_no_connection_back() {
    let store = store(1);
    let (mut inline, sender) = store.begin(Kind::Read).unwrap();
    assert!(store.shared.close().is_empty());
    sender.send(Ok(vec![])).unwrap();
    assert_eq!(poll(&mut inline, Waker::noop()), Some(Ok(vec![])));
    assert!(store.shared.close().is_empty());
}

#[test]
fn a_panic_of_a_callers_waker_is_contained() {
    struct Panics;
    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            panic!("a waker");
        }
    }
    let store = store(1);
    let (mut inline, sender) = store.begin(Kind::Read).unwrap();
    assert_eq!(poll(&mut inline, &Arc::new(Panics).into()), None);
    sender.send(Ok(vec![])).unwrap();
    assert_eq!(poll(&mut inline, Waker::noop()), Some(Ok(vec![])));
}
