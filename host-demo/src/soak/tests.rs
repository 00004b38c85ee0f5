//! Tests that the soak detects differences: the store is right, and the model is made wrong.

use std::panic::{AssertUnwindSafe, catch_unwind};

use wasi_sessions::Session;

use super::*;
use crate::ending::No;

/// A soak on a new store, and a load whose clock does not move.
fn soak() -> (Soak, Arc<Load>, TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let location = Location {
        directory: Some(directory.path().to_owned()),
        store: None,
        tls_roots: None,
        store_timeout: None,
        file: None,
        table: "Sessions".to_owned(),
        key_file: None,
        previous_key_file: None,
    };
    let plan = Plan {
        duration: Duration::from_secs(1),
        seed: 1,
    };
    let soak = Soak::new(&plan, &location).unwrap();
    let load = Load::open(&soak.store, Durability::Full).unwrap();
    (soak, Arc::new(load), directory)
}

/// Makes this many requests of one client.
fn ask(soak: &mut Soak, load: &Load, times: usize) -> anyhow::Result<()> {
    let client = &mut soak.clients[0];
    let runtime = &soak.runtime;
    (0..times).try_for_each(|_| runtime.block_on(client.ask(load)))
}

fn compare(soak: &Soak, load: &Load) -> anyhow::Result<()> {
    soak.compare(&load.sessions)
}

fn is_difference(done: anyhow::Result<()>) -> bool {
    done.is_err_and(|error| error.downcast_ref::<No>().is_some())
}

#[test]
fn minutes_may_have_a_fraction_and_are_more_than_none() {
    assert_eq!(minutes("0.05"), Ok(Duration::from_secs(3)));
    assert_eq!(minutes("30"), Ok(Duration::from_secs(1800)));
    for wrong in ["", "0", "-1", "NaN", "inf", "1e9", "1m"] {
        assert!(minutes(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn each_wrong_expectation_of_a_session_is_a_difference() {
    let (mut soak, load, _directory) = soak();
    ask(&mut soak, &load, 300).unwrap();
    compare(&soak, &load).unwrap();
    let now = soak.runtime.block_on(load.store.clock.stop()).now;
    let known = soak.clients[0].model.sessions.clone();
    let live = known.iter().find(|(_, held)| held.expires > now);
    let (id, held) = live.unwrap();
    let changes: [fn(&mut Session); 6] = [
        |held| held.version += 1,
        |held| held.data.push(0),
        |held| held.subject = Some("another".to_owned()),
        |held| held.expires += 1,
        |held| held.created -= 1,
        |held| held.updated += 1,
    ];
    for (number, change) in changes.iter().enumerate() {
        change(soak.clients[0].model.sessions.get_mut(id).unwrap());
        assert!(is_difference(compare(&soak, &load)), "{number}");
        soak.clients[0]
            .model
            .sessions
            .insert(id.clone(), held.clone());
        compare(&soak, &load).unwrap();
    }

    // A session that the store does not have, and one that the model does not have.
    let sessions = &mut soak.clients[0].model.sessions;
    sessions.insert("missing".to_owned(), held.clone());
    assert!(is_difference(compare(&soak, &load)));
    let sessions = &mut soak.clients[0].model.sessions;
    sessions.remove("missing");
    sessions.remove(id);
    assert!(is_difference(compare(&soak, &load)));
}

#[test]
fn clients_find_by_themselves_what_is_not_as_they_know_it() {
    let (mut soak, load, _directory) = soak();
    ask(&mut soak, &load, 100).unwrap();
    for held in soak.clients[0].model.sessions.values_mut() {
        held.version += 1;
    }
    assert!(is_difference(ask(&mut soak, &load, 1000)));
}

#[test]
fn a_panic_ends_the_load() {
    let (mut soak, load, _directory) = soak();
    let panic = AssertUnwindSafe(|| soak.run_clients(&load, || panic!("a panic of the test")));
    assert!(catch_unwind(panic).is_err());
    assert!(load.is_over());
}

#[test]
fn a_lost_write_to_a_shared_session_is_a_difference() {
    let (mut soak, load, _directory) = soak();
    ask(&mut soak, &load, 300).unwrap();
    let known: Vec<u64> = soak.store.shared.known().collect();
    let place = known.iter().position(|version| *version > 0).unwrap();
    soak.store.shared.compare(&load.sessions, &known).unwrap();
    let mut later = known;
    later[place] += 1;
    assert!(is_difference(
        soak.store.shared.compare(&load.sessions, &later)
    ));
}

#[test]
fn a_difference_names_no_id_and_no_payload() {
    let (mut soak, load, _directory) = soak();
    ask(&mut soak, &load, 100).unwrap();
    let ids: Vec<String> = soak.clients[0].model.sessions.keys().cloned().collect();
    for held in soak.clients[0].model.sessions.values_mut() {
        held.data.push(0);
    }
    let words = format!("{:#}", compare(&soak, &load).unwrap_err());
    assert!(words.contains("of client 0: another payload"), "{words}");
    assert!(ids.iter().all(|id| !words.contains(id)), "{words}");
}
