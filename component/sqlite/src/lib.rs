//! A session store as a WASI 0.2 component over embedded SQLite.
//!
//! The contract is in `wit/`. [`Store`] fulfils it, by the rules of
//! `wasi-sessions-rules`; `exports` ties the two together. Everything but `exports`
//! compiles and is tested natively.

#[cfg(target_arch = "wasm32")]
mod exports;
mod operations;
mod storage;
mod store;

pub use storage::gather_writes;
pub use store::Store;
pub use wasi_sessions_rules::error::Error;
pub use wasi_sessions_rules::options::{Access, Durability, Options};
pub use wasi_sessions_rules::types::*;
