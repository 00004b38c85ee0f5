//! Tests of group commit: waiting requests share a transaction, and do not disturb each
//! other.

use super::*;

#[test]
fn requests_that_wait_together_share_a_transaction() {
    let home = home();
    let (created, transactions) = behind_one_another(builder(&home), |sessions| {
        let create = |number: usize| sessions.create(number.to_string());
        (0..200).map(create).collect()
    });
    assert_eq!(transactions, 1);
    let sessions = builder(&home).open().wait().unwrap();
    for (number, created) in created.into_iter().enumerate() {
        let id = created.unwrap().id;
        assert_eq!(data(&sessions, &id), number.to_string().as_bytes());
    }
}

#[test]
fn a_group_is_bounded_in_requests() {
    let (created, transactions) = behind_one_another(builder(&home()), |sessions| {
        let create = |_| sessions.create("{}");
        (0..600).map(create).collect()
    });
    assert!(created.iter().all(Result::is_ok));
    assert_eq!(transactions, 3);
}

#[test]
fn requests_that_succeed_one_by_one_do_not_crash_the_component_together() {
    let home = home();
    let small = || builder(&home).memory_limit(32 << 20);
    let large = vec![7; 1 << 20];
    let (created, _) = behind_one_another(small(), |sessions| {
        let create = |_| sessions.create(large.clone());
        (0..64).map(create).collect()
    });
    let created: Vec<Created> = created.into_iter().map(Result::unwrap).collect();
    let (read, _) = behind_one_another(small(), |sessions| {
        created.iter().map(|made| sessions.get(&made.id)).collect()
    });
    assert!(
        read.into_iter()
            .all(|session| session.unwrap().unwrap().data == large)
    );
    let (stale, _) = behind_one_another(small(), |sessions| {
        let update = |made: &Created| sessions.update(&made.id, "{}", None, Some(9));
        created.iter().map(update).collect()
    });
    let is_stale = |outcome| matches!(outcome, Ok(Outcome::Stale(_)));
    assert!(stale.into_iter().all(is_stale));
}

#[test]
fn requests_larger_than_the_components_memory_are_refused_without_a_crash() {
    let home = home();
    let sessions = builder(&home).memory_limit(16 << 20).open().wait().unwrap();
    let before = create(&sessions, "kept");
    let large = "x".repeat(20 << 20);
    let too_large = Error::TooLarge(1 << 20);
    assert_eq!(
        sessions.create(large.clone()).wait(),
        Err(too_large.clone())
    );
    assert_eq!(
        sessions.merge(&before.id, &large, None).wait(),
        Err(too_large.clone())
    );
    assert_eq!(sessions.get(&large).wait(), Ok(None));
    assert!(matches!(
        sessions.set(&large, "", None).wait(),
        Err(Error::InvalidArgument(_))
    ));
    let bound = sessions.rotate(&before.id, Some(&large)).wait();
    assert!(matches!(bound, Err(Error::InvalidArgument(_))));

    let get = Request::Get {
        id: before.id.clone(),
    };
    let set = Request::Set {
        id: before.id,
        data: large.into(),
        ttl: None,
    };
    let replies = sessions.batch(vec![get.clone(), set, get]).wait().unwrap();
    assert_eq!(replies[1], Err(too_large));
    assert!(replies[0] == replies[2] && replies[0].is_ok());
}

#[test]
fn randomness_that_repeats_is_an_error() {
    let home = home();
    let zeroes = builder(&home).random(|bytes| bytes.fill(0));
    let sessions = zeroes.open().wait().unwrap();
    create(&sessions, "kept");
    let second = sessions.create("{}").wait();
    assert!(matches!(second, Err(Error::Other(words)) if words.contains("random")));
    assert_eq!(sessions.count_sessions(None).wait(), Ok(1));
}

#[test]
fn a_failing_request_does_not_fail_those_that_wait_with_it() {
    let home = home();
    refuse(&home, "INSERT");

    let (created, _) = behind_one_another(builder(&home), |sessions| {
        let create = |data: &str| sessions.create(data);
        ["a", "!", "b"].map(create).into()
    });
    assert!(created[0].is_ok());
    assert!(matches!(&created[1], Err(Error::Other(words)) if words.contains("refused")));
    assert!(created[2].is_ok());
    let sessions = builder(&home).open().wait().unwrap();
    assert_eq!(sessions.count_sessions(None).wait(), Ok(2));
}

#[test]
fn batches_that_wait_together_get_their_own_replies() {
    let home = home();
    let (replies, transactions) = behind_one_another(builder(&home), |sessions| {
        let create = |data: &str| Request::Create(NewSession::new(data));
        let get = Request::Get {
            id: "nobody".into(),
        };
        let batch = |requests| sessions.batch(requests);
        vec![
            batch(vec![create("a"), get.clone()]),
            batch(vec![]),
            batch(vec![get, create("b"), create("c")]),
        ]
    });
    assert_eq!(transactions, 1);
    let sizes: Vec<usize> = replies
        .iter()
        .map(|all| all.as_ref().unwrap().len())
        .collect();
    assert_eq!(sizes, [2, 0, 3]);
}
