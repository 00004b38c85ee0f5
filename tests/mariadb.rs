//! Tests of the component over MariaDB in a sandbox of the tests' own, with a real server.

use crate::guests;
use crate::sandbox::Instance;
use crate::sandbox::bindings::exports::wasi_sessions::store::sessions::Error;
pub use server::{PASSWORD, Server, is_mysql, processes};
use std::net::SocketAddr;

#[allow(dead_code)]
#[path = "../component/mariadb/tests/server.rs"]
mod server;

/// How many connections of the component the server has.
fn connections(server: &Server) -> String {
    let ours = format!(
        "SELECT COUNT(*) FROM {} WHERE user = 'guarded'",
        processes()
    );
    server.sql("shop", &ours)
}

#[tokio::test]
#[cfg_attr(
    not(mariadb),
    ignore = "needs MariaDB's server in /usr/sbin, and Rust's target for WASI"
)]
async fn a_component_keeps_sessions_in_a_server_that_restarts_and_reaches_no_other_address() {
    let file = guests::MARIADB.expect("Rust has its target for WASI");
    let mut server = Server::start(&[]);
    let address = SocketAddr::from(([127, 0, 0, 1], server.port));
    let mut instance = Instance::start(file, address, ("MYSQL_PWD", PASSWORD)).await;
    let url = format!("mysql://guarded@{address}/shop");
    let options = r#"{"syncTimeout": 30000}"#;
    let open = instance.open(&url, options).await.unwrap();

    let written = instance.write(open).await;

    // A store that is opened again finds the connection.
    open.resource_drop_async(&mut instance.store).await.unwrap();
    let open = instance.open(&url, options).await.unwrap();
    assert_eq!(connections(&server), "1");

    let restart = tokio::task::spawn_blocking(move || {
        server.stop();
        server.restart();
        // An unused connection is looked at before it is used.
        server.sql("shop", "DO SLEEP(1.1)");
        server
    });
    let server = restart.await.unwrap();
    instance.check(open, &written).await;
    assert_eq!(connections(&server), "1");

    // A server that does not answer costs no more than the time for it.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nowhere = silent.local_addr().unwrap();
    let mut lost = Instance::start(file, nowhere, ("MYSQL_PWD", PASSWORD)).await;
    let elsewhere = format!("mysql://guarded@{nowhere}/shop");
    let opened = lost.open(&elsewhere, r#"{"syncTimeout": 200}"#).await;
    assert!(matches!(opened.err(), Some(Error::Busy)));

    instance.refuses(&url, options).await;
}
