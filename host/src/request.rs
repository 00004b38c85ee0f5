//! What the host knows of a request, or of a call of `admin`, before it is done. Each
//! `match` here lists all kinds of requests: a new one does not compile until the
//! budget, the limits and the cache have an answer for it.

use crate::{
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

/// How often a request's payloads count in its cost: 1 read, 2 written as it is,
/// 4 parsed for a life and written, 8 merged.
pub(crate) struct Weights {
    /// For the payload that the request brings.
    pub(crate) brought: usize,
    /// For the payload that is stored.
    pub(crate) stored: usize,
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

    /// What the request costs apart from a small fixed part.
    pub(crate) fn weights(&self) -> Weights {
        let (brought, stored) = match self {
            Self::Create(_) | Self::Set(_) => (4, 0),
            // The answer has the stored session if its version is another.
            Self::Update(_) => (4, 1),
            Self::Get(_) => (0, 1),
            Self::Merge(_) => (8, 8),
            Self::Touch(TouchRequest { ttl: None, .. }) => (0, 4),
            // SQLite rewrites the whole row.
            Self::Touch(TouchRequest { ttl: Some(_), .. }) | Self::Rotate(_) => (0, 2),
            Self::Destroy(_) => (0, 0),
        };
        Weights { brought, stored }
    }
}
