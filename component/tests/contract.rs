//! Tests of the contract, the same for every engine. An engine's own tests include this file
//! beside their modules `engine`, which names the engine and its types, and `fixture`, which
//! creates databases for it.

mod batches;
pub mod collection;
mod endings;
mod hostile;
mod lifetimes;
mod listing;
pub mod model;
pub mod samples;
mod subjects;
mod writes;
