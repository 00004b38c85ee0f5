//! Tests of the session store over MariaDB through its public functions, against a server
//! that they start.

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
mod locks;
#[cfg(server)]
mod server;
#[cfg(server)]
mod settings;
#[cfg(server)]
mod tables;

#[cfg(not(server))]
#[test]
#[ignore = "needs MariaDB's server in /usr/sbin"]
fn the_store_keeps_the_contract_over_mariadb() {}
