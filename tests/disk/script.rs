//! Scripts: sequences of steps that a program runs on a store.

use crate::process::{
    CreateRequest, DestroyRequest, MergeRequest, Request, RotateRequest, SetRequest, TouchRequest,
    UpdateRequest,
};

/// A step. The id `#0` means the first id that the store generated in this script, and so on.
#[derive(Clone, Debug)]
pub enum Step {
    /// Calls the function of a request.
    Alone(Request),
    /// Runs requests in one transaction.
    Batch(Vec<Request>),
    /// Ends the session of an id, by its handle.
    Terminate(String),
    /// Ends a subject's sessions except one.
    TerminateSubject(&'static str, Option<String>),
    /// Ends all sessions.
    Clear,
    /// Collects until nothing is left.
    Collect(u32),
    /// Calls `collect` once.
    CollectOnce(u32),
    /// Writes a copy.
    Backup(&'static str),
    /// Closes the store and opens it again.
    Reopen,
    /// Kills the instance, and starts another.
    Restart,
    /// Advances the clock by this many milliseconds.
    Wait(u64),
}

/// Every function of the contract, with payloads small and large, expiry, collection,
/// checkpoints, copies and restarts.
pub fn everything() -> Vec<Step> {
    let mut steps = vec![
        create("{\"cart\":[]}", Some("alice")),
        set("first", "{\"n\":1}"),
        update("first", "{\"n\":2}", Some(1)),
        update("second", "new", Some(0)),
        update("second", "stale", Some(7)),
        merge("first", "{\"more\":true}"),
        touch("second", 500_000),
        rotate("#0", Some("alice")),
        create(&"x".repeat(5000), Some("alice")),
        Step::Batch(vec![
            request(set("third", "{}")),
            request(destroy("second")),
            request(touch("first", 700_000)),
            request(create("in a batch", Some("bob"))),
            request(set("second", "too late")),
        ]),
        destroy("third"),
        Step::Terminate("#2".to_owned()),
        Step::Backup("first.db"),
        Step::Reopen,
    ];
    for number in 0..12 {
        steps.push(life("short", number, 3000, 200));
    }
    steps.extend([
        rotate("#3", None),
        set("large", &"y".repeat(60_000)),
        Step::Wait(5000),
        Step::Collect(5),
        set("after", "collection"),
        Step::Restart,
        merge("after", "{}"),
        set("after", "{\"restart\":1}"),
        merge("after", "{\"restart\":null}"),
        create("alice's third", Some("alice")),
        create("alice's fourth", Some("alice")),
        Step::TerminateSubject("alice", Some("#6".to_owned())),
        destroy("large"),
        Step::Wait(61_000),
        Step::Collect(100),
        set("second", "begun anew"),
        Step::Clear,
        set("first", "too late"),
        set("last", "{}"),
        Step::Reopen,
        update("last", "of all", None),
    ]);
    steps
}

/// So many pages that a collection checkpoints before it ends.
pub fn many_pages() -> Vec<Step> {
    let mut steps = vec![set("kept", "{}"), create("kept", Some("alice"))];
    for number in 0..30 {
        steps.push(life("large", number, 20_000, 2000));
    }
    steps.extend([
        Step::Wait(2000),
        Step::Collect(10),
        update("kept", "changed", None),
        life("large", 31, 20_000, 600_000),
        Step::Wait(1000),
        Step::Collect(10),
        destroy("kept"),
        Step::Backup("copy.db"),
        Step::Reopen,
        rotate("#0", Some("bob")),
    ]);
    steps
}

/// What a store holds before its key is changed: more rows than a step of the change seals.
pub fn before_change_of_key() -> Vec<Step> {
    let mut steps = vec![
        create("{}", Some("alice")),
        create(&"x".repeat(5000), Some("bob")),
        set("first", "{}"),
        set("second", "{}"),
        destroy("second"),
    ];
    for number in 0..8 {
        steps.push(life("kept", number, 2000, 900_000));
    }
    steps
}

/// Writes six of those sessions in one transaction.
pub fn writes_of_kept() -> Step {
    let text = |number: usize| "z".repeat(1900 + number);
    let write = |number| request(update(&format!("kept {number}"), &text(number), None));
    Step::Batch((0..6).map(write).collect())
}

/// A change of the key, with writes, copies and restarts on its way.
pub fn change_of_key() -> Vec<Step> {
    vec![
        set("first", "{\"n\":1}"),
        Step::CollectOnce(3),
        create("{}", Some("alice")),
        destroy("kept 1"),
        Step::CollectOnce(3),
        Step::Restart,
        merge("first", "{\"m\":2}"),
        Step::Backup("half.db"),
        Step::CollectOnce(3),
        Step::Reopen,
        rotate("kept 6", Some("bob")),
        touch("kept 7", 950_000),
        Step::Collect(3),
        Step::Backup("whole.db"),
        set("first", "{}"),
        Step::Reopen,
        update("kept 0", "last", None),
    ]
}

/// The steps that fill a store before anything fails.
pub fn before_faults() -> Vec<Step> {
    let mut steps = vec![set("first", "{}"), set("second", "{}"), set("third", "{}")];
    for number in 0..6 {
        steps.push(life("short", number, 3000, 200));
    }
    steps
}

/// Each kind of write, a collection and a copy.
pub fn with_faults() -> Vec<Step> {
    vec![
        set("first", "{\"n\":1}"),
        create("{}", Some("alice")),
        Step::Batch(vec![
            request(set("new", "{}")),
            request(destroy("second")),
            request(update("third", "batched", None)),
        ]),
        Step::Collect(4),
        rotate("third", None),
        Step::Backup("copy.db"),
        Step::Reopen,
        merge("first", "{\"m\":2}"),
        destroy("new"),
    ]
}

/// A change of the key in two steps, with writes on its way.
pub fn change_with_faults() -> Vec<Step> {
    vec![
        set("first", "{\"n\":1}"),
        Step::CollectOnce(6),
        merge("first", "{\"m\":2}"),
        Step::Collect(20),
        destroy("kept 1"),
    ]
}

/// Writes of payloads for which the memory has to grow.
pub fn large() -> Vec<Step> {
    vec![
        set("first", &"a".repeat(300_000)),
        set("second", "{}"),
        Step::Batch(vec![
            request(set("third", &"b".repeat(700_000))),
            request(update("second", &"c".repeat(900_000), None)),
        ]),
        set("new", &"d".repeat(1_000_000)),
        rotate("second", Some("alice")),
        Step::Collect(4),
        destroy("first"),
        Step::Backup("copy.db"),
        Step::Reopen,
        set("new", &"e".repeat(1_000_000)),
    ]
}

/// A few writes to an existing database.
pub fn short() -> Vec<Step> {
    vec![
        set("first", "written"),
        create("{}", Some("alice")),
        destroy("second"),
        rotate("#0", Some("alice")),
        Step::Reopen,
        update("first", "written again", None),
    ]
}

/// Writes of a second owner of a shared database, which ends the session `common`.
pub fn of_another() -> Vec<Step> {
    vec![
        set("of another", "{}"),
        destroy("common"),
        create("{}", Some("bob")),
        Step::Batch(vec![
            request(update("of another", "batched", Some(1))),
            request(set("another", "{}")),
        ]),
        rotate("#0", Some("bob")),
    ]
}

fn life(name: &str, number: usize, length: usize, ttl: u64) -> Step {
    Step::Alone(Request::Set(SetRequest {
        id: format!("{name} {number}"),
        data: vec![b'a' + number as u8; length],
        ttl: Some(ttl),
    }))
}

/// Starts a session under a new id.
pub fn create(data: &str, subject: Option<&str>) -> Step {
    Step::Alone(Request::Create(CreateRequest {
        data: data.into(),
        ttl: Some(600_000),
        subject: subject.map(str::to_owned),
    }))
}

/// Writes a session.
pub fn set(id: &str, data: &str) -> Step {
    Step::Alone(Request::Set(SetRequest {
        id: id.to_owned(),
        data: data.into(),
        ttl: Some(600_000),
    }))
}

/// Writes a session of this version, if one is given.
pub fn update(id: &str, data: &str, expected: Option<u64>) -> Step {
    Step::Alone(Request::Update(UpdateRequest {
        id: id.to_owned(),
        data: data.into(),
        ttl: Some(600_000),
        expected,
    }))
}

/// Patches a session.
pub fn merge(id: &str, patch: &str) -> Step {
    Step::Alone(Request::Merge(MergeRequest {
        id: id.to_owned(),
        patch: patch.to_owned(),
        ttl: Some(600_000),
    }))
}

/// Renews a session.
pub fn touch(id: &str, ttl: u64) -> Step {
    Step::Alone(Request::Touch(TouchRequest {
        id: id.to_owned(),
        ttl: Some(ttl),
    }))
}

/// Moves a session to a new id.
pub fn rotate(id: &str, subject: Option<&str>) -> Step {
    Step::Alone(Request::Rotate(RotateRequest {
        id: id.to_owned(),
        subject: subject.map(str::to_owned),
    }))
}

/// Ends a session.
pub fn destroy(id: &str) -> Step {
    Step::Alone(Request::Destroy(DestroyRequest { id: id.to_owned() }))
}

/// The request of a step that is one.
pub fn request(step: Step) -> Request {
    match step {
        Step::Alone(request) => request,
        other => panic!("no request: {other:?}"),
    }
}
