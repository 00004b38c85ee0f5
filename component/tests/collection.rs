//! Collection: when it runs, how much one step removes, and that a failed step fails no
//! request.

use crate::engine::{
    Collected, CreateRequest, Engine, Error, Options, Request, SetRequest, Store, TouchRequest,
};
use crate::fixture::{Database, NOW, SETUP, SETUPS, Setup, create, is_live};

/// A time at which the sessions of [`littered`] have expired.
pub const LATE: u64 = NOW + 1000;

/// A database with `rows` sessions that have expired by [`LATE`], and the session `mine`,
/// which has not. `change` changes the options for opening it.
pub fn littered(setup: Setup, rows: usize, change: impl FnOnce(&mut Options)) -> Database {
    let mut database = Database::with(setup, |options| options.gc_frequency = 0);
    let mut store = database.open();
    litter(&mut store, rows, 10);
    store.set(NOW, "mine", b"", None).unwrap();
    // Nothing has expired yet; requests are counted from here on.
    store.collect(NOW, 1).unwrap();
    change(&mut database.options);
    database
}

pub fn litter(store: &mut Store, rows: usize, size: usize) {
    let request = Request::Create(CreateRequest {
        data: vec![b'x'; size],
        ttl: Some(1000),
        subject: None,
    });
    store.batch(NOW, &vec![request; rows]).unwrap();
}

pub fn every_4_requests_3_rows(options: &mut Options) {
    options.gc_frequency = 4;
    options.gc_step = 3;
}

pub fn expired(store: &mut Store) -> u64 {
    store.stats(LATE).unwrap().expired
}

/// How many expired rows are left after each of this many requests.
pub fn waiting(
    store: &mut Store,
    requests: usize,
    mut request: impl FnMut(&mut Store),
) -> Vec<u64> {
    (0..requests)
        .map(|_| {
            request(store);
            expired(store)
        })
        .collect()
}

pub fn read(store: &mut Store) {
    store.get(LATE, "mine").unwrap();
}

pub fn write(store: &mut Store) {
    store.set(LATE, "mine", b"", None).unwrap();
}

#[test]
fn a_store_counts_reads_and_writes_and_collects_in_steps() {
    for request in [read, write] {
        let database = littered(SETUP, 8, every_4_requests_3_rows);
        let mut store = database.open();
        assert_eq!(waiting(&mut store, 6, request), [8, 8, 8, 5, 2, 0]);
        assert_eq!(store.stats(LATE).unwrap().collected, 8);
        // The next collection starts after as many requests again.
        litter(&mut store, 4, 10);
        assert_eq!(waiting(&mut store, 1, request), [4]);
        let mut rest = waiting(&mut store, 4, request);
        rest.dedup();
        assert_eq!(rest, [4, 1, 0]);
    }
}

/// The functions of `admin` that count as requests.
pub const COUNTED: [fn(&mut Store); 6] = [
    |store| drop(store.list_sessions(LATE, None, None, 1).unwrap()),
    |store| assert_eq!(store.count_sessions(LATE, Some("nobody")), Ok(0)),
    |store| assert_eq!(store.inspect(LATE, "x"), Ok(None)),
    |store| assert_eq!(store.terminate(LATE, "x"), Ok(false)),
    |store| assert_eq!(store.terminate_subject(LATE, "nobody", None), Ok(0)),
    |store| {
        store.clear(LATE).unwrap();
    },
];

#[test]
fn functions_of_admin_that_read_or_end_sessions_count_and_collect() {
    for request in COUNTED {
        let database = littered(SETUP, 8, every_4_requests_3_rows);
        let mut store = database.open();
        assert_eq!(waiting(&mut store, 6, request), [8, 8, 8, 5, 2, 0]);
    }
}

