//! Sockets and waiting, over WASI in the component and over tokio natively: the same
//! functions in both.
//!
//! Nothing runs between calls: [`block_on`] polls a future until it is done or its time
//! limit has passed. A stream can be used by one future after another.

#[cfg(not(target_arch = "wasm32"))]
mod native;
#[cfg(target_arch = "wasm32")]
mod wasi;

#[cfg(not(target_arch = "wasm32"))]
pub use native::{Stream, block_on, connect, release, resolve, sleep};
#[cfg(target_arch = "wasm32")]
pub use wasi::{Stream, block_on, connect, release, resolve, sleep};

/// The error of a future that was not done within its time limit.
pub struct Elapsed;
