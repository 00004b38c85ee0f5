//! Listings: what they show, and that walks over pages are complete while other sessions are
//! created and ended.

use crate::engine::{CreateRequest, Engine, Entry, Error, Request, Store};
use crate::fixture::{Database, LAST_HANDLE, NOW, SETUP, SETUPS, create, handle};
use std::collections::BTreeSet;

/// The handles on all pages with this `limit`; calls `between` after each page.
fn walk(
    store: &mut Store,
    subject: Option<&str>,
    limit: u32,
    mut between: impl FnMut(&mut Store, &[Entry]),
) -> Vec<String> {
    let mut handles = vec![];
    let mut cursor: Option<String> = None;
    loop {
        let page = store
            .list_sessions(NOW, subject, cursor.as_deref(), limit)
            .unwrap();
        assert!(page.entries.len() <= limit as usize);
        handles.extend(page.entries.iter().map(|entry| entry.handle.clone()));
        between(store, &page.entries);
        match page.next {
            None => return handles,
            next => cursor = next,
        }
    }
}

fn many(store: &mut Store, count: usize, subject: Option<&str>) {
    let request = Request::Create(CreateRequest {
        data: b"{}".into(),
        ttl: None,
        subject: subject.map(str::to_owned),
    });
    store.batch(NOW, &vec![request; count]).unwrap();
}

#[test]
fn an_entry_shows_everything_but_the_id_and_the_payload() {
    for setup in SETUPS {
        let mut store = Database::new(setup).open();
        let id = create(&mut store, NOW - 9, Some("alice"));
        store.set(NOW - 3, &id, b"payload", Some(1000)).unwrap();
        let page = store.list_sessions(NOW, None, None, 1).unwrap();
        let expected = Entry {
            handle: handle(&id),
            subject: Some("alice".into()),
            version: 2,
            created: NOW - 9,
            updated: NOW - 3,
            expires: NOW + 997,
            size: 7,
        };
        assert_eq!((page.entries, page.next), (vec![expected], None));
    }
}

#[test]
fn a_listed_session_can_be_inspected_while_it_exists() {
    for setup in SETUPS {
        let mut store = Database::new(setup).open();
        let id = create(&mut store, NOW, Some("alice"));
        store.set(NOW, &id, b"payload", Some(1000)).unwrap();
        let session = store.get(NOW, &id).unwrap();
        assert!(session.is_some());
        assert_eq!(store.inspect(NOW, &handle(&id)), Ok(session));
        assert_eq!(store.inspect(NOW + 1000, &handle(&id)), Ok(None));
        for foreign in ["", &id, &handle("other"), &handle(&id).to_uppercase()] {
            assert_eq!(store.inspect(NOW, foreign), Ok(None), "{foreign}");
        }
    }
}

#[test]
fn pages_of_every_size_show_each_session_once_in_one_order() {
    for setup in SETUPS {
        let mut store = Database::new(setup).open();
        many(&mut store, 7, Some("alice"));
        many(&mut store, 5, Some("bob"));
        let whole = walk(&mut store, None, 1000, |_, _| {});
        assert_eq!(whole.iter().collect::<BTreeSet<_>>().len(), 12);
        let alices = walk(&mut store, Some("alice"), 1000, |_, _| {});
        assert_eq!(alices.len(), 7);
        for limit in 1..14 {
            assert_eq!(walk(&mut store, None, limit, |_, _| {}), whole);
            assert_eq!(walk(&mut store, Some("alice"), limit, |_, _| {}), alices);
        }
    }
}

#[test]
fn the_last_page_has_no_next_even_when_it_is_full() {
    let mut store = Database::new(SETUP).open();
    many(&mut store, 4, None);
    let first = store.list_sessions(NOW, None, None, 2).unwrap();
    let next = first.next.unwrap();
    let last = store.list_sessions(NOW, None, Some(&next), 2).unwrap();
    assert_eq!((last.entries.len(), last.next), (2, None));
}

