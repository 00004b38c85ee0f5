//! Tests of the session store over PostgreSQL through its public functions, with a server
//! that the tests start.

#[cfg(server)]
#[path = "../../tests/contract.rs"]
mod contract;
#[cfg(server)]
#[path = "../../tests/networked/mod.rs"]
mod networked;
#[cfg(server)]
#[path = "../../tests/networked/process.rs"]
mod process;

#[cfg(server)]
mod connections;
#[cfg(server)]
mod engine;
#[cfg(server)]
mod fixture;
#[cfg(server)]
mod pooler;
#[cfg(server)]
mod relay;
#[cfg(server)]
mod server;
#[cfg(server)]
mod tables;

#[cfg(not(server))]
#[test]
#[ignore = "needs PostgreSQL in /usr/lib/postgresql"]
fn the_store_keeps_the_contract_over_postgresql() {}
