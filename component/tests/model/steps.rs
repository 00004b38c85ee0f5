//! Generators of steps and options for the property test.

use crate::engine::{
    CreateRequest, DestroyRequest, END_OF_TIME, GetRequest, MergeRequest, Options, Request,
    RotateRequest, SetRequest, TouchRequest, UpdateRequest,
};
use crate::fixture::NOW;
use proptest::option::weighted;
use proptest::prelude::*;
use proptest::sample::select;

/// One step of a sequence. The id `#0` means the one generated last, `#1` the one before it,
/// and so on.
#[derive(Debug, Clone)]
pub enum Step {
    Alone(Request),
    Batch(Vec<Request>),
    Terminate(String),
    TerminateSubject(String, Option<String>),
    Clear,
    List {
        subject: Option<String>,
        /// Continues after the page that was listed last.
        resumed: bool,
        limit: u32,
    },
    BadCursor,
    Count(Option<String>),
    Collect(u64),
    Reopen,
    Clock(Clock),
}

/// A change of the clock.
#[derive(Debug, Clone)]
pub enum Clock {
    Forward(u64),
    Back(u64),
    To(u64),
    /// To just before, at, or just after the expiry of a session.
    Expiry(String, i64),
}

/// Sequences that are long enough for sessions to be created, expire and be collected.
pub fn steps() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(step(), 1..60)
}

/// Options with limits that are reached soon and often.
pub fn options() -> impl Strategy<Value = Options> {
    let lives = (
        select(vec![200, 86_400_000]),
        select(vec![None, Some(300), Some(20_000), Some(END_OF_TIME)]),
        select(vec![0, 100, END_OF_TIME]),
        select(vec![0, 100, 60_000, END_OF_TIME]),
    );
    let bounds = (
        select(vec![30, 1000]),
        select(vec![None, Some(1), Some(2), Some(3)]),
        0..5u64,
        1..4u64,
    );
    (lives, bounds).prop_map(|(lives, bounds)| Options {
        browser_session_lifetime: lives.0,
        absolute_lifetime: lives.1,
        renewal_step: lives.2,
        tombstone: lives.3,
        max_data: bounds.0,
        max_per_subject: bounds.1,
        gc_frequency: bounds.2,
        gc_step: bounds.3,
        ..Options::default()
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        40 => request().prop_map(Step::Alone),
        8 => prop::collection::vec(request(), 1..6).prop_map(Step::Batch),
        3 => id().prop_map(Step::Terminate),
        3 => (subject(), weighted(0.5, id())).prop_map(|(s, e)| Step::TerminateSubject(s, e)),
        1 => Just(Step::Clear),
        8 => list(),
        1 => Just(Step::BadCursor),
        2 => weighted(0.5, subject()).prop_map(Step::Count),
        3 => (1..5u64).prop_map(Step::Collect),
        2 => Just(Step::Reopen),
        16 => clock().prop_map(Step::Clock),
    ]
}

fn request() -> impl Strategy<Value = Request> {
    prop_oneof![
        5 => (data(), ttl(), weighted(0.7, subject()))
            .prop_map(|(data, ttl, subject)| Request::Create(CreateRequest { data, ttl, subject })),
        3 => id().prop_map(|id| Request::Get(GetRequest { id })),
        4 => (id(), data(), ttl()).prop_map(|(id, data, ttl)| Request::Set(SetRequest { id, data, ttl })),
        4 => (id(), data(), ttl(), expected())
            .prop_map(|(id, data, ttl, expected)| Request::Update(UpdateRequest { id, data, ttl, expected })),
        4 => (id(), patch(), ttl()).prop_map(|(id, patch, ttl)| Request::Merge(MergeRequest { id, patch, ttl })),
        3 => (id(), ttl()).prop_map(|(id, ttl)| Request::Touch(TouchRequest { id, ttl })),
        3 => (id(), weighted(0.5, subject()))
            .prop_map(|(id, subject)| Request::Rotate(RotateRequest { id, subject })),
        2 => id().prop_map(|id| Request::Destroy(DestroyRequest { id })),
    ]
}

fn list() -> impl Strategy<Value = Step> {
    let limit = prop_oneof![9 => 1..5u32, 2 => select(vec![0, 1000, 1001, u32::MAX])];
    (weighted(0.4, subject()), any::<bool>(), limit).prop_map(|(subject, resumed, limit)| {
        Step::List {
            subject,
            resumed,
            limit,
        }
    })
}

fn clock() -> impl Strategy<Value = Clock> {
    prop_oneof![
        6 => (1..150u64).prop_map(Clock::Forward),
        1 => select(vec![1000, 60_001, 86_400_001]).prop_map(Clock::Forward),
        3 => (1..200u64).prop_map(Clock::Back),
        1 => select(vec![10_000, 100_000_000]).prop_map(Clock::Back),
        4 => (id(), -1..=1i64).prop_map(|(id, offset)| Clock::Expiry(id, offset)),
        1 => select(vec![0, END_OF_TIME - 1, END_OF_TIME, END_OF_TIME + 1, u64::MAX])
            .prop_map(Clock::To),
        2 => Just(Clock::To(NOW)),
    ]
}

fn id() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => (0..4u8).prop_map(|age| format!("#{age}")),
        3 => select(vec!["brought", "gebrächt 日本"]).prop_map(str::to_owned),
        1 => select(vec![0, 255, 256]).prop_map(|length| "x".repeat(length)),
    ]
}

fn subject() -> impl Strategy<Value = String> {
    prop_oneof![
        9 => select(vec!["alice", "bob", "ö"]).prop_map(str::to_owned),
        1 => select(vec![0, 255, 256]).prop_map(|length| "y".repeat(length)),
    ]
}

fn ttl() -> impl Strategy<Value = Option<u64>> {
    prop_oneof![
        4 => Just(None),
        4 => (0..400u64).prop_map(Some),
        1 => select(vec![0, 10_000, END_OF_TIME, u64::MAX]).prop_map(Some),
    ]
}

fn expected() -> impl Strategy<Value = Option<u64>> {
    prop_oneof![2 => Just(None), 6 => (0..4u64).prop_map(Some), 1 => Just(Some(u64::MAX))]
}

fn data() -> impl Strategy<Value = Vec<u8>> {
    let payloads: [&[u8]; 10] = [
        b"{}",
        br#"{"a":1}"#,
        br#"{"b":{"c":[1,2]},"a":"x"}"#,
        br#"{"cookie":{"maxAge":150}}"#,
        br#"{"cookie":{"maxAge":99.9}}"#,
        br#"{"cookie":{"maxAge":"9"}}"#,
        br#"{"cookie":{"maxAge":-5}}"#,
        b"[1]",
        b"not JSON",
        b"\xff\x00",
    ];
    prop_oneof![
        12 => select(payloads.to_vec()).prop_map(<[u8]>::to_vec),
        1 => select(vec![0, 30, 31, 1000, 1001]).prop_map(|length| vec![b'z'; length]),
    ]
}

fn patch() -> impl Strategy<Value = String> {
    let patches = [
        "{}",
        r#"{"a":2}"#,
        r#"{"a":null,"d":null}"#,
        r#"{"b":{"c":null,"e":{}}}"#,
        r#"{"cookie":{"maxAge":250}}"#,
        r#"{"cookie":null}"#,
        r#"{"long":"0123456789012345"}"#,
        "7",
        "null",
        "",
        "not JSON",
        r#"{"longer":"01234567890123456789"}"#,
    ];
    select(patches.to_vec()).prop_map(str::to_owned)
}
