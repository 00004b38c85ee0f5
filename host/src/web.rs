//! A server for web components: `wasi:http` 0.2, an instance for each request,
//! with stores that the host has open.
//!
//! ```no_run
//! use std::time::Duration;
//! use wasi_sessions::web::Server;
//! use wasi_sessions::{Builder, Stores};
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let sessions = Builder::new("shop/sessions").open().await?;
//!     let stores = Stores::new().with("sessions.db", sessions);
//!     let server = Server::new(std::fs::read("shop.wasm")?, stores)
//!         .time_out(Duration::from_secs(10))
//!         .cache_directory("shop/compiled")
//!         .bind("127.0.0.1:8080".parse()?)
//!         .await?;
//!     println!("http://{}", server.local_address());
//!     server.run(async { tokio::signal::ctrl_c().await.unwrap_or(()) }).await;
//!     Ok(())
//! }
//! ```
//!
//! A component gets the request, the stores, clocks, randomness and the
//! environment that [`Server::environment`] gives it; no arguments, files or
//! network, and at most so much memory.
//!
//! Each request that was understood is a `tracing` event of level INFO: method,
//! path without the query, status, and milliseconds until the response began;
//! status 499 is a client that went away before.
//! What went wrong in a component is one of level WARN, before or after its
//! response began. Neither carries a header, a query or a payload. Lines that a
//! component writes to its standard error are events of level WARN, too, up to
//! 100 of up to 1024 bytes for each request; it should write nothing secret.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioTimer;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::Stores;
use client::Client;
use service::Service;

mod body;
mod client;
mod engine;
mod guest;
mod limits;
mod service;
mod words;

/// Longest head of a request, in bytes; a longer one is answered with 431.
const HEAD_LIMIT: usize = 64 << 10;

/// Connections that are open at the same time; others wait.
const CONNECTIONS: usize = 1024;

/// How long what is in flight may take, once the server was told to stop.
const GRACE: Duration = Duration::from_secs(10);

/// How long it may then take to tell clients that their requests were stopped.
const FAREWELL: Duration = Duration::from_secs(1);

/// How long no connection is accepted when that failed, for want of files as a rule.
const PAUSE: Duration = Duration::from_millis(100);

/// A server for one web component, before it listens.
pub struct Server {
    component: Vec<u8>,
    stores: Stores,
    admin: bool,
    environment: Vec<(String, String)>,
    time_out: Duration,
    body_limit: u64,
    memory_limit: usize,
    cache_directory: Option<PathBuf>,
}

impl Server {
    /// A server for this component, the content of its file, whose instances may
    /// open these stores.
    pub fn new(component: impl Into<Vec<u8>>, stores: Stores) -> Self {
        Self {
            component: component.into(),
            stores,
            admin: false,
            environment: Vec::new(),
            time_out: Duration::from_secs(30),
            body_limit: 1 << 20,
            memory_limit: 64 << 20,
            cache_directory: None,
        }
    }

    /// Whether the component may import the contract's `admin`, which lets it
    /// list, read and end everybody's sessions; by default it may not.
    pub fn admin(mut self, linked: bool) -> Self {
        self.admin = linked;
        self
    }

    /// One more environment variable of the component.
    pub fn environment(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// How long a request may take, from its head to the end of the response; 30
    /// seconds by default. Then its instance is stopped, whatever it does, and the
    /// answer is 504, or is cut off where it has begun. A client that leaves an
    /// answer unread for as long loses its connection.
    pub fn time_out(mut self, time: Duration) -> Self {
        self.time_out = time;
        self
    }

    /// Longest body of a request, in bytes; 1 MiB by default. A longer one is
    /// answered with 413, by the server if the component has not answered yet.
    pub fn body_limit(mut self, bytes: u64) -> Self {
        self.body_limit = bytes;
        self
    }

    /// The most memory an instance may use, in bytes, all its memories and tables
    /// together; 64 MiB by default. One that needs more fails, and the answer is
    /// 500, as it is for headers of more than 64 KiB. What the server keeps for an
    /// instance beside that, its headers and bodies on their way, is bounded, too:
    /// about 32 MiB for the worst of all.
    pub fn memory_limit(mut self, bytes: usize) -> Self {
        self.memory_limit = bytes;
        self
    }

    /// Where compiled code is kept, as in
    /// [`Builder::cache_directory`](crate::Builder::cache_directory), with which
    /// it may be shared; by default nowhere, and each start compiles for seconds.
    /// It must not lie inside the directory of one of the stores.
    pub fn cache_directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.cache_directory = Some(directory.into());
        self
    }

