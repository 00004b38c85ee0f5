//! Waiting for the network, through one tokio runtime for each thread: of the operating
//! system, or of WASI.

use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::pin::pin;
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout_at;

thread_local! {
    static RUNTIME: Runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime needs only file descriptors");
}

/// The deadline has passed.
pub struct Elapsed;

/// Polls the future until it is done, until `end` at most.
///
/// The future is dropped outside the runtime: within, a connection that it holds would leave
/// a task that waits for its last answer.
pub fn block_on<F: Future>(end: Instant, future: F) -> Result<F::Output, Elapsed> {
    let mut future = pin!(future);
    RUNTIME.with(|runtime| {
        runtime
            .block_on(async { timeout_at(end.into(), future.as_mut()).await })
            .map_err(|_| Elapsed)
    })
}

/// The addresses of a host. Waits as long as the system's resolver does.
pub fn resolve(name: &str) -> io::Result<Vec<IpAddr>> {
    if let Ok(address) = name.parse() {
        return Ok(vec![address]);
    }
    let addresses = (name, 0).to_socket_addrs()?;
    Ok(addresses.map(|address| address.ip()).collect())
}

/// Waits for this time, but at most until `end`.
pub fn pause(time: Duration, end: Instant) {
    std::thread::sleep(time.min(end.saturating_duration_since(Instant::now())));
}
