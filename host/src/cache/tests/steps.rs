//! Generators of the settings and steps of the property test.

use std::time::Duration;

use proptest::option::weighted;
use proptest::prelude::*;
use proptest::sample::select;

use super::{ms, relaxed};
use crate::{NewSession, Options, Request};

/// One step of a sequence. The id `#0` means the id created last, `#1` the one before it,
/// and so on.
#[derive(Debug, Clone)]
pub enum Step {
    Alone(Request),
    Batch(Vec<Request>),
    /// Ends the session at this index of the listing.
    Terminate(usize),
    TerminateSubject(String, Option<String>),
    Clear,
    Collect(u32),
    Clock(Move),
}

/// A move of the clock.
#[derive(Debug, Clone)]
pub enum Move {
    Forward(u64),
    Back(u64),
    Start,
    /// Moves the clock by decades, so that a later step back is a far one.
    Ahead,
    /// Moves the clock to a session's expiry plus an offset in milliseconds.
    Expiry(String, i64),
}

/// Steps, and the ids that are read after each of them.
pub fn steps() -> impl Strategy<Value = Vec<(Step, Vec<String>)>> {
    let reads = prop::collection::vec(id(), 0..4);
    let some = prop_oneof![
        20 => (step(), reads).prop_map(|step| vec![step]),
        1 => id().prop_flat_map(at_its_expiry),
    ];
    prop::collection::vec(some, 1..80).prop_map(|steps| steps.concat())
}

/// Reads a session, moves the clock to its expiry or a millisecond before or after it, and
/// makes a request for the session.
fn at_its_expiry(id: String) -> impl Strategy<Value = Vec<(Step, Vec<String>)>> {
    (request(Just(id.clone())), -1..=1i64).prop_map(move |(request, offset)| {
        vec![
            (Step::Alone(Request::Get { id: id.clone() }), vec![]),
            (Step::Clock(Move::Expiry(id.clone(), offset)), vec![]),
            (Step::Alone(request), vec![id.clone()]),
        ]
    })
}

/// Sizes of the cache: the smaller ones hold a few sessions, the largest all.
pub fn cache() -> impl Strategy<Value = usize> {
    select(vec![500, 1500, 4000, 32 << 20])
}

/// The number of steps after which randomness repeats, so that ids are reused.
pub fn period() -> impl Strategy<Value = u64> {
    prop_oneof![4 => Just(u64::MAX), 1 => Just(5)]
}

/// Options with low limits, which sequences reach soon and often.
pub fn options() -> impl Strategy<Value = Options> {
    let lives = (
        select(vec![200, 86_400_000]),
        select(vec![None, Some(300)]),
        select(vec![0, 100, 1000]),
        select(vec![0, 100, 60_000]),
    );
    let bounds = (
        select(vec![None, None, Some(1), Some(2)]),
        select(vec![0, 0, 1, 3]),
        1..3u32,
    );
    (lives, bounds).prop_map(|(lives, bounds)| Options {
        browser_session_lifetime: ms(lives.0),
        absolute_lifetime: lives.1.map(ms),
        renewal_step: ms(lives.2),
        tombstone: ms(lives.3),
        max_per_subject: bounds.0,
        gc_frequency: bounds.1,
        gc_step: bounds.2.into(),
        ..relaxed()
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        30 => request(id()).prop_map(Step::Alone),
        10 => prop::collection::vec(request(id()), 0..6).prop_map(Step::Batch),
        6 => id().prop_flat_map(batch_for_one).prop_map(Step::Batch),
        2 => (0..4usize).prop_map(Step::Terminate),
        2 => (subject(), weighted(0.5, id())).prop_map(|(s, e)| Step::TerminateSubject(s, e)),
        1 => Just(Step::Clear),
        3 => (1..4u32).prop_map(Step::Collect),
        14 => clock().prop_map(Step::Clock),
    ]
}

fn request(id: impl Strategy<Value = String> + Clone) -> impl Strategy<Value = Request> {
    let id = || id.clone();
    prop_oneof![
        5 => (data(), ttl(), weighted(0.7, subject())).prop_map(|(data, ttl, subject)| Request::Create(NewSession { data, ttl, subject })),
        5 => id().prop_map(|id| Request::Get { id }),
        3 => (id(), data(), ttl()).prop_map(|(id, data, ttl)| Request::Set { id, data, ttl }),
        3 => (id(), data(), ttl(), expected()).prop_map(|(id, data, ttl, expected)| Request::Update { id, data, ttl, expected }),
        2 => (id(), patch(), ttl()).prop_map(|(id, patch, ttl)| Request::Merge { id, patch, ttl }),
        4 => (id(), ttl()).prop_map(|(id, ttl)| Request::Touch { id, ttl }),
        3 => (id(), weighted(0.5, subject())).prop_map(|(id, subject)| Request::Rotate { id, subject }),
        2 => id().prop_map(|id| Request::Destroy { id }),
    ]
}

/// Several requests for the same session in one transaction.
fn batch_for_one(id: String) -> impl Strategy<Value = Vec<Request>> {
    prop::collection::vec(request(Just(id)), 2..5)
}

fn clock() -> impl Strategy<Value = Move> {
    prop_oneof![
        4 => (1..150u64).prop_map(Move::Forward),
        1 => Just(Move::Forward(86_400_001)),
        3 => (1..300u64).prop_map(Move::Back),
        1 => Just(Move::Back(90_000_000)),
        1 => Just(Move::Ahead),
        1 => Just(Move::Start),
        5 => (id(), -1..=1i64).prop_map(|(id, offset)| Move::Expiry(id, offset)),
    ]
}

fn id() -> impl Strategy<Value = String> + Clone {
    prop_oneof![
        6 => (0..5u8).prop_map(|age| format!("#{age}")),
        3 => select(vec!["brought", "gebrächt 日本"]).prop_map(str::to_owned),
        1 => select(vec![0, 256]).prop_map(|length| "x".repeat(length)),
    ]
}

fn subject() -> impl Strategy<Value = String> {
    prop_oneof![
        9 => select(vec!["alice", "bob"]).prop_map(str::to_owned),
        1 => select(vec![0, 256]).prop_map(|length| "y".repeat(length)),
    ]
}

fn ttl() -> impl Strategy<Value = Option<Duration>> {
    prop_oneof![
        3 => Just(None),
        5 => (0..400u64).prop_map(|ttl| Some(ms(ttl))),
        1 => select(vec![0, 10_000, u64::MAX]).prop_map(|ttl| Some(ms(ttl))),
    ]
}

fn expected() -> impl Strategy<Value = Option<u64>> {
    prop_oneof![2 => Just(None), 6 => (0..4u64).prop_map(Some)]
}

fn data() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        6 => (0..100u8).prop_map(|number| format!(r#"{{"a":{number}}}"#).into_bytes()),
        1 => Just(br#"{"cookie":{"maxAge":150}}"#.to_vec()),
        1 => Just(b"not JSON".to_vec()),
        1 => (0..1500usize).prop_map(|length| vec![b'z'; length]),
    ]
}

fn patch() -> impl Strategy<Value = String> {
    let patches = [r#"{"b":2}"#, r#"{"a":null}"#, "7", "not JSON"];
    select(patches.to_vec()).prop_map(str::to_owned)
}
