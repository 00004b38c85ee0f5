//! The component over MariaDB in its sandbox, against a real server.

use crate::guests;
use crate::sandbox::bindings::exports::wasi_sessions::store::sessions::{Error, Outcome};
use crate::sandbox::{Instance, call};
use server::{PASSWORD, Server};
use std::net::SocketAddr;

#[allow(dead_code)]
#[path = "../component/mariadb/tests/server.rs"]
mod server;

/// How many connections of the component the server has.
fn connections(server: &Server) -> String {
    let ours = "SELECT COUNT(*) FROM information_schema.processlist WHERE user = 'guarded'";
    server.sql("shop", ours)
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

    let created = call!(instance, open, call_create(b"{}", None, Some("alice"))).unwrap();
    let session = call!(instance, open, call_get(&created.id))
        .unwrap()
        .unwrap();
    assert_eq!((session.data, session.version), (b"{}".to_vec(), 1));
    // The largest payload, over many packets in both directions.
    let large: Vec<u8> = (0..1 << 20).map(|number| number as u8).collect();
    let written = call!(instance, open, call_set(&created.id, &large, None)).unwrap();
    assert!(matches!(written, Outcome::Written(written) if written.version == 2));
    let rotated = call!(instance, open, call_rotate(&created.id, Some("bob"))).unwrap();
    let id = rotated.unwrap().id;

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
    let late = call!(instance, open, call_set(&created.id, b"late", None));
    assert!(matches!(late, Ok(Outcome::Gone)), "{late:?}");
    let session = call!(instance, open, call_get(&id)).unwrap().unwrap();
    assert!(session.data == large);
    assert_eq!(
        (session.subject.as_deref(), session.version),
        (Some("bob"), 3)
    );
    assert_eq!(connections(&server), "1");

    // A server that does not answer costs no more than the time for it.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nowhere = silent.local_addr().unwrap();
    let mut lost = Instance::start(file, nowhere, ("MYSQL_PWD", PASSWORD)).await;
    let elsewhere = format!("mysql://guarded@{nowhere}/shop");
    let opened = lost.open(&elsewhere, r#"{"syncTimeout": 200}"#).await;
    assert!(matches!(opened.err(), Some(Error::Busy)));

    // Another address is refused by the host, an option of SQLite by the component.
    let elsewhere = url.replace("127.0.0.1", "127.0.0.2");
    match instance.open(&elsewhere, options).await.err() {
        Some(Error::Other(words)) => assert!(words.contains("does not let it"), "{words}"),
        other => panic!("{other:?}"),
    }
    match instance.open(&url, r#"{"access": "shared"}"#).await.err() {
        Some(Error::InvalidArgument(words)) => assert!(words.contains("`access`"), "{words}"),
        other => panic!("{other:?}"),
    }
}