    /// Compiles the component and listens at `address`; port 0 is any free one.
    /// Connections wait from then on, and are answered by [`Listening::run`].
    ///
    /// # Errors
    ///
    /// [`Error::Component`] for what is no component of `wasi:http/proxy`, and
    /// for one that imports what it does not get, or with a cache directory where a
    /// store's component could write; [`Error::Address`].
    pub async fn bind(mut self, address: SocketAddr) -> Result<Listening, Error> {
        let refused = |reason| Error::Address { address, reason };
        let listener = TcpListener::bind(address).await.map_err(refused)?;
        let local_address = listener.local_addr().map_err(refused)?;
        // It is compiled on all processors, but this one thread waits for them.
        let compiled = tokio::task::spawn_blocking(move || {
            let component = std::mem::take(&mut self.component);
            Service::new(self, &component)
        });
        let service = compiled
            .await
            .map_err(|error| Error::Component(error.to_string()))?
            .map_err(|error| Error::Component(format!("{error:#}")))?;
        Ok(Listening {
            listener,
            local_address,
            service: Arc::new(service),
        })
    }
}

/// A server that listens.
pub struct Listening {
    listener: TcpListener,
    local_address: SocketAddr,
    service: Arc<Service>,
}

impl Listening {
    /// Where it listens.
    pub fn local_address(&self) -> SocketAddr {
        self.local_address
    }

    /// Serves HTTP/1.1 until `shutdown` is done. Then it accepts nothing more,
    /// and finishes what is in flight, for at most ten seconds and no longer than
    /// a request may take; what is left is stopped, and answered with 503 where
    /// the client takes that within a second. No instance is left when it
    /// returns, and what the stores answered is kept in any case.
    ///
    /// A client that goes away does not stop the request that it sent.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let graceful = GracefulShutdown::new();
        let mut connections = JoinSet::new();
        let mut shutdown = std::pin::pin!(shutdown);
        let room = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            tokio::select! {
                biased;
                () = &mut shutdown => break,
                Some(_) = connections.join_next() => {}
                accepted = self.accept(&room) => match accepted {
                    Ok((stream, place)) => {
                        let connection = self.connection(stream, &graceful);
                        connections.spawn(async {
                            connection.await;
                            drop(place);
                        });
                    }
                    Err(error) if is_of_the_connection(&error) => {}
                    Err(error) => {
                        tracing::warn!(%error, "no connection can be accepted");
                        sleep(PAUSE).await;
                    }
                },
            }
        }
        drop(self.listener);
        let grace = GRACE.min(self.service.time_out());
        let finished = async {
            graceful.shutdown().await;
            self.service.finished().await;
        };
        if timeout(grace, finished).await.is_err() {
            tracing::warn!("requests that are still in flight are stopped");
        }
        self.service.stop().await;
        let told = async { while connections.join_next().await.is_some() {} };
        // Whoever does not listen is not told.
        let _ = timeout(FAREWELL, told).await;
        connections.shutdown().await;
    }

    /// The next client, and its place among the connections.
    async fn accept(
        &self,
        room: &Arc<Semaphore>,
    ) -> io::Result<(TcpStream, Option<OwnedSemaphorePermit>)> {
        // The semaphore is never closed.
        let place = room.clone().acquire_owned().await.ok();
        let (stream, _) = self.listener.accept().await?;
        Ok((stream, place))
    }

    /// Serves one client, until it goes away or `graceful` says so.
    fn connection(
        &self,
        stream: TcpStream,
        graceful: &GracefulShutdown,
    ) -> impl Future<Output = ()> + use<> {
        // Without it the last part of an answer may wait for the client.
        let _ = stream.set_nodelay(true);
        let patience = self.service.time_out();
        let service = self.service.clone();
        let answer = service_fn(move |request| service.clone().answer(request));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .max_buf_size(HEAD_LIMIT)
            .serve_connection(Client::new(stream, patience), answer);
        let connection = graceful.watch(connection);
        // Whoever goes away in the middle is no concern of ours.
        async { drop(connection.await) }
    }
}

/// Whether it is one client that failed, and not the listener.
fn is_of_the_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}

/// Why a server cannot be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The component cannot be run; says why.
    #[error("the web component cannot be run: {0}")]
    Component(String),
    /// The address cannot be listened at.
    #[error("cannot listen at {address}: {reason}")]
    Address {
        /// The address that was asked for.
        address: SocketAddr,
        /// What the operating system says.
        reason: io::Error,
    },
}
