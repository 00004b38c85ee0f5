//! What threads share and how they wait for each other, for the queue, its callers, the
//! cache and the clock. `tests/threads` compiles these with a `sync` of its own, whose
//! threads run in the order that a test chooses.

pub(crate) use std::sync::{Mutex, MutexGuard, atomic};
pub(crate) use std::thread;
pub(crate) use std::thread_local;
pub(crate) use std::time::Instant;

pub(crate) use pollster::block_on;
pub(crate) use quick_cache::sync::Cache;
pub(crate) use tokio::runtime;
pub(crate) use tokio::sync::{Semaphore, mpsc, oneshot};
pub(crate) use tokio::time::timeout;
