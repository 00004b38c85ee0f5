//! Helpers of the integration tests: stores with their directory and clock, the command
//! line, a site, and components that use a store.
//!
//! The unit tests of `host` have their own helpers, because this crate uses the library
//! `wasi-sessions`, whose types differ from those of its unit tests.

pub mod command;
pub mod fixture;
pub mod guests;
#[cfg(unix)]
pub mod served;
#[cfg(unix)]
pub mod visitors;
