//! Integration tests of the project's promises: through the host with the real component,
//! and through the command line.
//!
//! There are five layers of tests. A rule is tested in the lowest layer that can break it:
//! - `component/tests`, native and without wasmtime: what a session is, what each
//!   operation does with it, what is stored, and faults of SQLite and the file system.
//! - The unit tests in `host/src`: what the host decides by itself, such as answers from
//!   memory, group commit and the limits of its queue.
//! - These tests: what needs the component in its sandbox, a process, a network or a
//!   browser, and the contract's rules as a user of the crate sees them.
//! - `disk`, a separate test program: the component on a simulated disk that fails.
//! - `threads`, a separate crate: the host's queue, callers, cache and clock, in many orders
//!   of their threads' steps.

#![forbid(unsafe_code)]

// The tests' shared helpers, which tests import as `crate::command` and so on.
use test_support::{command, fixture, guests};
#[cfg(unix)]
use test_support::{served, visitors};

// Tests of the contract, by theme.
mod admin;
mod concurrency;
mod contract_corners;
mod errors;
mod garbage;
mod ids;
mod life;
mod schema;
mod size;
mod time;
mod writes;

// Tests of the host.
mod cache;
mod crash;
#[cfg(unix)]
mod damage;
mod handles;
mod killed;
mod linked;
mod ownership;
#[cfg(unix)]
mod privacy;
#[cfg(unix)]
mod replaced;
#[cfg(unix)]
mod restore;
#[cfg(unix)]
mod secrets;
mod tasks;

// Tests of the host's users.
mod bench;
#[cfg(unix)]
mod browser;
mod command_line;
mod composed;
#[cfg(unix)]
mod connections;
#[cfg(unix)]
mod hostile;
#[cfg(unix)]
mod http;
#[cfg(unix)]
mod mariadb;
#[cfg(unix)]
mod networked;
mod original;
#[cfg(unix)]
mod postgres;
#[cfg(unix)]
#[allow(dead_code)]
#[path = "../component/tests/networked/process.rs"]
mod process;
#[cfg(unix)]
#[allow(dead_code)]
#[path = "../component/tests/networked/proxy.rs"]
mod proxy;
#[cfg(unix)]
mod readme;
#[cfg(unix)]
mod sandbox;
#[cfg(unix)]
mod serve;
mod shipped;
mod soak;
mod story;
mod tower_sessions;
mod versions;
#[cfg(unix)]
mod web_demo;
