//! What a session is and what each operation does with it, for any engine.
//!
//! The contract is in `wit/`. No SQL, no files, no bindings.

#![forbid(unsafe_code)]

pub mod batch;
pub mod collection;
pub mod connecting;
pub mod engine;
pub mod error;
#[cfg(test)]
mod hostile;
pub mod id;
mod json;
pub mod kept;
pub mod key;
pub mod options;
pub mod row;
pub mod rules;
pub mod seal;
pub mod stored;
pub mod types;
