//! A session store as a WASI 0.2 component over embedded SQLite.
//!
//! The contract is in `wit/`. [`Store`] implements it by the rules of
//! `wasi-sessions-rules`; `wasi-sessions-exports` exports it as a component. Everything
//! but the exports compiles and is tested natively.

mod operations;
mod storage;
mod store;

pub use storage::gather_writes;
pub use store::Store;

#[cfg(target_arch = "wasm32")]
type Component = wasi_sessions_exports::Exports<Store>;

#[cfg(target_arch = "wasm32")]
wasi_sessions_exports::bindings::export!(Component);
