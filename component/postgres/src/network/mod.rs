//! Sockets and waiting, over WASI in the component and over tokio natively: the same
//! functions in both.
//!
//! Nothing runs between calls. [`block_on`] polls a future until it is done or its time is
//! over; whatever the future leaves, such as a stream, can be used by the next one.

#[cfg(not(target_arch = "wasm32"))]
mod native;
#[cfg(target_arch = "wasm32")]
mod wasi;

#[cfg(not(target_arch = "wasm32"))]
pub use native::{Stream, block_on, connect, resolve, sleep};
#[cfg(target_arch = "wasm32")]
pub use wasi::{Stream, block_on, connect, resolve, sleep};

/// The time of a future was over before it was done.
pub struct Elapsed;
