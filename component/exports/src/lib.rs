//! The contract's exports for a component over any engine: `export!(Component)`, where
//! `Component` is `Exports` of the engine.

#[cfg(target_arch = "wasm32")]
mod exports;

#[cfg(target_arch = "wasm32")]
pub use exports::{Exports, bindings};
