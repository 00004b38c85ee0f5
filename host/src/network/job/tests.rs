//! Tests of what the callers of a group get that failed.

use super::*;
use crate::contract::types::{DestroyRequest, GetRequest};
use crate::owner::group::tests::waiting;
use crate::owner::permits::Queue;

fn error(words: &str) -> Error {
    Error::Other(words.to_owned())
}

/// Retries the callers of a group that failed; each gets the next of `results`. Returns how
/// many were retried, and all answers.
fn retry_each(results: &[Result<Replies, Error>]) -> (usize, Vec<Result<Replies, Error>>) {
    let queue = Arc::new(Queue::new());
    let failure = Arc::new(GroupFailure::new(error("of the group")));
    let (callers, answers): (Vec<_>, Vec<_>) = results.iter().map(|_| waiting(&queue)).unzip();
    let alone = |caller| Job::Alone(caller, failure.clone());
    let mut jobs: VecDeque<Job> = callers.into_iter().map(alone).collect();
    let mut retried = 0;
    while let Some(work) = Job::take(&mut jobs, &Budget::new(256 << 20, 1 << 20)) {
        let Work::Alone(waiting, failure) = work else {
            panic!("the callers share a transaction again");
        };
        failure.record(&results[retried]);
        waiting.answer(results[retried].clone());
        retried += 1;
    }
    assert!(queue.is_empty());
    let answers = answers.into_iter();
    let answers = answers.map(|answer| pollster::block_on(answer).unwrap());
    (retried, answers.collect())
}

#[test]
fn an_error_that_two_callers_get_again_is_that_of_the_others_too() {
    let failed = || Err(error("of the group"));
    let results = [failed(), failed(), Ok(vec![]), Ok(vec![])];
    assert_eq!(retry_each(&results), (2, vec![failed(); 4]));
}

#[test]
fn one_caller_with_the_error_of_its_group_does_not_fail_the_others() {
    let failed = || Err(error("of the group"));
    for results in [
        [failed(), Ok(vec![]), failed(), failed()],
        [Ok(vec![]), failed(), failed(), Ok(vec![])],
        [failed(), Err(error("another")), failed(), Ok(vec![])],
    ] {
        assert_eq!(retry_each(&results), (4, results.to_vec()));
    }
}

#[test]
fn requests_that_only_read_are_a_kind_of_their_own() {
    let id = || "id".to_owned();
    let get = Request::Get(GetRequest { id: id() });
    let end = Request::Destroy(DestroyRequest { id: id() });
    assert_eq!(Job::kind(&[]), Kind::Read);
    assert_eq!(Job::kind(&[get.clone(), get.clone()]), Kind::Read);
    assert_eq!(Job::kind(&[get, end]), Kind::Write);
}
