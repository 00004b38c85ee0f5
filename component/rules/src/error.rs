//! Why an operation failed: the contract's closed list of errors.

/// The same cases as `types.error` in `wit/types.wit`. None carries a session
/// id or a payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// Another owner holds the database. A retry can succeed.
    Busy,
    /// An argument is outside what its documentation allows; says which.
    InvalidArgument(String),
    /// The payload is longer than the store allows; carries the limit, in bytes.
    TooLarge(u64),
    /// The storage is full. Nothing of the operation was kept.
    StorageFull,
    /// The stored data is damaged; says where.
    Corrupt(String),
    /// The table is missing and `sync` is off; says where.
    MissingTable(String),
    /// The work was sent to a server and not answered: done once or not at all.
    UnknownOutcome(String),
    /// Anything else, as a message for a log.
    Other(String),
}

impl Error {
    /// An [`Error::InvalidArgument`] with this message.
    pub fn invalid(message: impl Into<String>) -> Error {
        Error::InvalidArgument(message.into())
    }

    /// The error for work that was sent and has no known outcome.
    pub fn with_unknown_outcome(self) -> Error {
        let words = match self {
            Error::Other(words) => words,
            other => format!("{other:?}"),
        };
        Error::UnknownOutcome(format!("{words}; whether the request was done is unknown"))
    }

    /// Whether a request of a batch with this error is merely refused, while the other
    /// requests go on. Any other error rolls back the whole batch.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Error::InvalidArgument(_) | Error::TooLarge(_))
    }
}
