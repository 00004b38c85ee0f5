//! The engine that is tested, and the types of the contract.

pub use wasi_sessions_component::Store;
pub use wasi_sessions_rules::engine::Engine;
pub use wasi_sessions_rules::options::{Access, Durability, Options};
pub use wasi_sessions_rules::types::*;
