//! Why an operation failed: the contract's closed list of errors.

/// The same cases as `types.error` in `wit/types.wit`. None carries a session
/// id or a payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// Another owner holds the database. Trying again later can succeed.
    Busy,
    /// An argument is outside what its documentation allows; says which.
    InvalidArgument(String),
    /// The payload is longer than the store allows; carries the limit, in bytes.
    TooLarge(u64),
    /// The storage is full. Nothing of the operation was kept.
    StorageFull,
    /// The stored data is damaged; says where.
    Corrupt(String),
    /// Anything else, in words for a log.
    Other(String),
}

impl Error {
    /// An [`Error::InvalidArgument`] in these words.
    pub fn invalid(words: impl Into<String>) -> Error {
        Error::InvalidArgument(words.into())
    }
}
