//! The network of the operating system, through one tokio runtime for each thread.

use super::Elapsed;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};

/// A TCP connection.
pub type Stream = tokio::net::TcpStream;

thread_local! {
    static RUNTIME: Runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime needs only file descriptors");
}

/// Polls the future until it is done, for `limit` at most.
pub fn block_on<F: Future>(limit: Duration, future: F) -> Result<F::Output, Elapsed> {
    RUNTIME.with(|runtime| {
        runtime
            .block_on(async {
                // Lets the runtime notice first what has arrived since the last call.
                tokio::task::yield_now().await;
                tokio::time::timeout(limit, future).await
            })
            .map_err(|_| Elapsed)
    })
}

/// Connects to an address.
pub async fn connect(address: SocketAddr) -> io::Result<Stream> {
    let stream = Stream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// The addresses of a host.
pub async fn resolve(name: &str) -> io::Result<Vec<IpAddr>> {
    let addresses = tokio::net::lookup_host((name, 0)).await?;
    Ok(addresses.map(|address| address.ip()).collect())
}

/// Waits.
pub async fn sleep(time: Duration) {
    tokio::time::sleep(time).await;
}

/// Needed before a future is dropped that is not done; natively there is nothing to do.
pub fn release() {}
