//! What the host knows of a request, or of a call of `admin`, before it is done. Each
//! `match` here lists all kinds of requests: a new one does not compile until the
//! budget, the limits and the cache have an answer for it.

use crate::contract::types::{
    CreateRequest, DestroyRequest, GetRequest, MergeRequest, Request, RotateRequest, SetRequest,
    TouchRequest, UpdateRequest,
};

/// The sessions that a call of the contract's `admin` may end. Every call names
/// them, and the cache forgets them before it.
pub(crate) enum Ends {
    /// No session: the call only reads.
    Nothing,
    /// Sessions of this subject.
    OfSubject(String),
    /// Any session.
    Any,
}

/// What a request costs apart from a small fixed part. The budget of a transaction
/// (`owner/group.rs`) and the limit of what a task does itself (`owner/inline.rs`)
/// both read it.
pub(crate) struct Weights {
    /// How often the payload that the request brings counts in the cost of its
    /// transaction: 1 read, 2 written as it is, 4 parsed for a life and written,
    /// 8 merged.
    pub(crate) brought: usize,
    /// The same for the payload that is stored.
    pub(crate) stored: usize,
    pub(crate) writes: Writes,
}

/// What a request may write to the database.
pub(crate) enum Writes {
    Nothing,
    /// One session, with no payload or the one that the request brings. The stored
    /// payload is freed.
    Brought,
    /// One session, whose stored payload is written again.
    Stored,
    /// Any number of sessions: a log-in may end others.
    Many,
}

impl Request {
    /// The payload or patch that the request brings; empty if it brings none.
    pub(crate) fn payload(&self) -> &[u8] {
        match self {
            Self::Create(CreateRequest { data, .. })
            | Self::Set(SetRequest { data, .. })
            | Self::Update(UpdateRequest { data, .. }) => data,
            Self::Merge(MergeRequest { patch, .. }) => patch.as_bytes(),
            Self::Get(_) | Self::Touch(_) | Self::Rotate(_) | Self::Destroy(_) => &[],
        }
    }

    /// The id of the stored session that the request may change or end.
    pub(crate) fn changed_id(&self) -> Option<&str> {
        match self {
            Self::Set(SetRequest { id, .. })
            | Self::Update(UpdateRequest { id, .. })
            | Self::Merge(MergeRequest { id, .. })
            | Self::Touch(TouchRequest { id, .. })
            | Self::Rotate(RotateRequest { id, .. })
            | Self::Destroy(DestroyRequest { id }) => Some(id),
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
            // The answer has the stored session if its version is another.
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
