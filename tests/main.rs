//! Integration tests: what the project promises, through the host on the real
//! component, and through the command line.
//!
//! There are four layers of tests, and a rule belongs to the lowest one that can
//! break it:
//! - `component/tests`, native and without wasmtime: what a session is, what each
//!   operation makes of it, what is stored, and what SQLite and the file system
//!   may do to it.
//! - The unit tests in `host/src`: what the host decides by itself, such as what
//!   its memory answers, how writes are gathered, and the limits of its queue.
//! - These: what needs the component in its sandbox, a process, a network or a
//!   browser, and the contract's rules as a user of the crate sees them.
//! - `disk`, a program of its own: the component on a simulated disk that fails.

#![forbid(unsafe_code)]

// What the tests share, under the crate's own paths.
use test_support::{command, fixture, guests};
#[cfg(unix)]
use test_support::{served, visitors};

// The contract, theme by theme.
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

// The host.
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

// Those who use it.
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
mod original;
#[cfg(unix)]
mod postgres;
#[cfg(unix)]
mod readme;
#[cfg(unix)]
mod serve;
mod shipped;
mod story;
mod tower_sessions;
mod versions;
#[cfg(unix)]
mod web_demo;
