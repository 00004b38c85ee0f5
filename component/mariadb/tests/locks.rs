//! What waits for the locks of others, and for how long.

use crate::engine::{Engine, Error, Outcome, Request, SetRequest, Store};
use crate::fixture::{Database, NOW, SETUPS, Setup, is_live};
use crate::server::{is_mysql, processes};
use std::thread;

fn set(id: &str) -> Request {
    Request::Set(SetRequest {
        id: id.into(),
        data: vec![],
        ttl: None,
    })
}

/// A store in a database with a session that another connection locks.
struct Locked {
    database: Database,
    store: Store,
}

impl Locked {
    fn new(setup: Setup) -> Locked {
        let database = Database::with(setup, |options| options.gc_frequency = 0);
        let mut store = database.open();
        store.set(NOW, "mine", b"", None).unwrap();
        Locked { database, store }
    }

    /// Waits for the lock, with calls of at most `limit` milliseconds. Returns false if the
    /// machine was too busy: the client gave up before it knew that the server had.
    fn is_busy_and_goes_on(&self, limit: u64) -> bool {
        let opened = self
            .database
            .try_open(|options| options.sync_timeout = limit);
        let Ok(mut hurried) = opened else {
            return false;
        };
        let id = self.database.number(&format!(
            "SELECT MAX(id) FROM {} WHERE user = 'tester' AND db = DATABASE()",
            processes()
        ));
        let is_unknown = |error: &Error| match error {
            Error::Busy => false,
            Error::UnknownOutcome(_) => true,
            other => panic!("{other:?}"),
        };
        for _ in 0..2 {
            let alone = hurried.set(NOW, "mine", b"", None).unwrap_err();
            let batch = hurried.batch(NOW, &[set("new"), set("mine")]).unwrap_err();
            // Reads do not wait for locks.
            let Ok(read) = hurried.get(NOW, "mine") else {
                return false;
            };
            assert_eq!(read.unwrap().version, 1);
            if is_unknown(&alone) || is_unknown(&batch) {
                return false;
            }
        }
        let still = format!("SELECT COUNT(*) FROM {} WHERE id = {id}", processes());
        self.database.number(&still) == 1
    }

    /// Checks that nothing was done, and that another collection skips the locked row.
    fn check(&mut self) {
        assert!(!is_live(&mut self.store, NOW, "new"));
        let collected = self.store.collect(u64::MAX, 9).unwrap();
        assert_eq!((collected.removed, collected.more), (0, true));
    }

    /// Writes the session, which is not locked any longer.
    fn go_on(&mut self) {
        let written = self.store.set(NOW, "mine", b"", None);
        assert!(matches!(written, Ok(Outcome::Written(_))), "{written:?}");
        let session = self.store.get(NOW, "mine").unwrap().unwrap();
        assert_eq!(session.version, 2);
    }
}

#[test]
fn a_session_that_stays_locked_is_busy_and_the_connection_goes_on() {
    thread::scope(|scope| {
        for setup in SETUPS {
            scope.spawn(move || {
                let mut locked = Locked::new(setup);
                let lock = "UPDATE Sessions SET updated = updated + 1";
                let other = locked.database.server().begin(&locked.database.name, lock);
                assert!(locked.is_busy_and_goes_on(10_000), "{setup:?}");
                // The server ends waits for locks after whole seconds. With less time it ends
                // the statement, shortly before the client gives up. MySQL does not.
                if !is_mysql() {
                    assert!(
                        (0..50).any(|_| locked.is_busy_and_goes_on(1000)),
                        "{setup:?}"
                    );
                }
                locked.check();
                drop(other);
                locked.go_on();
            });
        }
    });
}
