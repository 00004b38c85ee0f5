//! An axum application that counts visits, with tower-sessions on the store.
//!
//! Start it with `cargo run --example axum`, then run
//! `curl -c jar -b jar http://127.0.0.1:3000/` several times. The sessions are kept in
//! `target/axum-example`, or in the directory given as an argument, also after the program
//! has ended.

use std::error::Error;
use std::path::PathBuf;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use time::Duration;
use tokio::net::TcpListener;
use tower_sessions::{Expiry, Session, SessionManagerLayer};
use wasi_sessions::Builder;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let directory = std::env::args_os().nth(1);
    let directory = PathBuf::from(directory.unwrap_or_else(|| "target/axum-example".into()));
    let sessions = Builder::new(directory.join("sessions"))
        .cache_directory(directory.join("compiled"))
        .open()
        .await?;

    let layer = SessionManagerLayer::new(sessions)
        .with_expiry(Expiry::OnInactivity(Duration::days(1)))
        // Only because this example is served without TLS.
        .with_secure(false);
    let app = Router::new().route("/", get(count)).layer(layer);

    let listener = TcpListener::bind("127.0.0.1:3000").await?;
    println!("http://{}", listener.local_addr()?);
    axum::serve(listener, app).await?;
    Ok(())
}

async fn count(session: Session) -> Result<String, StatusCode> {
    let failed = |_| StatusCode::INTERNAL_SERVER_ERROR;
    let count = session.get("count").await.map_err(failed)?.unwrap_or(0) + 1;
    session.insert("count", count).await.map_err(failed)?;
    Ok(format!("visit {count}\n"))
}
