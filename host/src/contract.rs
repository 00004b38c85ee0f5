//! The contract's types and functions, generated from `wit/`.

pub use bindings::exports::wasi_sessions::store::admin::Guest as Admin;
pub use bindings::wasi_sessions::store::types;
pub use bindings::wasi_sessions::store::types::Error;
pub use bindings::{SessionStore, SessionStorePre};

// The documentation is in `wit/`.
#[allow(missing_docs)]
mod bindings {
    wasmtime::component::bindgen!({
        path: "wit",
        world: "session-store",
        exports: { default: async },
        additional_derives: [PartialEq, Eq],
        trappable_error_type: { "wasi-sessions:store/types.error" => wasmtime::Error },
    });
}
