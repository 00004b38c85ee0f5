//! The contract's types, as generated from `wit/`.

pub(crate) use bindings::wasi_sessions::store::types;
pub(crate) use types::Error;

// The documentation is in `wit/`.
#[allow(missing_docs)]
mod bindings {
    wasmtime::component::bindgen!({
        inline: "
            package wasi-sessions:threads;

            world types {
                import wasi-sessions:store/types@0.2.0;
            }
        ",
        path: "../../wit",
        additional_derives: [PartialEq, Eq],
    });
}
