//! Tests of what an engine over a network promises beyond the contract, the same for each.
//! The engine's own tests include this file beside `contract.rs` and their modules `engine`
//! and `fixture`; there `Database` has a `url` with the loopback address and port of a
//! server, which is `server_port`.

mod concurrency;
pub mod connections;
mod endings;
mod faults;
pub mod proxy;
mod script;
mod subjects;
