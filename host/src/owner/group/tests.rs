//! Tests that requests within the budget succeed, whatever their kinds, and of what becomes
//! of a group that failed.

use std::sync::Arc;

use tempfile::TempDir;

use super::{Budget, Group};
use crate::contract::types::{
    CreateRequest, DestroyRequest, GetRequest, MergeRequest, Request, RotateRequest, SetRequest,
    TouchRequest, UpdateRequest,
};
use crate::owner::Replies;
use crate::owner::blocking::Blocking;
use crate::owner::caller::{Answered, Caller};
use crate::owner::command::Waiting;
use crate::owner::permits::Queue;
use crate::tests::{COMPILED, ms};
use crate::{Builder, Error, Options, Reply, Sessions};

const LARGEST: usize = 1 << 20;

/// As many requests of a kind as the budget allows in one transaction, at most 1000.
fn most(budget: &Budget, kind: impl Fn(usize) -> Request) -> Vec<Request> {
    let mut requests = vec![];
    for number in 0..1000 {
        requests.push(kind(number));
        if !budget.allows(&requests) {
            requests.pop();
            break;
        }
    }
    requests
}

/// An object of tiny members only, which needs the most memory in a merge.
fn members(length: usize, first: char) -> String {
    let members = (0..).map(|number| format!(r#""{first}{number:x}":1,"#));
    let mut object = "{".to_owned();
    for member in members {
        if object.len() + member.len() + 8 > length {
            break;
        }
        object += &member;
    }
    object + r#""last":1}"#
}

fn open(home: &TempDir, memory_limit: usize) -> Sessions {
    let builder = Builder::new(home.path().join("store"))
        .cache_directory(COMPILED)
        .memory_limit(memory_limit)
        .options(Options {
            max_data: LARGEST as u64,
            ..Options::default()
        });
    builder.open().wait().unwrap()
}

#[test]
fn requests_within_the_budget_do_not_crash_the_component() {
    let large = members(LARGEST, 'a');
    // Half of it is stored already, so that the merged result has the largest size allowed.
    let half = members(LARGEST / 2, 'a');
    let other_half = members(LARGEST / 2, 'b');
    let data = || large.clone().into_bytes();
    let id = |number: usize| format!("session {number}");
    type Kind<'a> = (&'a str, usize, &'a dyn Fn(usize) -> Request);
    let kinds: [Kind; 14] = [
        ("create", 32, &|_| {
            Request::Create(CreateRequest {
                data: data(),
                ttl: None,
                subject: None,
            })
        }),
        ("create with a life", 32, &|_| {
            Request::Create(CreateRequest {
                data: data(),
                ttl: Some(9_000),
                subject: None,
            })
        }),
        ("get", 128, &|number| {
            Request::Get(GetRequest { id: id(number) })
        }),
        ("get one", 128, &|_| Request::Get(GetRequest { id: id(0) })),
        ("set", 32, &|number| {
            Request::Set(SetRequest {
                id: id(number),
                data: data(),
                ttl: None,
            })
        }),
        ("update", 26, &|number| {
            Request::Update(UpdateRequest {
                id: id(number),
                data: data(),
                ttl: None,
                expected: None,
            })
        }),
        ("stale update", 128, &|number| {
            Request::Update(UpdateRequest {
                id: id(number),
                data: vec![],
                ttl: None,
                expected: Some(9),
            })
        }),
        ("large stale update", 26, &|number| {
            Request::Update(UpdateRequest {
                id: id(number),
                data: data(),
                ttl: None,
                expected: Some(9),
            })
        }),
        ("small merge", 16, &|number| {
            Request::Merge(MergeRequest {
                id: id(number),
                patch: r#"{"last":2}"#.to_owned(),
                ttl: None,
            })
        }),
        ("merge", 8, &|number| {
            Request::Merge(MergeRequest {
                id: id(number),
                patch: large.clone(),
                ttl: None,
            })
        }),
        ("merge of halves", 11, &|number| {
            let half = [&half, &other_half][number % 2];
            Request::Merge(MergeRequest {
                id: id(number),
                patch: half.clone(),
                ttl: None,
            })
        }),
        ("touch", 32, &|number| {
            Request::Touch(TouchRequest {
                id: id(number),
                ttl: None,
            })
        }),
        ("touch with a life", 64, &|number| {
            Request::Touch(TouchRequest {
                id: id(number),
                ttl: Some(9_000),
            })
        }),
        ("rotate", 64, &|number| {
            Request::Rotate(RotateRequest {
                id: id(number),
                subject: None,
            })
        }),
    ];
    for memory_limit in [256 << 20, 32 << 20, 8 << 20] {
        let budget = Budget::new(memory_limit, LARGEST as u64);
        for (name, largest, kind) in &kinds {
            let requests = most(&budget, kind);
            let count = requests.len();
            assert!(count <= *largest, "{count} of {name}");
            if requests.is_empty() {
                continue;
            }
            let home = TempDir::new().unwrap();
            let sessions = open(&home, memory_limit);
            for number in 0..count {
                let set = sessions.set(&id(number), data(), Some(ms(100_000_000)));
                set.wait().unwrap();
            }
            let replies = sessions.batch_of(requests).wait();
            let replies = replies.unwrap_or_else(|error| {
                panic!("{count} of {name} in {memory_limit} bytes: {error}")
            });
            let refused = replies.iter().filter(|reply| reply.is_err()).count();
            // A merge of two halves into the stored payload exceeds the limit.
            assert!(
                refused == 0 || name.contains("halves"),
                "{refused} of {name}"
            );
            assert!(!replies.contains(&Ok(Reply::Session(None))), "{name}");
        }
    }
}

#[test]
fn many_small_requests_and_all_endings_fit() {
    let budget = Budget::new(256 << 20, LARGEST as u64);
    let small = |_| {
        Request::Create(CreateRequest {
            data: b"{}".to_vec(),
            ttl: None,
            subject: None,
        })
    };
    assert_eq!(most(&budget, small).len(), 1000);
    let ending = |number: usize| {
        Request::Destroy(DestroyRequest {
            id: number.to_string(),
        })
    };
    assert_eq!(most(&budget, ending).len(), 1000);
}

#[test]
fn more_memory_does_not_make_other_callers_wait_longer() {
    let get = |_| Request::Get(GetRequest { id: "x".to_owned() });
    for memory_limit in [256 << 20, 1 << 30, usize::MAX] {
        let budget = Budget::new(memory_limit, LARGEST as u64);
        assert_eq!(most(&budget, get).len(), 126);
    }
    let budget = Budget::new(256 << 20, u64::MAX);
    assert!(most(&budget, get).is_empty());
}

/// A caller with one request, and the receiver of its answer.
pub(crate) fn waiting(queue: &Arc<Queue>) -> (Waiting, Answered<Replies>) {
    let (caller, answered) = Caller::new();
    let queued = pollster::block_on(queue.enter(&Blocking::new(false))).unwrap();
    let id = "id".to_owned();
    let requests = vec![Request::Destroy(DestroyRequest { id })];
    (
        Waiting {
            requests,
            caller,
            queued,
        },
        answered,
    )
}

#[test]
fn a_group_that_failed_is_tried_one_by_one_unless_that_is_in_vain_or_unsafe() {
    let queue = Arc::new(Queue::new());
    let unknown = Error::UnknownOutcome("Session: lost".to_owned());
    let unreachable = Error::Unreachable {
        servers: "a:1".to_owned(),
    };
    for (error, is_tried_again) in [
        (Error::Other("the server says: no".to_owned()), true),
        (Error::StorageFull, true),
        (Error::Crashed, false),
        (Error::Busy, false),
        (unreachable, false),
        (unknown, false),
    ] {
        let (first, mut first_answer) = waiting(&queue);
        let (second, mut second_answer) = waiting(&queue);
        let mut group = Group::of(first, &Budget::new(256 << 20, 1 << 20));
        assert!(group.has_room_for(&second));
        group.add(second);
        let alone = group.answer(Err(error.clone()));
        assert_eq!(alone.len(), 2 * usize::from(is_tried_again), "{error}");
        assert!(alone.iter().all(|waiting| waiting.requests.len() == 1));
        for answer in [&mut first_answer, &mut second_answer] {
            let answered = answer.try_recv().ok();
            assert_eq!(answered, (!is_tried_again).then(|| Err(error.clone())));
        }
    }
    assert!(queue.is_empty());
}
