//! Tests of many guests on one open store, with guests that are killed, never end, close the
//! store or crash it.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use tokio::task::JoinSet;
use wasi_sessions::{Options, Stores};

use crate::fixture::Home;
use crate::guests::types::*;
use crate::guests::{Guests, Instance, Refusal, calls};

use super::{LIFE, opened, refusal};

/// Increments the number in the payload, and retries while the update is stale.
async fn increment(guest: &mut Instance, id: &str) {
    let mut session = call!(guest, call_get(id)).unwrap().unwrap();
    loop {
        let number: u64 = String::from_utf8(session.data).unwrap().parse().unwrap();
        let next = (number + 1).to_string();
        let version = Some(session.version);
        match call!(guest, call_update(id, next.as_bytes(), LIFE, version)).unwrap() {
            calls::Outcome::Written(_) => return,
            calls::Outcome::Stale(stored) => session = stored,
            calls::Outcome::Gone => panic!("the session was ended"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_instances_share_one_store() {
    const INSTANCES: usize = 64;
    let home = Home::new();
    let (sessions, guests) = opened(&home, Options::default()).await;
    let id = sessions.create("0").await.unwrap().id;
    let mut tasks = JoinSet::new();
    for _ in 0..INSTANCES {
        let mut guest = guests.open().await;
        let id = id.clone();
        tasks.spawn(async move {
            for _ in 0..5 {
                increment(&mut guest, &id).await;
            }
        });
    }
    tasks.join_all().await;
    let session = sessions.get(&id).await.unwrap().unwrap();
    assert_eq!(session.data, b"320");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_killed_in_mid_write_loses_no_answered_write() {
    let home = Home::new();
    let (sessions, guests) = opened(&home, Options::default()).await;
    for round in 1..=20 {
        let mut guest = guests.open().await;
        let writing = tokio::spawn(async move {
            let (calls, store) = guest.calls();
            calls.call_write_until_killed(store).await
        });
        // Each write is sent only after the previous one was answered.
        let far = (round * 3).to_string();
        while sessions.get(&far).await.unwrap().is_none() {
            assert!(!writing.is_finished());
            tokio::task::yield_now().await;
        }
        writing.abort();
        assert!(writing.await.unwrap_err().is_cancelled());

        let written = sessions.count_sessions(None).await.unwrap();
        for id in 0..written {
            let session = sessions.get(&id.to_string()).await.unwrap();
            assert!(session.is_some(), "{id} of {written}");
        }
        let mut next = guests.open().await;
        assert!(call!(next, call_get("0")).unwrap().is_some());
        assert_eq!(call!(next, call_clear()).unwrap(), written);
        home.advance(60_000);
    }
    assert_eq!(sessions.check().await, Ok(vec![]));
}

#[test]
fn a_guest_in_an_endless_loop_of_calls_lets_other_tasks_of_its_thread_run() {
    in_time(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        runtime.unwrap().block_on(async {
            let home = Home::new();
            let (sessions, guests) = opened(&home, Options::default()).await;
            let id = sessions.create("{}").await.unwrap().id;
            for reads in [true, false] {
                let mut guest = guests.open().await;
                let target = id.clone();
                let calling = tokio::spawn(async move {
                    let (calls, store) = guest.calls();
                    match reads {
                        true => calls.call_read_until_killed(store, &target).await,
                        false => calls.call_write_until_killed(store).await,
                    }
                });
                for _ in 0..100 {
                    assert!(sessions.get(&id).await.unwrap().is_some());
                    tokio::task::yield_now().await;
                }
                calling.abort();
                assert!(calling.await.unwrap_err().is_cancelled());
            }
        });
    });
}

/// Runs `work` on another thread; fails if it takes too long.
fn in_time(work: impl FnOnce() + Send + 'static) {
    let (done, finished) = mpsc::channel();
    thread::spawn(move || {
        work();
        done.send(())
    });
    let finished = finished.recv_timeout(Duration::from_secs(600));
    finished.expect("the work does not hang or panic");
}

#[tokio::test(flavor = "multi_thread")]
async fn large_payloads_pass_in_both_directions() {
    const LARGE: usize = 16 << 20;
    let home = Home::new();
    let options = Options {
        max_data: LARGE as u64,
        ..Options::default()
    };
    let (sessions, guests) = opened(&home, options).await;
    let mut guest = guests.open().await;
    let payload: Vec<u8> = (0..LARGE).map(|place| (place % 251) as u8).collect();
    let created = call!(guest, call_create(&payload, LIFE, None)).unwrap();
    let read = call!(guest, call_get(&created.id)).unwrap().unwrap();
    assert!(read.data == payload);
    let read = sessions.get(&created.id).await.unwrap().unwrap();
    assert!(read.data == payload);

    let longer = [payload, vec![0]].concat();
    let refused = call!(guest, call_create(&longer, LIFE, None));
    assert!(matches!(refused, Err(Refusal::TooLarge(limit)) if limit == LARGE as u64));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_one_guest_closes_stays_open_for_others() {
    let home = Home::new();
    let (sessions, guests) = opened(&home, Options::default()).await;
    let mut first = guests.open().await;
    let mut second = guests.open().await;
    call!(first, call_set("x", b"1", LIFE)).unwrap();
    call!(first, call_close());
    assert!(call!(second, call_get("x")).unwrap().is_some());
    first.open("sessions.db", "").await.unwrap();
    drop(first);
    assert!(call!(second, call_get("x")).unwrap().is_some());
    assert!(sessions.get("x").await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_of_the_store_is_an_error_for_the_guest_and_not_a_trap() {
    let home = Home::new();
    let options = Options {
        max_data: 64 << 20,
        ..Options::default()
    };
    let builder = home.builder().options(options).memory_limit(16 << 20);
    let sessions = builder.open().await.unwrap();
    let guests = Guests::new(Stores::new().with("sessions.db", sessions));
    let mut guest = guests.open().await;
    call!(guest, call_set("x", b"1", LIFE)).unwrap();
    let crashed = call!(guest, call_create(&vec![b'x'; 32 << 20], LIFE, None));
    let Err(Refusal::UnknownOutcome(words)) = crashed else {
        panic!("{crashed:?}");
    };
    assert!(words.contains("crashed"), "{words}");
    assert!(call!(guest, call_get("x")).unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn stores_stay_open_until_their_guests_are_dropped() {
    let home = Home::new();
    let (sessions, guests) = opened(&home, Options::default()).await;
    drop(sessions);
    let mut guest = guests.open().await;
    call!(guest, call_set("x", b"1", LIFE)).unwrap();
    drop(guests);
    drop(guest);
    let again = tokio::time::timeout(Duration::from_secs(120), home.builder().open());
    let again = again.await.unwrap().unwrap();
    assert!(again.get("x").await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guests_batch_does_not_block_the_store_for_long() {
    let home = Home::new();
    let (sessions, guests) = opened(&home, Options::default()).await;
    let mut guest = guests.open().await;
    // Lets the guest pass large answers on to the test.
    guest.store.set_hostcall_fuel(1 << 30);
    let largest = vec![b'x'; 1 << 20];
    let id = sessions.create(largest).await.unwrap().id;
    let gets = |count| vec![Request::Get(GetRequest { id: id.clone() }); count];
    let touches = |count| {
        vec![
            Request::Touch(TouchRequest {
                id: id.clone(),
                ttl: LIFE
            });
            count
        ]
    };
    let renewals = |count| {
        vec![
            Request::Touch(TouchRequest {
                id: id.clone(),
                ttl: None
            });
            count
        ]
    };
    let rotations = |count| {
        vec![
            Request::Rotate(RotateRequest {
                id: id.clone(),
                subject: None
            });
            count
        ]
    };
    let endings = |count| {
        vec![
            Request::Destroy(DestroyRequest {
                id: "no-such-id".to_owned()
            });
            count
        ]
    };
    let merge = Request::Merge(MergeRequest {
        id: id.clone(),
        patch: "{}".to_owned(),
        ttl: LIFE,
    });
    let merges = |count| vec![merge.clone(); count];
    let creates = |count| {
        vec![
            Request::Create(CreateRequest {
                data: b"{}".to_vec(),
                ttl: LIFE,
                subject: None
            });
            count
        ]
    };

    for (fits, count) in [
        (gets(126), 126),
        (touches(63), 63),
        (renewals(31), 31),
        (merges(15), 15),
        (creates(1000), 1000),
        (endings(1000), 1000),
    ] {
        assert_eq!(call!(guest, call_batch(&fits)).unwrap().len(), count);
    }
    for (refused, names) in [
        (gets(400), "400 in one batch"),
        (merges(126), "126 in one batch"),
        (merges(17), "send fewer at a time"),
        (touches(1000), "1000 in one batch"),
        (renewals(100), "100 in one batch"),
        (rotations(100), "100 in one batch"),
        (touches(1001), "at most 1000"),
        (gets(100_000), "at most 1000"),
    ] {
        let words = refusal(call!(guest, call_batch(&refused)));
        assert!(words.contains(names), "{words}");
    }
    assert!(call!(guest, call_get(&id)).unwrap().is_some());
    assert!(sessions.get(&id).await.unwrap().is_some());
}
