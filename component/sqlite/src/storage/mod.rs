//! One open SQLite database: transactions, collection, and the operations on the whole
//! file. All SQL is in this folder.
//!
//! The files build on each other: those of a group below use only files of groups
//! above it. [`Storage`] gets its functions in the groups from `wal` on.

#![deny(unsafe_code)]

#[expect(
    unsafe_code,
    reason = "SQLite calls its file system through C functions"
)]
mod vfs;

mod keys;

mod failure;
mod gathering;
mod lock;
mod mark;
mod reserve;

mod statements;

mod listing;
mod rows;
mod sealed_rows;
mod sealing;
mod table;

mod original;

mod connected;
mod schema;

mod database;

mod wal;

mod connection;

mod attempts;

mod backup;
mod collection;
mod resealing;
mod transactions;

#[cfg(test)]
mod faults;
#[cfg(test)]
mod tests;

pub use attempts::Room;
pub use database::Storage;
pub use gathering::gather_writes;
pub use rows::Rows;
