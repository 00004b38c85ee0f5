//! A session store as a WASI 0.2 component over embedded SQLite.
//!
//! The contract is in `wit/`. [`Store`] fulfils it; `exports` ties the two
//! together. Everything but `exports` compiles and is tested natively.

#[cfg(target_arch = "wasm32")]
mod exports;
mod rules;
mod storage;
mod store;

use wasi_sessions_rules::{error, id, json, options, types};

pub use error::Error;
pub use options::{Access, Durability, Options};
pub use storage::gather_writes;
pub use store::Store;
pub use types::*;
