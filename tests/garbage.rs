//! Tests of garbage collection, in bounded steps that requests carry.

use std::fs;

use wasi_sessions::{Error, NewSession, Options, Request, Sessions};

use crate::fixture::{
    Home, LIFE, READ_CACHES, START, create, data, ms, session, store, store_with,
};

/// Starts this many sessions that expire in a millisecond, in one batch.
fn create_short(sessions: &Sessions, count: usize, size: usize) {
    let request = Request::Create(NewSession::new(vec![b'x'; size]).ttl(ms(1)));
    let replies = sessions.batch(vec![request; count]).wait().unwrap();
    assert!(replies.iter().all(Result::is_ok));
}

/// Rows that wait for collection.
fn waiting(sessions: &Sessions) -> u64 {
    sessions.stats().wait().unwrap().expired
}

#[test]
fn a_collection_of_bounded_steps_starts_after_gc_frequency_requests() {
    let (home, sessions) = store_with(Options {
        gc_frequency: 5,
        gc_step: 3,
        ..Options::default()
    });
    // These 10 requests trigger a collection that finds nothing and resets the counter.
    create_short(&sessions, 10, 1);
    home.advance(1);
    let after_each_get = |count: usize| -> Vec<u64> {
        let get_and_look = |_| {
            assert_eq!(sessions.get("missing").wait(), Ok(None));
            waiting(&sessions)
        };
        (0..count).map(get_and_look).collect()
    };
    assert_eq!(after_each_get(8), [10, 10, 10, 10, 7, 4, 1, 0]);
    assert_eq!(sessions.stats().wait().unwrap().collected, 10);

    // The next collection starts after the same number of requests.
    create_short(&sessions, 1, 1);
    home.advance(1);
    assert_eq!(after_each_get(5), [1, 1, 1, 0, 0]);
}

