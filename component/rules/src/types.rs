//! The types of the contract, as `wit/types.wit` has them. The bindings use these
//! types, so names and fields are the same there and here.

pub use crate::error::Error;

/// A span of time, in milliseconds.
pub type Milliseconds = u64;

/// A point in time, in milliseconds since the Unix epoch.
pub type Timestamp = u64;

/// The name that a session has in listings.
pub type Handle = String;

/// The latest point in time: 2^63 - 1. Every computation of time saturates here.
pub const END_OF_TIME: Timestamp = i64::MAX as Timestamp;

/// A live session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// The payload, as the application wrote it.
    pub data: Vec<u8>,
    /// The subject that the session is bound to, if any.
    pub subject: Option<String>,
    /// 1 when created, one more at each write of `data` or `subject`.
    pub version: u64,
    /// When it was created.
    pub created: Timestamp,
    /// When `data` or `subject` was last written.
    pub updated: Timestamp,
    /// The time from which it no longer exists.
    pub expires: Timestamp,
}

/// A session that was just given a new id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created {
    /// 43 characters of base64url.
    pub id: String,
    /// Its version.
    pub version: u64,
    /// The time from which it no longer exists.
    pub expires: Timestamp,
}

/// The result of a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The session's new version.
    pub version: u64,
    /// When it was written.
    pub updated: Timestamp,
    /// The time from which the session no longer exists.
    pub expires: Timestamp,
}

/// How a write ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The session is written.
    Written(Written),
    /// The session has another version than the expected one; carries the session.
    Stale(Session),
    /// The session is missing, expired, or ended less than `tombstone` ago.
    Gone,
}

/// The parameters of `create`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct CreateRequest {
    pub data: Vec<u8>,
    pub ttl: Option<Milliseconds>,
    pub subject: Option<String>,
}

/// The parameters of `get`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct GetRequest {
    pub id: String,
}

/// The parameters of `set`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct SetRequest {
    pub id: String,
    pub data: Vec<u8>,
    pub ttl: Option<Milliseconds>,
}

/// The parameters of `update`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct UpdateRequest {
    pub id: String,
    pub data: Vec<u8>,
    pub ttl: Option<Milliseconds>,
    pub expected: Option<u64>,
}

/// The parameters of `merge`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct MergeRequest {
    pub id: String,
    pub patch: String,
    pub ttl: Option<Milliseconds>,
}

/// The parameters of `touch`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct TouchRequest {
    pub id: String,
    pub ttl: Option<Milliseconds>,
}

/// The parameters of `rotate`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct RotateRequest {
    pub id: String,
    pub subject: Option<String>,
}

/// The parameters of `destroy`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct DestroyRequest {
    pub id: String,
}

/// One request of a batch: the function of that name, with its parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Creates a session under a new id.
    Create(CreateRequest),
    /// Reads a session.
    Get(GetRequest),
    /// Writes a session whether or not it exists.
    Set(SetRequest),
    /// Writes a session if it exists and has the expected version.
    Update(UpdateRequest),
    /// Applies a JSON merge patch to a payload.
    Merge(MergeRequest),
    /// Renews a session.
    Touch(TouchRequest),
    /// Moves a session to a new id.
    Rotate(RotateRequest),
    /// Ends a session.
    Destroy(DestroyRequest),
}

/// What a request may do to the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// Nothing.
    Reads,
    /// It may end sessions, which frees space.
    Ends,
    /// It may create or change a session.
    Writes,
}

impl Request {
    /// What this request may do to the database.
    pub fn effect(&self) -> Effect {
        match self {
            Request::Get(_) => Effect::Reads,
            Request::Destroy(_) => Effect::Ends,
            Request::Create(_)
            | Request::Set(_)
            | Request::Update(_)
            | Request::Merge(_)
            | Request::Touch(_)
            | Request::Rotate(_) => Effect::Writes,
        }
    }
}

/// The answer to one request of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// To `create`.
    Created(Created),
    /// To `get` and `merge`.
    Session(Option<Session>),
    /// To `set` and `update`.
    Outcome(Outcome),
    /// To `touch`.
    Expires(Option<Timestamp>),
    /// To `rotate`.
    Rotated(Option<Created>),
    /// To `destroy`.
    Destroyed(bool),
}

/// The answers to a batch, in the order of its requests.
pub type Replies = Vec<Result<Reply, Error>>;

/// A session as a listing shows it: everything but the payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name in listings.
    pub handle: String,
    /// The subject that it is bound to, if any.
    pub subject: Option<String>,
    /// 1 when created, one more at each write.
    pub version: u64,
    /// When it was created.
    pub created: Timestamp,
    /// When it was last written.
    pub updated: Timestamp,
    /// The time from which it no longer exists.
    pub expires: Timestamp,
    /// Length of the payload, in bytes.
    pub size: u64,
}

/// A part of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The sessions, in the listing's fixed order.
    pub entries: Vec<Entry>,
    /// The cursor for the next page; `None` after the last.
    pub next: Option<String>,
}

/// What a step of collection did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Collected {
    /// Rows removed.
    pub removed: u64,
    /// Whether there is more to do: rows to remove or to reseal, free space to give
    /// back, or a write-ahead log to checkpoint.
    pub more: bool,
}

/// The state of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statistics {
    /// The store's `modelName`.
    pub name: String,
    /// The engine and its version.
    pub engine: String,
    /// Live sessions.
    pub live: u64,
    /// Rows waiting for collection.
    pub expired: u64,
    /// Size of the database, in bytes.
    pub size: u64,
    /// Rows collected since the store was opened.
    pub collected: u64,
}
