//! Tests of what the contract promises, the same for every engine. An engine's own tests
//! include this file beside their modules `engine`, with the engine and its types, and
//! `fixture`, with databases of its kind.

mod batches;
pub mod collection;
mod endings;
mod hostile;
mod lifetimes;
mod listing;
mod model;
pub mod samples;
mod subjects;
mod writes;
