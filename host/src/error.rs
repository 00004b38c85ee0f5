//! The errors of this crate. None carries a session id or a payload.

use std::path::{Path, PathBuf};

use crate::cause::Cause;
use crate::contract;

/// Why an operation failed. A session that is missing, expired or changed by another caller
/// is not an error: the answer says so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Another owner, in this process or another, holds the directory, or another
    /// program holds the database in it; or an instance with `shared` access held the
    /// database for longer than [`Options::sync_timeout`](crate::Options::sync_timeout).
    #[error("directory `{}` is in use by another owner, which has to close it first", directory.display())]
    InUse {
        /// The directory, as given to the builder.
        directory: PathBuf,
    },
    /// The store's directory cannot be created, opened or locked.
    #[error("directory `{}` cannot be used{}", path.display(), at(file.as_deref()))]
    Directory {
        /// The directory, as given to the builder.
        path: PathBuf,
        /// The file or directory where the error happened, if it is another one.
        file: Option<PathBuf>,
        /// The operating system's error.
        #[source]
        reason: Cause,
    },
    /// The database's file, its write-ahead log or its directory was removed, moved
    /// or replaced while the store was open. Whether the request was done is
    /// unknown, and writes of the last 100 ms may be lost. From then on every
    /// request fails with this error, until the store is opened again. Only
    /// requests that reach the database notice it; reads that are answered from
    /// memory do not check.
    #[error(
        "the database `{}` was replaced while it was open: {reason}; open the store again",
        database.display()
    )]
    Replaced {
        /// The database's file, in the directory as given to the builder.
        database: PathBuf,
        /// What happened to it.
        reason: String,
    },
    /// The store did not renew its lock for 15 seconds, because the process was stopped or its
    /// disk was slow, and an instance with `shared` access took the lock over; or the lock was
    /// removed. Whether the request was done is unknown. From then on every request that reaches
    /// the database fails with this error, until the store is opened again. A read from memory
    /// does not look at the lock: until this error it can answer what was read before.
    #[error(
        "the lock of the database `{}` was lost: another instance took it over, or it was \
         removed; open the store again",
        database.display()
    )]
    LockLost {
        /// The database's file, in the directory as given to the builder.
        database: PathBuf,
    },
    /// The engine or the component could not be started, for the reason in the source.
    #[error("the session store could not be started")]
    Start(#[source] Cause),
    /// Another owner holds the database. A database on a server is busy, too, if within
    /// [`Options::sync_timeout`](crate::Options::sync_timeout) none of the store's connections
    /// became free for the request, no connection could be made, a lock did not become free or
    /// a read was not answered. Nothing was done; trying again later can succeed.
    #[error("the database is busy")]
    Busy,
    /// No server of the database was ready within
    /// [`Options::sync_timeout`](crate::Options::sync_timeout) when the store was opened, or
    /// when the component was restarted after a crash: none accepted a connection, or the one
    /// that did was starting, had no connection left or had locked the table. Nothing was
    /// done; trying again later can succeed.
    #[error("no server was ready in time: {servers}")]
    Unreachable {
        /// The servers of the URL.
        servers: String,
    },
    /// An argument is not allowed; the message names it.
    #[error("invalid argument: {0}")]
    InvalidArgument(String),
    /// The payload is longer than the store's limit, given in bytes.
    #[error("the payload is longer than {0} bytes")]
    TooLarge(u64),
    /// The storage is full. Nothing of the operation was kept.
    #[error("the storage is full")]
    StorageFull,
    /// The stored data is damaged, at the place in the message.
    #[error("the stored data is damaged: {0}")]
    Corrupt(String),
    /// The table is missing and the option `sync` is off. Opening the store once with
    /// `sync` creates it.
    #[error("{0}")]
    MissingTable(String),
    /// A write was sent to a server, which did not answer it: it was done once or not at all.
    /// A retry can do it a second time. The message is for a log.
    #[error("{0}")]
    UnknownOutcome(String),
    /// A backup could not be written, for the reason in the source.
    #[error("backup to `{}` failed", file.display())]
    Backup {
        /// The file of the backup, as given.
        file: PathBuf,
        /// The operating system's error, or what the component reports.
        #[source]
        reason: Cause,
    },
    /// A file could not be read or written while a backup was restored.
    #[error("restore failed at `{}`", file.display())]
    Restore {
        /// The backup, or a file or folder in the store's directory.
        file: PathBuf,
        /// The operating system's error.
        #[source]
        reason: Cause,
    },
    /// Any other error, as a message for a log.
    #[error("{0}")]
    Other(String),
    /// The component trapped or ran out of memory while the request was in
    /// flight. Whether the request was done is unknown. The component is
    /// restarted before the next request.
    #[error("the session store crashed while the request was in flight")]
    Crashed,
    /// A panic in the store's clock or source of randomness closed the store.
    /// Whether a request in flight at that time was done is unknown.
    #[error("the session store is closed: open it again")]
    Closed,
}

/// The part of a message that names the file of an error.
fn at(file: Option<&Path>) -> String {
    file.map_or_else(String::new, |file| format!(", at `{}`", file.display()))
}

impl From<contract::Error> for Error {
    fn from(error: contract::Error) -> Self {
        match error {
            contract::Error::Busy => Self::Busy,
            contract::Error::InvalidArgument(which) => Self::InvalidArgument(which),
            contract::Error::TooLarge(limit) => Self::TooLarge(limit),
            contract::Error::StorageFull => Self::StorageFull,
            contract::Error::Corrupt(place) => Self::Corrupt(place),
            contract::Error::MissingTable(place) => Self::MissingTable(place),
            contract::Error::UnknownOutcome(reason) => Self::UnknownOutcome(reason),
            contract::Error::Other(reason) => Self::Other(reason),
        }
    }
}
