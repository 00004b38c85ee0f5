//! Why work on the database failed, and what that is for the caller.

use mysql_async::{DriverError, IoError, ServerError};
use std::fmt::Display;
use std::io;
use wasi_sessions_rules::connecting::tls_advice;
use wasi_sessions_rules::error::Error;

/// The parameter of a URL that turns TLS off.
const WITHOUT_TLS: &str = "ssl-mode=DISABLED";

/// A failure of work on a connection.
#[derive(Debug)]
pub enum Failure {
    /// An error of the contract, or a fault that no retry would help.
    Final(Error),
    /// The row changed between its read and its write. Nothing was written.
    Raced,
    /// The server cannot be written to: it is a replica.
    ReadOnly,
    /// The server or the connection failed.
    Database(mysql_async::Error),
}

/// What to do after a failure.
pub enum Remedy {
    /// Run the work again: nothing of it was kept.
    Again,
    /// Drop the connection and run the work again, on a server that can be written to: this
    /// one did nothing.
    Elsewhere,
    /// Drop the connection and run the work again, once: the server did nothing.
    Reconnect,
    /// Drop the connection. The outcome of the last statement is unknown.
    Lost,
    /// The work has failed and nothing of it was kept.
    Failed,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Final(error)
    }
}

impl From<mysql_async::Error> for Failure {
    fn from(error: mysql_async::Error) -> Failure {
        Failure::Database(error)
    }
}

impl Failure {
    pub fn remedy(&self) -> Remedy {
        let code = match self {
            Failure::Final(_) => return Remedy::Failed,
            Failure::Raced => return Remedy::Again,
            Failure::ReadOnly => return Remedy::Elsewhere,
            Failure::Database(mysql_async::Error::Server(error)) => error.code,
            Failure::Database(_) => return Remedy::Lost,
        };
        match code {
            // Changed since the snapshot; deadlock; to be prepared again; deadlock of named
            // locks. Not the lock wait time-out, 1205: a second wait would outlast the call.
            1020 | 1213 | 1615 | 3058 => Remedy::Again,
            // A server or a transaction that only reads.
            1290 | 1792 | 1836 => Remedy::Elsewhere,
            // A packet that is too large since the limit was lowered; an unknown prepared
            // statement; idle for too long.
            1153 | 1243 | 4031 => Remedy::Reconnect,
            // The server shuts down; the connection was killed.
            1053 | 1927 => Remedy::Lost,
            _ => Remedy::Failed,
        }
    }

    /// The error of the contract. It has no text of the server in which a key, a payload or
    /// a parameter can be.
    pub fn into_error(self) -> Error {
        match self {
            Failure::Final(error) => error,
            Failure::Raced => Error::Busy,
            Failure::ReadOnly => {
                Error::Other("the server only reads: it is a replica, or `read_only` is on".into())
            }
            Failure::Database(mysql_async::Error::Server(error)) => server_error(&error),
            Failure::Database(error) => {
                Error::Other(format!("the connection to the server failed: {error}"))
            }
        }
    }
}

fn server_error(error: &ServerError) -> Error {
    let ServerError {
        code,
        message,
        state,
    } = error;
    match code {
        // The disk is full; the table is full; error 28 of the system, no space.
        1021 | 1114 => Error::StorageFull,
        1030 if message.contains("error 28") => Error::StorageFull,
        // Crashed or damaged tables and indexes.
        1034 | 1194 | 1195 | 1712 => Error::Corrupt(format!("{message} ({code})")),
        // Too many connections, of the server or the user; locks that were not free; the time
        // of the statement was over.
        1020 | 1040 | 1203 | 1205 | 1213 | 1226 | 1969 | 3024 | 3058 => Error::Busy,
        // No access to the database, for the user, to the host, to a table; no such database or
        // table; a missing right; a server that only reads; a foreign key; the format of the
        // binary log. Their texts have names alone.
        1044 | 1045 | 1049 | 1130 | 1142 | 1143 | 1146 | 1227 | 1290 | 1451 | 1665 => {
            Error::Other(format!("the server says: {message} ({code})"))
        }
        // A text of the server can repeat a value or the statement.
        _ => Error::Other(format!(
            "the server refuses the statement ({code}, {state})"
        )),
    }
}

/// Why no connection was made to a server.
pub fn connect_failure(server: &str, error: mysql_async::Error) -> Failure {
    Failure::Final(match error {
        mysql_async::Error::Io(IoError::Io(error)) => io_error(server, &error),
        // Closed without an error packet, as by a proxy or by a server that starts or stops.
        mysql_async::Error::Driver(DriverError::ConnectionClosed) => Error::Busy,
        mysql_async::Error::Driver(DriverError::NoClientSslFlagFromServer) => {
            Error::Other(format!("{server} has no TLS: {}", tls_advice(WITHOUT_TLS)))
        }
        mysql_async::Error::Io(IoError::Tls(error)) => untrusted(server, &error),
        mysql_async::Error::Server(error) => server_error(&error),
        error => Error::Other(format!("{server} cannot be logged in to: {error}")),
    })
}

/// The error of the system or of WASI.
pub fn io_error(server: &str, error: &io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::PermissionDenied => Error::Other(format!(
            "the host of this component does not let it connect to {server}"
        )),
        io::ErrorKind::NotFound => Error::Other(format!("{server} has no address")),
        // What rustls finds in the handshake.
        io::ErrorKind::InvalidData => untrusted(server, error),
        _ => Error::Busy,
    }
}

fn untrusted(server: &str, error: &impl Display) -> Error {
    Error::Other(format!(
        "{server} has no TLS that can be trusted: {error}: {}",
        tls_advice(WITHOUT_TLS)
    ))
}
