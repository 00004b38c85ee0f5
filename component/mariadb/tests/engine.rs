//! The engine that is tested, and the types of the contract.

pub use wasi_sessions_mariadb::Store;
pub use wasi_sessions_rules::engine::Engine;
pub use wasi_sessions_rules::options::{Durability, Options};
pub use wasi_sessions_rules::types::*;