#[test]
fn every_kind_of_request_counts() {
    type Ask = (&'static str, fn(&Sessions));
    let asks: [Ask; 12] = [
        ("create", |sessions| drop(create(sessions, "{}"))),
        ("get", |sessions| drop(sessions.get("x").wait().unwrap())),
        ("set", |sessions| {
            drop(sessions.set("x", "{}", LIFE).wait().unwrap());
        }),
        ("update", |sessions| {
            drop(sessions.update("x", "{}", LIFE, None).wait().unwrap());
        }),
        ("merge", |sessions| {
            drop(sessions.merge("x", "{}", LIFE).wait().unwrap());
        }),
        ("touch", |sessions| {
            sessions.touch("x", LIFE).wait().unwrap();
        }),
        ("rotate", |sessions| {
            drop(sessions.rotate("x", None).wait().unwrap());
        }),
        ("destroy", |sessions| {
            sessions.destroy("x").wait().unwrap();
        }),
        ("list", |sessions| {
            drop(sessions.list_sessions(None, None, 1).wait().unwrap());
        }),
        ("count", |sessions| {
            sessions.count_sessions(None).wait().unwrap();
        }),
        ("terminate", |sessions| {
            sessions.terminate("x").wait().unwrap();
        }),
        ("batch", |sessions| {
            drop(sessions.batch(vec![Request::Get { id: "x".into() }]).wait());
        }),
    ];
    for (what, ask) in asks {
        let (home, sessions) = store_with(Options {
            gc_frequency: 3,
            ..Options::default()
        });
        create_short(&sessions, 3, 1);
        home.advance(1);
        ask(&sessions);
        ask(&sessions);
        assert_eq!(waiting(&sessions), 3, "{what}");
        ask(&sessions);
        assert_eq!(waiting(&sessions), 0, "{what}");
    }
}

#[test]
fn a_read_counts_unless_it_is_from_memory() {
    for (bytes, left) in READ_CACHES.into_iter().zip([0, 2]) {
        let home = Home::new();
        let options = Options {
            gc_frequency: 5,
            ..Options::default()
        };
        let sessions = home.open_with_read_cache(bytes, options);
        let id = create(&sessions, "{}");
        create_short(&sessions, 2, 1);
        assert_eq!(data(&sessions, &id).as_deref(), Some("{}"));
        home.advance(1);
        assert_eq!(waiting(&sessions), 2);
        for _ in 0..10 {
            assert_eq!(data(&sessions, &id).as_deref(), Some("{}"));
        }
        assert_eq!(waiting(&sessions), left);
    }
}

#[test]
fn a_batch_counts_as_many_requests_as_it_holds() {
    let (home, sessions) = store_with(Options {
        gc_frequency: 10,
        ..Options::default()
    });
    create_short(&sessions, 10, 1);
    home.advance(1);
    let get = || Request::Get {
        id: "missing".to_owned(),
    };
    drop(sessions.batch(vec![get(); 9]).wait().unwrap());
    assert_eq!(waiting(&sessions), 10);
    drop(sessions.batch(vec![get(); 1]).wait().unwrap());
    assert_eq!(waiting(&sessions), 0);
}

#[test]
fn a_frequency_of_0_never_collects() {
    let (home, sessions) = store_with(Options {
        gc_frequency: 0,
        ..Options::default()
    });
    create_short(&sessions, 10, 1);
    home.advance(1);
    for _ in 0..100 {
        assert_eq!(sessions.get("missing").wait(), Ok(None));
    }
    assert_eq!(waiting(&sessions), 10);
    assert_eq!(sessions.collect(100).wait().unwrap().removed, 10);
}

#[test]
fn collect_removes_at_most_its_limit() {
    let (home, sessions) = store();
    create_short(&sessions, 10, 1);
    let live = create(&sessions, "{}");
    home.advance(1);
    let step = |limit| {
        let collected = sessions.collect(limit).wait().unwrap();
        (collected.removed, collected.more)
    };
    let none = sessions.collect(0).wait();
    assert!(matches!(none, Err(Error::InvalidArgument(_))));
    assert_eq!(step(4), (4, true));
    assert_eq!(step(4), (4, true));
    assert_eq!(step(4), (2, false));
    assert_eq!(step(u32::MAX), (0, false));
    let stats = sessions.stats().wait().unwrap();
    assert_eq!((stats.live, stats.expired, stats.collected), (1, 0, 10));
    assert_eq!(session(&sessions, &live).version, 1);
}

#[test]
fn collection_starts_with_the_sessions_that_expired_first() {
    let (home, sessions) = store();
    let ids: Vec<String> = [180_000, 60_000, 120_000]
        .map(|ttl| {
            sessions
                .create(NewSession::new("{}").ttl(ms(ttl)))
                .wait()
                .unwrap()
                .id
        })
        .into();
    home.advance(180_000);
    assert_eq!(sessions.collect(2).wait().unwrap().removed, 2);
    // Sessions that were not collected exist again when the clock steps back.
    home.set_clock(START);
    let there: Vec<bool> = ids.iter().map(|id| data(&sessions, id).is_some()).collect();
    assert_eq!(there, [true, false, false]);
}

#[test]
fn a_failing_collection_does_not_fail_the_request_that_carries_it() {
    let home = Home::new();
    let options = Options {
        gc_frequency: 1,
        ..Options::default()
    };
    drop(home.open_with(options.clone()));
    home.sabotage("BEFORE DELETE ON Sessions");
    let sessions = home.open_with(options.clone());
    create_short(&sessions, 3, 1);
    home.advance(1);

    let id = create(&sessions, "kept");
    assert_eq!(data(&sessions, &id).as_deref(), Some("kept"));
    assert!(
        sessions
            .touch(&id, Some(ms(u64::MAX)))
            .wait()
            .unwrap()
            .is_some()
    );
    assert_eq!(sessions.count_sessions(None).wait(), Ok(1));
    assert_eq!(waiting(&sessions), 3);
    // An explicit collection reports the error.
    assert!(matches!(sessions.collect(10).wait(), Err(Error::Other(_))));

    // Once the cause is removed, the next request retries.
    drop(sessions);
    home.repair();
    let sessions = home.open_with(options);
    assert_eq!(data(&sessions, &id).as_deref(), Some("kept"));
    assert_eq!(waiting(&sessions), 0);
}

#[test]
fn space_is_returned_to_the_file_system_while_the_store_is_open() {
    let (home, sessions) = store();
    let live = create(&sessions, "kept");
    for _ in 0..20 {
        create_short(&sessions, 100, 1000);
    }
    let full = sessions.stats().wait().unwrap().size;
    assert!(full > 2_000_000, "{full}");
    home.advance(1);

    let mut sizes = vec![full];
    while sessions.collect(100).wait().unwrap().more {
        sizes.push(sessions.stats().wait().unwrap().size);
    }
    assert!(sizes.len() >= 20, "{sizes:?}");
    assert!(
        sizes.is_sorted_by(|before, after| before >= after),
        "{sizes:?}"
    );
    // The file shrinks during the collection, not only at the end.
    assert!(sizes[sizes.len() / 2] < full * 3 / 4, "{sizes:?}");
    assert!(on_disk(&home) < 200_000, "{}", on_disk(&home));
    assert_eq!(data(&sessions, &live).as_deref(), Some("kept"));
    assert_eq!(sessions.check().wait(), Ok(vec![]));
}

#[test]
fn space_is_returned_when_requests_carry_the_collection() {
    let (home, sessions) = store_with(Options {
        gc_frequency: 1000,
        gc_step: 50,
        ..Options::default()
    });
    create_short(&sessions, 1000, 1000);
    home.advance(1);
    for _ in 0..1100 {
        assert_eq!(sessions.get("missing").wait(), Ok(None));
    }
    assert_eq!(waiting(&sessions), 0);
    assert!(on_disk(&home) < 200_000, "{}", on_disk(&home));
}

/// The length of the database's file.
fn on_disk(home: &Home) -> u64 {
    fs::metadata(home.database()).unwrap().len()
}
