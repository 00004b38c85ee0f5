//! Why work on the database failed: whether to retry, and the error for the caller.

use std::io;
use tokio_postgres::error::{Severity, SqlState};
use wasi_sessions_rules::connecting::tls_advice;
use wasi_sessions_rules::error::Error;

/// The parameter of a URL that turns TLS off.
const WITHOUT_TLS: &str = "sslmode=disable";

/// Why a pooler in transaction mode is refused.
pub const NO_POOLER: &str = "a pooler in transaction mode is not supported, use its session mode \
                             or connect without it";

/// A failure of work on a connection.
#[derive(Debug)]
pub enum Failure {
    /// An error of the contract. A retry would not help.
    Final(Error),
    /// The row changed between two statements. Nothing was written.
    Raced,
    /// The server cannot be written to: it is a replica.
    ReadOnly,
    /// The server or the connection failed.
    Database(tokio_postgres::Error),
}

/// What to do after a failure.
pub enum Remedy {
    /// Retry on the same connection: nothing of the work was kept.
    Again,
    /// Drop the connection and retry on another one: the server cannot do the work.
    Elsewhere,
    /// Drop the connection. The outcome of the work is unknown.
    Lost,
    /// Return the error: the work has failed and nothing of it was kept.
    Failed,
    /// The same, but drop the connection: the server ends it.
    Ended,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Final(error)
    }
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Failure {
        Failure::Database(error)
    }
}

impl Failure {
    /// What to do after this failure.
    pub fn remedy(&self) -> Remedy {
        let error = match self {
            Failure::Final(_) => return Remedy::Failed,
            Failure::Raced => return Remedy::Again,
            Failure::ReadOnly => return Remedy::Elsewhere,
            Failure::Database(error) => error,
        };
        let severity = error
            .as_db_error()
            .and_then(|error| error.parsed_severity());
        match error.code() {
            Some(&SqlState::T_R_SERIALIZATION_FAILURE | &SqlState::T_R_DEADLOCK_DETECTED) => {
                Remedy::Again
            }
            // A failover has turned the server into a replica.
            Some(&SqlState::READ_ONLY_SQL_TRANSACTION) => Remedy::Elsewhere,
            Some(code) if code.code().starts_with("57P") => Remedy::Lost,
            // A connection exception, as of a pooler that has lost the server's connection.
            Some(code) if code.code().starts_with("08") => Remedy::Lost,
            // The server crashes, perhaps while it writes the log of the commit.
            Some(_) if severity == Some(Severity::Panic) => Remedy::Lost,
            Some(_) if severity == Some(Severity::Fatal) => Remedy::Ended,
            Some(_) => Remedy::Failed,
            None => Remedy::Lost,
        }
    }

    /// The error of the contract. Omits the server's detail and hint, which may contain keys
    /// and parameters.
    pub fn into_error(self) -> Error {
        match self {
            Failure::Final(error) => error,
            Failure::Raced => Error::Busy,
            Failure::ReadOnly => Error::Other(
                "the server only reads: it is a replica, or its sessions are read-only".into(),
            ),
            Failure::Database(error) => database_error(&error),
        }
    }
}

fn database_error(error: &tokio_postgres::Error) -> Error {
    let Some(database) = error.as_db_error() else {
        if error.is_closed() {
            return Error::Other("the server closed the connection".into());
        }
        let words = format!("the connection to the server failed: {error}");
        // The library names the handshake in its error, but has no kind for it.
        return Error::Other(match words.contains("TLS") {
            true => format!("{words}: {}", tls_advice(WITHOUT_TLS)),
            false => words,
        });
    };
    let (code, words) = (database.code(), database.message());
    match *code {
        SqlState::DISK_FULL => Error::StorageFull,
        SqlState::DATA_CORRUPTED | SqlState::INDEX_CORRUPTED => {
            Error::Corrupt(format!("{words} ({})", code.code()))
        }
        SqlState::LOCK_NOT_AVAILABLE
        | SqlState::CANNOT_CONNECT_NOW
        | SqlState::TOO_MANY_CONNECTIONS
        // `statement_timeout`; the server has undone the statement.
        | SqlState::QUERY_CANCELED
        // The server has undone the transaction.
        | SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT
        | SqlState::T_R_SERIALIZATION_FAILURE
        | SqlState::T_R_DEADLOCK_DETECTED => Error::Busy,
        SqlState::INVALID_SQL_STATEMENT_NAME | SqlState::DUPLICATE_PSTATEMENT => {
            Error::Other(format!(
                "a prepared statement is gone or another's: {NO_POOLER} ({})",
                code.code()
            ))
        }
        _ => Error::Other(format!("the server says: {words} ({})", code.code())),
    }
}

/// The error when a server cannot be connected to.
pub fn connect_error(server: &str, error: &io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::PermissionDenied => Error::Other(format!(
            "the host of this component does not let it connect to {server}"
        )),
        io::ErrorKind::NotFound => Error::Other(format!("{server} has no address")),
        _ => Error::Busy,
    }
}
