//! A server for a web component of `wasi:http` 0.2, which uses a store that the server has
//! open.
//!
//! Start it with `cargo run --example web_server -- path/to/site.wasm`, then open
//! `http://127.0.0.1:8080`; Ctrl-C ends it. The component opens the store as `sessions.db`;
//! the sessions are in `target/web-example`.

use std::error::Error;
use std::time::Duration;

use wasi_sessions::web::Server;
use wasi_sessions::{Builder, Stores};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let file = std::env::args_os().nth(1).ok_or("a component is needed")?;
    let sessions = Builder::new("target/web-example/sessions")
        .cache_directory("target/web-example/compiled")
        .open()
        .await?;

    let stores = Stores::new().with("sessions.db", sessions);
    let server = Server::new(std::fs::read(file)?, stores)
        .time_out(Duration::from_secs(10))
        .cache_directory("target/web-example/compiled")
        .bind("127.0.0.1:8080".parse()?)
        .await?;
    println!("http://{}", server.local_address());
    server
        .run(async { tokio::signal::ctrl_c().await.unwrap_or(()) })
        .await;
    Ok(())
}
