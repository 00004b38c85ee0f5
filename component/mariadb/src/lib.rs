//! A session store as a WASI 0.2 component over MariaDB and MySQL.
//!
//! The contract is in `wit/`. [`Store`] fulfils it, by the rules of
//! `wasi-sessions-rules`; `wasi-sessions-exports` makes a component of it. Everything but
//! the exports compiles and is tested natively.

#![forbid(unsafe_code)]

mod failure;
mod network;

mod link;
mod location;

mod statements;

mod schema;

mod original;

mod table;

mod connection;

mod operations;

mod new_ids;

mod batch;
mod overview;

mod calls;

mod store;

pub use store::Store;

#[cfg(target_arch = "wasm32")]
type Component = wasi_sessions_exports::Exports<Store>;

#[cfg(target_arch = "wasm32")]
wasi_sessions_exports::bindings::export!(Component);
