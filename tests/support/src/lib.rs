//! What the integration tests share: one way to set up a store, its directory
//! and its clock, the command line, a site, and components that use a store.
//!
//! The unit tests of `host` have helpers of their own: they are compiled as another
//! crate than the `wasi-sessions` that this one uses, with types of their own.

pub mod command;
pub mod fixture;
pub mod guests;
#[cfg(unix)]
pub mod served;
#[cfg(unix)]
pub mod visitors;
