//! Concurrent connections, each on its own thread, as from several machines.

use crate::engine::{Engine, Error, Outcome, Request, SetRequest, Store};
use crate::fixture::{Database, NOW, SETUPS, create, is_live};
use std::collections::BTreeSet;
use std::sync::Barrier;
use std::thread;

const CONNECTIONS: usize = 20;

/// Runs the same work concurrently on this many connections; returns all results.
fn on_each<T: Send>(
    database: &Database,
    connections: usize,
    work: impl Fn(usize, &mut Store) -> T + Sync,
) -> Vec<T> {
    let barrier = Barrier::new(connections);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..connections)
            .map(|number| {
                let (work, barrier) = (&work, &barrier);
                scope.spawn(move || {
                    let mut store = database.open();
                    barrier.wait();
                    work(number, &mut store)
                })
            })
            .collect();
        let done = threads.into_iter().map(|thread| thread.join().unwrap());
        done.collect()
    })
}

fn version(outcome: Result<Outcome, Error>) -> u64 {
    match outcome {
        Ok(Outcome::Written(written)) => written.version,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_table_that_many_connections_open_is_created_once() {
    for setup in SETUPS {
        let database = Database::new(setup);
        on_each(&database, CONNECTIONS, |_, _| ());
        let mut store = database.open();
        create(&mut store, NOW, None);
        assert!(
            on_each(&database, CONNECTIONS, |_, store| store
                .count_sessions(NOW, None))
            .iter()
            .all(|count| *count == Ok(1))
        );
    }
}

#[test]
fn concurrent_writes_of_one_session_make_each_version_once() {
    for setup in SETUPS {
        let database = Database::new(setup);
        let versions = on_each(&database, CONNECTIONS, |_, store| -> Vec<u64> {
            (0..25)
                .map(|_| version(store.set(NOW, "mine", b"", None)))
                .collect()
        });
        let versions: Vec<u64> = versions.into_iter().flatten().collect();
        let distinct: BTreeSet<u64> = versions.iter().copied().collect();
        let all = (1..=25 * CONNECTIONS as u64).collect();
        assert_eq!((distinct, versions.len()), (all, 25 * CONNECTIONS));
    }
}

#[test]
fn one_of_many_updates_of_a_version_wins_and_the_others_get_its_session() {
    for setup in SETUPS {
        let database = Database::new(setup);
        let mut store = database.open();
        for round in 1..=10 {
            let first = version(store.set(NOW, "mine", b"", None));
            let outcomes = on_each(&database, 8, |number, store| {
                store.update(NOW, "mine", &[number as u8], None, Some(first))
            });
            let standing = store.get(NOW, "mine").unwrap().unwrap();
            assert_eq!(standing.version, first + 1, "round {round}");
            let mut winners = 0;
            for (number, outcome) in outcomes.into_iter().enumerate() {
                match outcome.unwrap() {
                    Outcome::Written(written) => {
                        winners += 1;
                        assert_eq!(written.version, first + 1);
                        assert_eq!(standing.data, [number as u8]);
                    }
                    Outcome::Stale(session) => assert_eq!(session, standing),
                    Outcome::Gone => panic!("the session is there"),
                }
            }
            assert_eq!(winners, 1);
        }
    }
}

#[test]
fn one_of_many_updates_that_create_a_session_wins() {
    for setup in SETUPS {
        let database = Database::new(setup);
        let outcomes = on_each(&database, CONNECTIONS, |number, store| {
            store.update(NOW, "mine", &[number as u8], None, Some(0))
        });
        let winners = outcomes
            .iter()
            .filter(|outcome| matches!(outcome, Ok(Outcome::Written(_))));
        assert_eq!(winners.count(), 1);
        let stale = outcomes
            .iter()
            .filter(|outcome| matches!(outcome, Ok(Outcome::Stale(_))));
        assert_eq!(stale.count(), CONNECTIONS - 1);
    }
}

#[test]
fn concurrent_merges_lose_nothing() {
    for setup in SETUPS {
        let database = Database::new(setup);
        let mut store = database.open();
        store.set(NOW, "mine", b"{}", None).unwrap();
        on_each(&database, CONNECTIONS, |number, store| {
            for round in 0..3 {
                let patch = format!(r#"{{"{number} {round}":1}}"#);
                store.merge(NOW, "mine", &patch, None).unwrap().unwrap();
            }
        });
        let session = store.get(NOW, "mine").unwrap().unwrap();
        let members: serde_json::Map<_, _> = serde_json::from_slice(&session.data).unwrap();
        assert_eq!(members.len(), 3 * CONNECTIONS);
        assert_eq!(session.version, 1 + 3 * CONNECTIONS as u64);
    }
}

#[test]
fn one_of_many_rotations_of_a_session_wins_and_late_writers_are_refused() {
    for setup in SETUPS {
        let database = Database::new(setup);
        let mut store = database.open();
        for _ in 0..5 {
            let id = create(&mut store, NOW, None);
            let rotated = on_each(&database, CONNECTIONS, |number, store| match number % 2 {
                0 => store.rotate(NOW, &id, Some("alice")).unwrap(),
                _ => {
                    let late = store.set(NOW, &id, b"late", None).unwrap();
                    assert!(matches!(late, Outcome::Written(_) | Outcome::Gone));
                    None
                }
            });
            let winners: Vec<_> = rotated.into_iter().flatten().collect();
            assert_eq!(winners.len(), 1);
            assert!(is_live(&mut store, NOW, &winners[0].id));
            assert!(!is_live(&mut store, NOW, &id));
            assert_eq!(store.set(NOW, &id, b"", None), Ok(Outcome::Gone));
        }
        assert_eq!(store.count_sessions(NOW, Some("alice")), Ok(5));
    }
}

#[test]
fn a_subject_never_has_more_sessions_than_its_limit() {
    for setup in SETUPS {
        for attempt in 0..3 {
            let database = Database::with(setup, |options| options.max_per_subject = Some(3));
            let counts = on_each(&database, CONNECTIONS, |number, store| {
                match number % 2 {
                    0 => drop(create(store, NOW, Some("alice"))),
                    _ => {
                        let id = create(store, NOW, None);
                        store.rotate(NOW, &id, Some("alice")).unwrap().unwrap();
                    }
                }
                store.count_sessions(NOW, Some("alice")).unwrap()
            });
            assert!(counts.iter().all(|count| *count <= 3), "{counts:?}");
            let left = database.open().count_sessions(NOW, Some("alice"));
            assert_eq!(left, Ok(3), "attempt {attempt}");
        }
    }
}

#[test]
fn concurrent_collections_remove_each_row_once_and_no_live_session() {
    for setup in SETUPS {
        let database = Database::with(setup, |options| options.gc_frequency = 0);
        let mut store = database.open();
        let set = |number: usize, ttl| {
            Request::Set(SetRequest {
                id: number.to_string(),
                data: b"data".into(),
                ttl: Some(ttl),
            })
        };
        let all: Vec<Request> = (0..3000).map(|number| set(number, 1000)).collect();
        store.batch(NOW, &all).unwrap();
        let renewed: Vec<Request> = (0..300).map(|number| set(number, 90_000)).collect();
        store.batch(NOW, &renewed).unwrap();
        let late = NOW + 1000;
        let removed = on_each(&database, 4, |_, store| {
            let mut removed = 0;
            loop {
                let collected = store.collect(late, 200).unwrap();
                removed += collected.removed;
                if !collected.more {
                    return removed;
                }
            }
        });
        assert_eq!(removed.iter().sum::<u64>(), 2700);
        let statistics = store.stats(late).unwrap();
        assert_eq!((statistics.live, statistics.expired), (300, 0));
    }
}

#[test]
fn batches_that_write_the_same_sessions_in_opposite_orders_all_succeed() {
    for setup in SETUPS {
        let database = Database::new(setup);
        let batch = |backwards: bool| {
            let mut requests: Vec<Request> = (0..10)
                .map(|number| {
                    Request::Set(SetRequest {
                        id: number.to_string(),
                        data: vec![],
                        ttl: None,
                    })
                })
                .collect();
            if backwards {
                requests.reverse();
            }
            requests
        };
        let mut store = database.open();
        store.batch(NOW, &batch(false)).unwrap();
        on_each(&database, CONNECTIONS, |number, store| {
            for _ in 0..3 {
                let replies = store.batch(NOW, &batch(number % 2 == 0)).unwrap();
                assert!(replies.iter().all(Result::is_ok));
            }
        });
        for number in 0..10 {
            let session = store.get(NOW, &number.to_string()).unwrap().unwrap();
            assert_eq!(session.version, 1 + 3 * CONNECTIONS as u64);
        }
    }
}

#[test]
fn a_log_out_on_one_connection_is_seen_by_all_others_immediately() {
    let database = Database::new(SETUPS[0]);
    let (mut first, mut second) = (database.open(), database.open());
    let id = create(&mut first, NOW, Some("alice"));
    assert!(is_live(&mut second, NOW, &id));
    assert_eq!(first.destroy(NOW, &id), Ok(true));
    assert!(!is_live(&mut second, NOW, &id));
    assert_eq!(second.set(NOW, &id, b"", None), Ok(Outcome::Gone));
}
