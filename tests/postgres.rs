//! Tests of the component over PostgreSQL in a sandbox of the tests' own, with a real server.

use std::net::SocketAddr;

#[allow(dead_code)]
#[path = "../component/postgres/tests/server.rs"]
mod server;

use crate::guests;
use crate::sandbox::Instance;
pub use server::{PASSWORD, Server};

mod application;
mod bench;
mod connections;

/// The number of connections that the server has from the component.
fn connections(server: &Server) -> String {
    let ours = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'store'";
    server.sql("postgres", ours)
}

#[tokio::test]
#[cfg_attr(not(postgres), ignore = "needs PostgreSQL in /usr/lib/postgresql")]
async fn a_component_keeps_sessions_in_a_server_that_restarts_and_reaches_no_other_address() {
    let mut server = Server::start(&[]);
    let address = SocketAddr::from(([127, 0, 0, 1], server.port));
    let mut instance = Instance::start(guests::POSTGRES, address, ("PGPASSWORD", PASSWORD)).await;
    let url = format!("postgres://postgres@{address}/postgres?application_name=store");
    let options = r#"{"syncTimeout": 30000}"#;
    let open = instance.open(&url, options).await.unwrap();

    let written = instance.write(open).await;

    // A store that is opened again reuses the connection.
    open.resource_drop_async(&mut instance.store).await.unwrap();
    let open = instance.open(&url, options).await.unwrap();
    assert_eq!(connections(&server), "1");

    // A host that runs other tasks between its calls receives what the server sends.
    let restart = tokio::task::spawn_blocking(move || {
        server.stop();
        server.restart();
        server
    });
    let server = restart.await.unwrap();
    instance.check(open, &written).await;
    assert_eq!(connections(&server), "1");

    instance.refuses(&url, options).await;
}
