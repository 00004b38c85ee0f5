//! What waits for the locks of others, and for how long.

use crate::engine::{Engine, Error, Outcome, Request, SetRequest};
use crate::fixture::{Database, NOW, SETUPS, is_live};
use crate::server::{is_mysql, processes};

#[test]
fn a_session_that_stays_locked_is_busy_and_the_connection_goes_on() {
    let [ordinary, unusual] = SETUPS;
    for (setup, limit) in [(ordinary, 2000), (unusual, 2000), (ordinary, 3000)] {
        // MySQL ends a wait for a lock after one second to two at the earliest.
        let limit = if is_mysql() { 3000 } else { limit };
        let database = Database::with(setup, |options| options.gc_frequency = 0);
        let mut store = database.open();
        store.set(NOW, "mine", b"", None).unwrap();
        let lock = "UPDATE Sessions SET updated = updated + 1";
        let other = database.server().begin(&database.name, lock);
        let mut hurried = database.open_with(|options| options.sync_timeout = limit);
        let id = database.number(&format!(
            "SELECT MAX(id) FROM {} WHERE user = 'tester' AND db = DATABASE()",
            processes()
        ));
        for _ in 0..2 {
            assert_eq!(hurried.set(NOW, "mine", b"", None), Err(Error::Busy));
            // Reads do not wait for locks.
            assert_eq!(hurried.get(NOW, "mine").unwrap().unwrap().version, 1);
            let set = Request::Set(SetRequest {
                id: "new".into(),
                data: vec![],
                ttl: None,
            });
            let again = Request::Set(SetRequest {
                id: "mine".into(),
                data: vec![],
                ttl: None,
            });
            assert_eq!(hurried.batch(NOW, &[set, again]), Err(Error::Busy));
            assert!(!is_live(&mut hurried, NOW, "new"));
        }
        let still = format!("SELECT COUNT(*) FROM {} WHERE id = {id}", processes());
        assert_eq!(database.number(&still), 1);
        // Its rows are left to the other.
        let collected = hurried.collect(u64::MAX, 9).unwrap();
        assert_eq!((collected.removed, collected.more), (0, true));
        drop(other);
        assert!(matches!(
            store.set(NOW, "mine", b"", None),
            Ok(Outcome::Written(_))
        ));
        assert_eq!(store.get(NOW, "mine").unwrap().unwrap().version, 2);
    }
}