#[test]
fn functions_of_admin_about_the_database_neither_count_nor_collect() {
    let database = littered(SETUP, 8, every_4_requests_3_rows);
    let mut store = database.open();
    let about_the_database = |store: &mut Store| {
        store.stats(LATE).unwrap();
        assert_eq!(store.check(), Ok(vec![]));
    };
    assert_eq!(waiting(&mut store, 4, about_the_database), [8; 4]);
    // None of them has counted; these are the first.
    assert_eq!(waiting(&mut store, 4, read), [8, 8, 8, 5]);

    let database = littered(SETUP, 8, every_4_requests_3_rows);
    let mut store = database.open();
    let collect = |store: &mut Store| assert_eq!(store.collect(LATE, 1).unwrap().removed, 1);
    assert_eq!(waiting(&mut store, 4, collect), [7, 6, 5, 4]);
    assert_eq!(waiting(&mut store, 4, read), [4, 4, 4, 1]);
}

#[test]
fn a_batch_counts_for_its_requests_and_removes_a_step_or_two_rows_for_each() {
    for setup in SETUPS {
        let database = littered(setup, 40, every_4_requests_3_rows);
        let mut store = database.open();
        let request = Request::Set(SetRequest {
            id: "mine".into(),
            data: vec![],
            ttl: None,
        });
        let left =
            [(3, 40), (1, 37), (1, 34), (2, 30), (10, 10), (50, 0)].map(|(requests, left)| {
                let replies = store.batch(LATE, &vec![request.clone(); requests]);
                assert_eq!(replies.unwrap().len(), requests);
                (expired(&mut store), left)
            });
        assert!(left.iter().all(|(is, must)| is == must), "{left:?}");
    }
}

#[test]
fn no_request_of_a_batch_removes_more_than_a_step() {
    for setup in SETUPS {
        let database = littered(setup, 40, |options| {
            options.gc_frequency = 4;
            options.gc_step = 1;
        });
        let mut store = database.open();
        let request = Request::Touch(TouchRequest {
            id: "mine".into(),
            ttl: Some(7_200_000),
        });
        store.batch(LATE, &vec![request; 10]).unwrap();
        assert_eq!(expired(&mut store), 30);
        store.batch(LATE, &[]).unwrap();
        assert_eq!(expired(&mut store), 30);
    }
}

/// How many expired rows are left after each of this many batches. Each batch creates 256
/// sessions that live for a millisecond, and a millisecond passes between batches.
fn waiting_under_load(store: &mut Store, batches: u64) -> Vec<u64> {
    let request = Request::Create(CreateRequest {
        data: vec![b'x'; 10],
        ttl: Some(1),
        subject: None,
    });
    let requests = vec![request; 256];
    (LATE..LATE + batches)
        .map(|now| {
            store.batch(now, &requests).unwrap();
            store.stats(now).unwrap().expired
        })
        .collect()
}

#[test]
fn under_load_in_large_batches_garbage_stays_bounded_and_a_backlog_shrinks() {
    for setup in SETUPS {
        for backlog in [0, 3000] {
            let database = littered(setup, backlog, |options| options.gc_frequency = 100);
            let mut store = database.open();
            let waiting = waiting_under_load(&mut store, 50);
            assert!(waiting[15..].iter().all(|&rows| rows <= 512), "{waiting:?}");
        }
    }
}

#[test]
fn with_a_frequency_of_0_only_a_call_of_collect_collects() {
    for setup in SETUPS {
        let database = littered(setup, 3, |options| options.gc_frequency = 0);
        let mut store = database.open();
        assert_eq!(waiting(&mut store, 9, write), [3; 9]);
        assert_eq!(store.collect(LATE, 10).unwrap().removed, 3);
    }
}

#[test]
fn a_call_of_collect_removes_at_most_the_limit_and_says_if_there_is_more() {
    for setup in SETUPS {
        let mut store = littered(setup, 5, |_| {}).open();
        let answers = [
            (NOW, 9, 0, false),
            (LATE, 3, 3, true),
            (LATE, 2, 2, false),
            (LATE, 9, 0, false),
        ];
        for (now, limit, removed, more) in answers {
            let collected = store.collect(now, limit);
            assert_eq!(collected, Ok(Collected { removed, more }));
        }
        assert!(matches!(
            store.collect(LATE, 0),
            Err(Error::InvalidArgument(_))
        ));
        assert!(is_live(&mut store, LATE, "mine"));
    }
}

