//! A session store as a WASI 0.2 component over PostgreSQL.
//!
//! The contract is in `wit/`. [`Store`] implements it by the rules of
//! `wasi-sessions-rules`; `wasi-sessions-exports` exports it as a component. Everything but
//! the exports and `network/wasi.rs` compiles and is tested natively.

#![forbid(unsafe_code)]

mod failure;
mod network;
mod pipeline;
mod tls;

mod location;

mod statements;

mod original;
mod schema;
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
