//! SQLite's errors as errors of the contract.

use super::keys::BrokenSeal;
use rusqlite::ErrorCode;
use wasi_sessions_rules::error::Error;

/// Converts an error of SQLite into one of the contract. SQLite's messages name tables
/// and files, never values.
pub fn failure(error: rusqlite::Error) -> Error {
    match (error.sqlite_error_code(), &error) {
        (Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked), _) => Error::Busy,
        // Another instance removed our lock as dead during the operation.
        (Some(ErrorCode::OperationInterrupted), _) => Error::Busy,
        (Some(ErrorCode::DiskFull), _) => Error::StorageFull,
        (Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase), _) => {
            Error::Corrupt(error.to_string())
        }
        (None, rusqlite::Error::FromSqlConversionFailure(_, _, reason))
            if reason.is::<BrokenSeal>() =>
        {
            Error::Corrupt(reason.to_string())
        }
        (
            None,
            rusqlite::Error::InvalidColumnType(..)
            | rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::IntegralValueOutOfRange(..)
            | rusqlite::Error::Utf8Error(..),
        ) => Error::Corrupt("a row holds a value of the wrong kind".into()),
        _ => Error::Other(error.to_string()),
    }
}
