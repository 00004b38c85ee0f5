//! The arguments of requests: new sessions, and the requests of a batch.

use std::time::Duration;

use crate::contract::types as contract;
use crate::milliseconds::milliseconds;

/// A session to start with [`Sessions::create`](crate::Sessions::create): a payload and
/// optionally a life and a subject. A payload alone converts into one.
///
/// ```
/// use std::time::Duration;
/// use wasi_sessions::NewSession;
///
/// let visitor = NewSession::from(r#"{"cart":[]}"#);
/// let alice = NewSession::new("{}")
///     .ttl(Duration::from_secs(3600))
///     .subject("alice");
/// # assert_ne!(visitor, alice);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewSession {
    pub(crate) data: Vec<u8>,
    pub(crate) ttl: Option<Duration>,
    pub(crate) subject: Option<String>,
}

impl NewSession {
    /// A session with this payload, without a subject.
    pub fn new(data: impl Into<Vec<u8>>) -> Self {
        Self {
            data: data.into(),
            ttl: None,
            subject: None,
        }
    }

    /// How long the session lives. The default, `None`, is described at
    /// [`Sessions`](crate::Sessions).
    pub fn ttl(mut self, ttl: impl Into<Option<Duration>>) -> Self {
        self.ttl = ttl.into();
        self
    }

    /// The subject (usually a user) that the session belongs to: 1 to 255 bytes.
    pub fn subject(mut self, subject: impl Into<String>) -> Self {
        self.subject = Some(subject.into());
        self
    }
}

impl<T: Into<Vec<u8>>> From<T> for NewSession {
    fn from(data: T) -> Self {
        Self::new(data)
    }
}

/// A request of a [`batch`](crate::Sessions::batch): a function of
/// [`Sessions`](crate::Sessions) with its parameters.
// The fields are described at the functions.
#[allow(missing_docs)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// [`Sessions::create`](crate::Sessions::create).
    Create(NewSession),
    /// [`Sessions::get`](crate::Sessions::get).
    Get { id: String },
    /// [`Sessions::set`](crate::Sessions::set).
    Set {
        id: String,
        data: Vec<u8>,
        ttl: Option<Duration>,
    },
    /// [`Sessions::update`](crate::Sessions::update).
    Update {
        id: String,
        data: Vec<u8>,
        ttl: Option<Duration>,
        expected: Option<u64>,
    },
    /// [`Sessions::merge`](crate::Sessions::merge).
    Merge {
        id: String,
        patch: String,
        ttl: Option<Duration>,
    },
    /// [`Sessions::touch`](crate::Sessions::touch).
    Touch { id: String, ttl: Option<Duration> },
    /// [`Sessions::rotate`](crate::Sessions::rotate).
    Rotate { id: String, subject: Option<String> },
    /// [`Sessions::destroy`](crate::Sessions::destroy).
    Destroy { id: String },
}

impl From<Request> for contract::Request {
    fn from(request: Request) -> Self {
        match request {
            Request::Create(NewSession { data, ttl, subject }) => {
                Self::Create(contract::CreateRequest {
                    data,
                    ttl: ttl.map(milliseconds),
                    subject,
                })
            }
            Request::Get { id } => Self::Get(contract::GetRequest { id }),
            Request::Set { id, data, ttl } => Self::Set(contract::SetRequest {
                id,
                data,
                ttl: ttl.map(milliseconds),
            }),
            Request::Update {
                id,
                data,
                ttl,
                expected,
            } => Self::Update(contract::UpdateRequest {
                id,
                data,
                ttl: ttl.map(milliseconds),
                expected,
            }),
            Request::Merge { id, patch, ttl } => Self::Merge(contract::MergeRequest {
                id,
                patch,
                ttl: ttl.map(milliseconds),
            }),
            Request::Touch { id, ttl } => Self::Touch(contract::TouchRequest {
                id,
                ttl: ttl.map(milliseconds),
            }),
            Request::Rotate { id, subject } => {
                Self::Rotate(contract::RotateRequest { id, subject })
            }
            Request::Destroy { id } => Self::Destroy(contract::DestroyRequest { id }),
        }
    }
}
