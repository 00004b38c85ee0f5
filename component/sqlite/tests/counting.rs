//! Counting requests in a shared database, and backups, which do not count.

use crate::contract::collection::{
    COUNTED, LATE, every_4_requests_3_rows, expired, littered, read, waiting, write,
};
use crate::engine::{Access, Engine, Store};

#[test]
fn a_shared_store_counts_only_requests_that_write() {
    let database = littered(Access::Shared, 8, every_4_requests_3_rows);
    let mut store = database.open();
    assert_eq!(waiting(&mut store, 9, read), [8; 9]);
    let useless = |store: &mut Store| {
        store.destroy(LATE, "missing").unwrap();
        store.update(LATE, "mine", b"", None, Some(99)).unwrap();
        store.touch(LATE, "missing", None).unwrap();
        store.batch(LATE, &[]).unwrap();
        let find_nothing = &COUNTED[..5];
        find_nothing.iter().for_each(|request| request(store));
    };
    assert_eq!(waiting(&mut store, 2, useless), [8; 2]);
    assert_eq!(waiting(&mut store, 6, write), [8, 8, 8, 5, 2, 0]);
}

#[test]
fn shared_stores_that_live_for_one_request_collect_too() {
    let database = littered(Access::Shared, 8, every_4_requests_3_rows);
    let waiting: Vec<u64> = (0..8)
        .map(|_| {
            let mut store = database.open();
            read(&mut store);
            write(&mut store);
            expired(&mut store)
        })
        .collect();
    assert_eq!(waiting, [8, 8, 8, 5, 2, 0, 0, 0]);
}

#[test]
fn shared_stores_on_one_database_count_together() {
    let database = littered(Access::Shared, 8, every_4_requests_3_rows);
    let mut stores = [database.open(), database.open()];
    let mut left = vec![];
    for turn in 0..6 {
        write(&mut stores[turn % 2]);
        left.push(expired(&mut stores[0]));
    }
    assert_eq!(left, [8, 8, 8, 5, 2, 0]);
    let collected = stores.map(|mut store| store.stats(LATE).unwrap().collected);
    assert_eq!(collected.iter().sum::<u64>(), 8);
}

#[test]
fn a_backup_neither_counts_nor_collects() {
    let database = littered(Access::Exclusive, 8, every_4_requests_3_rows);
    let mut store = database.open();
    let mut copies = 0;
    let back_up = |store: &mut Store| {
        copies += 1;
        let copy = database.file(&format!("copy{copies}"));
        store.backup(&copy).unwrap();
    };
    assert_eq!(waiting(&mut store, 4, back_up), [8; 4]);
    assert_eq!(waiting(&mut store, 4, read), [8, 8, 8, 5]);
}