#[test]
fn tombstones_are_collected_once_they_have_expired() {
    for setup in SETUPS {
        let mut store = Database::new(setup).open();
        let id = create(&mut store, NOW, None);
        store.destroy(NOW, &id).unwrap();
        assert_eq!(store.collect(NOW + 59_999, 9).unwrap().removed, 0);
        assert_eq!(store.collect(NOW + 60_000, 9).unwrap().removed, 1);
    }
}

#[test]
fn a_failed_collection_fails_no_request_and_is_retried() {
    for setup in SETUPS {
        let database = littered(setup, 5, |options| {
            options.gc_frequency = 1;
            options.gc_step = 2;
        });
        database.fail("BEFORE DELETE", "true");
        let mut store = database.open();
        assert_eq!(waiting(&mut store, 3, write), [5; 3]);
        assert_eq!(waiting(&mut store, 3, read), [5; 3]);
        assert!(matches!(store.collect(LATE, 1), Err(Error::Other(_))));
        let statistics = store.stats(LATE).unwrap();
        assert_eq!((statistics.live, statistics.collected), (1, 0));
        drop(store);

        database.heal();
        let mut store = database.open();
        assert_eq!(waiting(&mut store, 3, write), [3, 1, 0]);
    }
}

#[test]
fn a_session_that_was_renewed_outlives_its_first_expiry_and_is_collected_after_its_last() {
    const MINUTE: u64 = 60_000;
    for setup in SETUPS {
        let mut store = Database::with(setup, |options| options.gc_frequency = 0).open();
        store.set(NOW, "mine", b"", Some(MINUTE)).unwrap();
        store.touch(NOW + 1, "mine", Some(3 * MINUTE)).unwrap();
        store.set(NOW + 2, "mine", b"", Some(5 * MINUTE)).unwrap();
        for minute in 0..5 {
            let now = NOW + 1 + minute * MINUTE;
            let nothing = Collected {
                removed: 0,
                more: false,
            };
            assert_eq!(store.collect(now, 1), Ok(nothing), "minute {minute}");
            let statistics = store.stats(now).unwrap();
            assert_eq!((statistics.live, statistics.expired), (1, 0));
        }
        let end = NOW + 2 + 5 * MINUTE;
        assert_eq!(store.stats(end).unwrap().expired, 1);
        assert_eq!(store.collect(end, 1).unwrap().removed, 1);
    }
}

#[test]
fn a_session_whose_life_was_shortened_is_collected_at_its_new_end() {
    const DAY: u64 = 86_400_000;
    for setup in SETUPS {
        let mut store = Database::with(setup, |options| options.gc_frequency = 0).open();
        for id in ["touched", "written"] {
            store.set(NOW, id, b"", Some(DAY)).unwrap();
        }
        // Deferred once, to the expiry itself.
        store.collect(NOW, 1).unwrap();
        store.touch(NOW, "touched", Some(100)).unwrap();
        store.set(NOW, "written", b"", Some(100)).unwrap();
        assert_eq!(store.stats(NOW + 99).unwrap().live, 2);
        assert_eq!(store.collect(NOW + 99, 9).unwrap().removed, 0);
        assert_eq!(store.collect(NOW + 100, 9).unwrap().removed, 2);
    }
}

#[test]
fn one_step_defers_only_some_of_many_renewed_sessions() {
    for setup in SETUPS {
        let mut store = Database::with(setup, |options| options.gc_frequency = 0).open();
        let requests: Vec<Request> = (0..1000)
            .flat_map(|number| {
                [1000, 9_000_000].map(|ttl| {
                    Request::Set(SetRequest {
                        id: number.to_string(),
                        data: vec![],
                        ttl: Some(ttl),
                    })
                })
            })
            .collect();
        store.batch(NOW, &requests).unwrap();
        let mut steps = 0;
        loop {
            let collected = store.collect(LATE, 1).unwrap();
            assert_eq!(collected.removed, 0);
            steps += 1;
            if !collected.more {
                break;
            }
        }
        assert!(steps > 2, "{steps} steps");
        assert_eq!(store.stats(LATE).unwrap().live, 1000);
    }
}