#[test]
fn a_cursor_stays_valid_when_its_session_and_its_neighbours_end() {
    for setup in SETUPS {
        let mut store = Database::new(setup).open();
        many(&mut store, 12, None);
        let whole = walk(&mut store, None, 1000, |_, _| {});
        // Every session on a page is ended and collected before the next page.
        let seen = walk(&mut store, None, 3, |store, entries| {
            for entry in entries {
                assert_eq!(store.terminate(NOW, &entry.handle), Ok(true));
            }
            store.collect(NOW + 60_000, 100).unwrap();
        });
        assert_eq!(seen, whole);
        assert_eq!(store.count_sessions(NOW, None), Ok(0));
    }
}

#[test]
fn sessions_that_stay_are_listed_once_while_others_come_and_go() {
    for setup in SETUPS {
        let mut store = Database::new(setup).open();
        many(&mut store, 10, Some("staying"));
        many(&mut store, 10, Some("going"));
        let staying: BTreeSet<String> = walk(&mut store, Some("staying"), 1000, |_, _| {})
            .into_iter()
            .collect();
        let mut pages = 0;
        let seen = walk(&mut store, None, 2, |store, _| {
            pages += 1;
            if pages == 3 {
                store.terminate_subject(NOW, "going", None).unwrap();
            }
            many(store, 1, Some("coming"));
        });
        let distinct: BTreeSet<String> = seen.iter().cloned().collect();
        assert_eq!(distinct.len(), seen.len());
        assert!(distinct.is_superset(&staying));
    }
}

#[test]
fn a_page_has_1_to_1000_entries() {
    let mut store = Database::new(SETUP).open();
    many(&mut store, 1001, None);
    for limit in [0, 1001, u32::MAX] {
        let page = store.list_sessions(NOW, None, None, limit);
        assert!(matches!(page, Err(Error::InvalidArgument(words)) if words.contains("limit")));
    }
    let page = store.list_sessions(NOW, None, None, 1000).unwrap();
    assert_eq!(page.entries.len(), 1000);
    assert_eq!(walk(&mut store, None, 1000, |_, _| {}).len(), 1001);
}

#[test]
fn a_cursor_is_refused_only_for_its_form() {
    let mut store = Database::new(SETUP).open();
    let id = create(&mut store, NOW, None);
    for cursor in ["", "x", &id, &handle(&id).to_uppercase(), &handle(&id)[1..]] {
        let page = store.list_sessions(NOW, None, Some(cursor), 1);
        assert!(matches!(page, Err(Error::InvalidArgument(words)) if words.contains("cursor")));
    }
    for end in ["7f", "ff"].map(|byte| byte.repeat(32)) {
        let page = store.list_sessions(NOW, None, Some(&end), 1).unwrap();
        assert!(page.entries.len() <= 1);
    }
    let page = store
        .list_sessions(NOW, None, Some(LAST_HANDLE), 1)
        .unwrap();
    assert_eq!((page.entries.len(), page.next), (0, None));
}

#[test]
fn neither_a_listing_nor_a_count_shows_ended_sessions() {
    for setup in SETUPS {
        let mut store = Database::new(setup).open();
        let ended = create(&mut store, NOW, Some("alice"));
        store.destroy(NOW, &ended).unwrap();
        store.create(NOW, b"", Some(0), Some("alice")).unwrap();
        for subject in [None, Some("alice")] {
            let page = store.list_sessions(NOW, subject, None, 10).unwrap();
            assert_eq!((page.entries.len(), page.next), (0, None));
            assert_eq!(store.count_sessions(NOW, subject), Ok(0));
        }
    }
}

#[test]
fn a_page_reads_at_most_10000_rows_and_still_gives_a_next_cursor() {
    let mut store = Database::with(SETUP, |options| options.gc_frequency = 0).open();
    many(&mut store, 15_000, Some("alice"));
    assert_eq!(store.clear(NOW), Ok(15_000));
    // Ended sessions stay in the subject's index until they are collected.
    let expired = Request::Create(CreateRequest {
        data: b"{}".into(),
        ttl: Some(0),
        subject: Some("alice".into()),
    });
    store.batch(NOW, &vec![expired; 15_000]).unwrap();
    many(&mut store, 4, Some("alice"));
    for (subject, expected) in [(None, 4), (Some("alice"), 2)] {
        let mut pages = 0;
        let seen = walk(&mut store, subject, 1000, |_, _| pages += 1);
        assert_eq!((seen.len(), pages), (4, expected));
        assert_eq!(walk(&mut store, subject, 1, |_, _| {}), seen);
    }
}
