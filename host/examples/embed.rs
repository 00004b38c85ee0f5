//! A program that embeds a store.
//!
//! Start it with `cargo run --example embed`. It leaves a directory `shop` where it runs.

use std::time::Duration;

use wasi_sessions::{Builder, Options, Outcome};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let month = Duration::from_secs(30 * 24 * 60 * 60);
    let options = Options {
        absolute_lifetime: Some(month),
        ..Options::default()
    };
    let sessions = Builder::new("shop/sessions")
        .options(options)
        .cache_directory("shop/compiled") // so that only the first start compiles
        .open()
        .await?;

    let visitor = sessions.create(r#"{"cart":[]}"#).await?;
    let alice = sessions
        .rotate(&visitor.id, Some("alice"))
        .await?
        .ok_or("expired")?;
    let session = sessions.get(&alice.id).await?.ok_or("expired")?;
    let cart = r#"{"cart":["book"]}"#;
    match sessions
        .update(&alice.id, cart, None, Some(session.version))
        .await?
    {
        Outcome::Written(written) => println!("version {}", written.version),
        Outcome::Stale(session) => println!("version {} was faster", session.version),
        Outcome::Gone => println!("logged out meanwhile"),
    }

    sessions.terminate_subject("alice", None).await?;
    let late = sessions.set(&alice.id, "a request in flight", None).await?;
    assert_eq!(late, Outcome::Gone);
    Ok(())
}
