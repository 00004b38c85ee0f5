//! Many requests in one transaction.

use crate::engine::{
    CreateRequest, DestroyRequest, Engine, Error, GetRequest, MergeRequest, Outcome, Reply,
    Request, RotateRequest, SetRequest, TouchRequest, UpdateRequest, Written,
};
use crate::fixture::{Database, NOW, SETUP, SETUPS, create, is_live, started};

fn set(id: &str, data: &str) -> Request {
    Request::Set(SetRequest {
        id: id.into(),
        data: data.into(),
        ttl: None,
    })
}

fn get(id: &str) -> Request {
    Request::Get(GetRequest { id: id.into() })
}

fn create_for(subject: &str) -> Request {
    Request::Create(CreateRequest {
        data: b"{}".into(),
        ttl: None,
        subject: Some(subject.into()),
    })
}

fn written(version: u64) -> Result<Reply, Error> {
    Ok(Reply::Outcome(Outcome::Written(Written {
        version,
        updated: NOW,
        expires: NOW + 86_400_000,
    })))
}

#[test]
fn a_batch_replies_to_each_request_in_order_and_each_sees_those_before_it() {
    for setup in SETUPS {
        let mut store = Database::new(setup).open();
        let id = "mine".to_owned();
        let requests = [
            get("mine"),
            set("mine", r#"{"a":1}"#),
            get("mine"),
            Request::Update(UpdateRequest {
                id: id.clone(),
                data: b"".into(),
                ttl: None,
                expected: Some(7),
            }),
            Request::Merge(MergeRequest {
                id: id.clone(),
                patch: r#"{"a":2}"#.into(),
                ttl: None,
            }),
            Request::Touch(TouchRequest {
                id: id.clone(),
                ttl: Some(50),
            }),
            Request::Rotate(RotateRequest {
                id: id.clone(),
                subject: None,
            }),
            set("mine", "late"),
            Request::Destroy(DestroyRequest { id }),
        ];
        let replies = store.batch(NOW, &requests).unwrap();
        let first = started(r#"{"a":1}"#, None, NOW);
        let mut second = started(r#"{"a":2}"#, None, NOW);
        second.version = 2;
        let expected = [
            Ok(Reply::Session(None)),
            written(1),
            Ok(Reply::Session(Some(first.clone()))),
            Ok(Reply::Outcome(Outcome::Stale(first))),
            Ok(Reply::Session(Some(second))),
            Ok(Reply::Expires(Some(NOW + 50))),
        ];
        assert_eq!(replies[..6], expected);
        let Ok(Reply::Rotated(Some(moved))) = &replies[6] else {
            panic!("{:?}", replies[6]);
        };
        assert!(is_live(&mut store, NOW, &moved.id));
        let last = [
            Ok(Reply::Outcome(Outcome::Gone)),
            Ok(Reply::Destroyed(false)),
        ];
        assert_eq!(replies[7..], last);
    }
}

#[test]
fn a_refused_request_has_its_error_as_reply_and_the_others_go_on() {
    for setup in SETUPS {
        let mut store = Database::with(setup, |options| options.max_data = 5).open();
        let requests = [
            set("a", "1"),
            set("", "2"),
            set("b", "123456"),
            create_for(""),
            Request::Merge(MergeRequest {
                id: "a".into(),
                patch: "{".into(),
                ttl: None,
            }),
            set("c", "3"),
        ];
        let replies = store.batch(NOW, &requests).unwrap();
        assert_eq!(replies.len(), 6);
        assert_eq!((&replies[0], &replies[5]), (&written(1), &written(1)));
        assert_eq!(replies[2], Err(Error::TooLarge(5)));
        for refused in [1, 3, 4] {
            assert!(matches!(replies[refused], Err(Error::InvalidArgument(_))));
        }
        assert_eq!(store.count_sessions(NOW, None), Ok(2));
    }
}

#[test]
fn a_failed_batch_changes_nothing() {
    for setup in SETUPS {
        let database = Database::new(setup);
        let mut store = database.open();
        let id = create(&mut store, NOW, None);
        drop(store);
        database.fail(
            "AFTER INSERT",
            "NEW.version = 1 AND NEW.subject IS NOT NULL",
        );

        let mut store = database.open();
        let destroy = Request::Destroy(DestroyRequest { id: id.clone() });
        let requests = [set("a", ""), destroy, create_for("harm"), set("b", "")];
        assert!(matches!(store.batch(NOW, &requests), Err(Error::Other(_))));
        // Only the size may have grown, since an engine may write before it rolls back.
        let statistics = store.stats(NOW).unwrap();
        assert_eq!((statistics.live, statistics.expired), (1, 0));
        assert!(is_live(&mut store, NOW, &id));
        // The store goes on.
        let replies = store.batch(NOW, &[set("a", ""), set("b", "")]);
        assert_eq!(replies, Ok(vec![written(1), written(1)]));
    }
}

#[test]
fn an_empty_batch_has_no_replies() {
    for setup in SETUPS {
        let mut store = Database::new(setup).open();
        assert_eq!(store.batch(NOW, &[]), Ok(vec![]));
    }
}

#[test]
fn a_batch_of_reads_answers_like_reads() {
    for setup in SETUPS {
        let mut store = Database::new(setup).open();
        store.set(NOW, "a", b"1", None).unwrap();
        let there = || Ok(Reply::Session(Some(started("1", None, NOW))));
        let missing = || Ok(Reply::Session(None));
        assert_eq!(store.batch(NOW, &[get("a")]), Ok(vec![there()]));
        let replies = store.batch(NOW, &[get("b"), get("a"), get("")]);
        assert_eq!(replies, Ok(vec![missing(), there(), missing()]));
    }
}

#[test]
fn a_large_batch_is_one_transaction() {
    let mut store = Database::new(SETUP).open();
    let requests: Vec<Request> = (0..5000).map(|n| set(&format!("id {n}"), "x")).collect();
    let replies = store.batch(NOW, &requests).unwrap();
    assert!(replies.iter().all(|reply| *reply == written(1)));
    assert_eq!(store.count_sessions(NOW, None), Ok(5000));
}
