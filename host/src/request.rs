//! Properties of requests that the host needs before it runs them, and the calls of `admin`
//! that end sessions. Each `match` here lists all kinds of requests: a new kind does not
//! compile until it is covered for the budget, the limits and the cache.

use crate::contract::types::{
    CreateRequest, DestroyRequest, GetRequest, MergeRequest, Request, RotateRequest, SetRequest,
    TouchRequest, UpdateRequest,
};

/// A call of the contract's `admin` that ends sessions, which the cache invalidates before it.
pub(crate) enum Ending {
    /// Ends the session with this handle.
    Session(String),
    /// Ends the sessions of a subject except the one with the id `except`.
    OfSubject {
        subject: String,
        except: Option<String>,
    },
    /// Ends every session.
    All,
}

/// The cost of a request apart from a small fixed part. The budget of a transaction
/// (`owner/group.rs`) and the limit for tasks (`owner/inline.rs`) both use it.
pub(crate) struct Weights {
    /// How many times the request's own payload counts in the cost of its transaction: 1 if
    /// it is read, 2 written unchanged, 4 parsed for a life and written, 8 merged.
    pub(crate) brought: usize,
    /// The same for the stored payload.
    pub(crate) stored: usize,
    pub(crate) writes: Writes,
}

/// What a request may write to the database at most.
pub(crate) enum Writes {
    Nothing,
    /// One session, without a payload or with the request's own. The stored payload is
    /// freed.
    Brought,
    /// One session, whose stored payload is written again.
    Stored,
    /// Any number of sessions: a log-in may end others.
    Many,
}

impl Request {
    /// The request's own payload or patch; empty if it has none.
    pub(crate) fn payload(&self) -> &[u8] {
        match self {
            Self::Create(CreateRequest { data, .. })
            | Self::Set(SetRequest { data, .. })
            | Self::Update(UpdateRequest { data, .. }) => data,
            Self::Merge(MergeRequest { patch, .. }) => patch.as_bytes(),
            Self::Get(_) | Self::Touch(_) | Self::Rotate(_) | Self::Destroy(_) => &[],
        }
    }

    /// The id of the stored session that the request names.
    pub(crate) fn id(&self) -> Option<&str> {
        match self {
            Self::Get(GetRequest { id })
            | Self::Set(SetRequest { id, .. })
            | Self::Update(UpdateRequest { id, .. })
            | Self::Merge(MergeRequest { id, .. })
            | Self::Touch(TouchRequest { id, .. })
            | Self::Rotate(RotateRequest { id, .. })
            | Self::Destroy(DestroyRequest { id }) => Some(id),
            Self::Create(_) => None,
        }
    }

    /// The id of the stored session that the request may change or end.
    pub(crate) fn changed_id(&self) -> Option<&str> {
        match self {
            Self::Set(_)
            | Self::Update(_)
            | Self::Merge(_)
            | Self::Touch(_)
            | Self::Rotate(_)
            | Self::Destroy(_) => self.id(),
            Self::Create(_) | Self::Get(_) => None,
        }
    }

    /// The subject that the request binds a session to. With `max_per_subject` that
    /// may end other sessions of this subject.
    pub(crate) fn bound_subject(&self) -> Option<&str> {
        match self {
            Self::Create(CreateRequest { subject, .. })
            | Self::Rotate(RotateRequest { subject, .. }) => subject.as_deref(),
            Self::Get(_)
            | Self::Set(_)
            | Self::Update(_)
            | Self::Merge(_)
            | Self::Touch(_)
            | Self::Destroy(_) => None,
        }
    }

    /// The id and the subject that the request names.
    pub(crate) fn names_mut(&mut self) -> impl Iterator<Item = &mut String> {
        let (id, subject) = match self {
            Self::Create(CreateRequest { subject, .. }) => (None, subject.as_mut()),
            Self::Rotate(RotateRequest { id, subject }) => (Some(id), subject.as_mut()),
            Self::Get(GetRequest { id })
            | Self::Set(SetRequest { id, .. })
            | Self::Update(UpdateRequest { id, .. })
            | Self::Merge(MergeRequest { id, .. })
            | Self::Touch(TouchRequest { id, .. })
            | Self::Destroy(DestroyRequest { id }) => (Some(id), None),
        };
        id.into_iter().chain(subject)
    }

    /// What the request costs.
    pub(crate) fn weights(&self) -> Weights {
        let (brought, stored, writes) = match self {
            Self::Create(CreateRequest { subject: None, .. }) => (4, 0, Writes::Brought),
            Self::Create(CreateRequest {
                subject: Some(_), ..
            }) => (4, 0, Writes::Many),
            Self::Get(_) => (0, 1, Writes::Nothing),
            Self::Set(_) => (4, 0, Writes::Brought),
            // If the version is stale, the answer contains the stored session.
            Self::Update(_) => (4, 1, Writes::Brought),
            Self::Merge(_) => (8, 8, Writes::Stored),
            Self::Touch(TouchRequest { ttl: None, .. }) => (0, 4, Writes::Stored),
            // SQLite rewrites the whole row.
            Self::Touch(TouchRequest { ttl: Some(_), .. }) => (0, 2, Writes::Stored),
            Self::Rotate(_) => (0, 2, Writes::Many),
            Self::Destroy(_) => (0, 0, Writes::Brought),
        };
        Weights {
            brought,
            stored,
            writes,
        }
    }
}
