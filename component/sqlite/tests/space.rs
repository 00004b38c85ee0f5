//! The disk space of collected sessions: how much is given back to the file system, and how
//! much is kept.

use crate::contract::collection::{LATE, expired, litter, write};
use crate::engine::Engine;
use crate::fixture::{BOTH, Database, NOW, is_live};

#[test]
fn space_comes_back_while_the_store_is_open() {
    for access in BOTH {
        let database = Database::with(access, |options| {
            options.gc_frequency = 1;
            options.gc_step = 20;
        });
        let mut store = database.open();
        litter(&mut store, 200, 20_000);
        store.set(NOW, "mine", b"", None).unwrap();
        let full = store.stats(NOW).unwrap().size;
        assert!(full > 4_000_000);
        let mut sizes = vec![full];
        for _ in 0..150 {
            write(&mut store);
            sizes.push(store.stats(LATE).unwrap().size);
        }
        assert!(sizes.is_sorted_by(|earlier, later| earlier >= later));
        assert_eq!(expired(&mut store), 0);
        // In steps, each of at most as many pages as a step may give back.
        let largest = sizes.windows(2).map(|pair| pair[0] - pair[1]).max();
        assert!(largest < Some(full / 20), "{largest:?} bytes in one step");
        let file = std::fs::metadata(database.file("sessions.db")).unwrap();
        assert!(file.len() < 100_000, "{} bytes are left", file.len());
        assert_eq!(sizes.last(), Some(&file.len()));
        assert_eq!(store.check(), Ok(vec![]));
        assert!(is_live(&mut store, LATE, "mine"));
    }
}

#[test]
fn a_call_of_collect_gives_space_back_too() {
    for access in BOTH {
        let database = Database::with(access, |options| options.gc_frequency = 0);
        let mut store = database.open();
        litter(&mut store, 200, 20_000);
        let mut more = 0;
        while more < 100 && store.collect(LATE, 50).unwrap().more {
            more += 1;
        }
        assert!((4..100).contains(&more), "{more} steps that left more");
        let file = std::fs::metadata(database.file("sessions.db")).unwrap();
        assert!(file.len() < 100_000, "{} bytes are left", file.len());
    }
}

#[test]
fn free_space_up_to_a_quarter_of_the_space_in_use_is_kept() {
    for access in BOTH {
        let database = Database::with(access, |options| options.gc_frequency = 0);
        let pages = || -> (i64, i64) {
            let raw = database.raw();
            let ask = |sql| raw.query_row(sql, [], |row| row.get(0)).unwrap();
            (ask("PRAGMA page_count"), ask("PRAGMA freelist_count"))
        };
        let mut store = database.open();
        litter(&mut store, 60, 20_000);
        for _ in 0..40 {
            store
                .create(NOW, &[0; 20_000], Some(3_600_000), None)
                .unwrap();
        }
        while store.collect(LATE, 50).unwrap().more {}
        drop(store);
        let (all, free) = pages();
        let kept = (all - free) / 4;
        assert!(
            (kept - 2..=kept).contains(&free),
            "{free} free pages of {all}"
        );

        let mut store = database.open();
        litter(&mut store, 6, 20_000);
        drop(store);
        assert!(pages().0 < all + 6, "the free space was not used");
    }
}
