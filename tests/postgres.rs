//! Tests of the component over PostgreSQL with a real server: in a sandbox of the tests' own,
//! under the crate and the command line, and composed with the web demo.

use std::net::SocketAddr;

#[allow(dead_code)]
#[path = "../component/postgres/tests/server.rs"]
mod server;

use crate::guests;
use crate::sandbox::bindings::exports::wasi_sessions::store::sessions::{Error, Outcome};
use crate::sandbox::{Instance, call};
use server::{PASSWORD, Server};

mod command_line;
mod composed;
mod failures;
mod place;
mod sites;
mod store;
mod together;

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
    let late = call!(instance, open, call_set(&created.id, b"late", None));
    assert!(matches!(late, Ok(Outcome::Gone)), "{late:?}");
    let session = call!(instance, open, call_get(&id)).unwrap().unwrap();
    assert!(session.data == large);
    assert_eq!(
        (session.subject.as_deref(), session.version),
        (Some("bob"), 3)
    );
    assert_eq!(connections(&server), "1");

    // The host refuses another address, the component an option of SQLite.
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
