//! A server for web components: `wasi:http` 0.2, an instance for each request unless
//! told otherwise, with stores that the host has open.
//!
//! The front page of the crate has a program that uses it, `examples/web_server.rs`.
//!
//! A component gets the request, the stores, clocks, randomness and the
//! environment that [`Server::environment`] gives it; no arguments, files or
//! network, and at most so much memory.
//!
//! Each request whose head was understood is logged as a `tracing` event of level
//! INFO once its response is sent: method, path without the query, status, and
//! milliseconds until the response began. Status 499 means that the client went
//! away before the whole response was sent; its request is not stopped.
//! A failure of a component is an event of level WARN, before or after its response
//! began. Neither event has a header, a query or a payload. Lines that a component
//! writes to its standard error are events of level WARN, too, up to 100 lines of
//! up to 1024 bytes for each request; it should write nothing secret. After the
//! client has gone, or its body was cut short, such lines are of level DEBUG, and a
//! trap is not logged.
//!
//! The host of a request is that of an absolute target, or else that of the Host
//! header; an HTTP/1.0 request that names no host is for the address at which it
//! was received. The component reads it as `authority`. A Host header that is
//! missing in HTTP/1.1, repeated, empty or malformed is answered with 400, and
//! `CONNECT` with 501.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;

use crate::Stores;
use service::Service;
use settings::Settings;

pub use listening::Listening;

mod access_log;
mod authority;
mod body;
mod call;
mod client;
mod connection;
mod engine;
mod failure;
mod guest_stderr;
mod instance;
mod limits;
mod listening;
mod progress;
mod reuse;
mod service;
mod settings;

/// A server for one web component, before it listens.
pub struct Server {
    component: Vec<u8>,
    settings: Settings,
}

impl Server {
    /// A server for this component, the content of its file, whose instances may
    /// open these stores.
    pub fn new(component: impl Into<Vec<u8>>, stores: Stores) -> Self {
        Self {
            component: component.into(),
            settings: Settings::new(stores),
        }
    }

    /// Whether the component may import the contract's `admin`, which lets it
    /// list, read and end the sessions of all users; by default it may not.
    pub fn admin(mut self, linked: bool) -> Self {
        self.settings.admin = linked;
        self
    }

    /// One more environment variable of the component.
    pub fn environment(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.environment.push((name.into(), value.into()));
        self
    }

    /// The time-out of a request, from the end of its head to the end of the
    /// response; 30 seconds by default. Then its instance is stopped, and the
    /// answer is 504, or is cut off if it has begun. A client that has not read all
    /// that waits for it after as long loses its connection.
    pub fn time_out(mut self, time: Duration) -> Self {
        self.settings.time_outs.request = time;
        self
    }

    /// The time-out of the head of a request, from its first byte to its last, and
    /// of a new connection that sends nothing; 10 seconds by default. Then the
    /// connection is closed, after a 408 if a part of a head was received.
    pub fn head_time_out(mut self, time: Duration) -> Self {
        self.settings.time_outs.head = time;
        self
    }

    /// The keep-alive time-out: how long a connection may be idle after a response;
    /// 60 seconds by default. Then it is closed.
    pub fn idle_time_out(mut self, time: Duration) -> Self {
        self.settings.time_outs.idle = time;
        self
    }

    /// The time-out of each part of a body; 10 seconds by default.
    ///
    /// If a request's body is late, the answer is 408, if the component has not
    /// answered yet, and the component cannot read more of the body. The same happens
    /// when the whole body does not arrive within [`Server::time_out`]. A client that
    /// reads nothing of a response for as long loses its connection, and the instance
    /// cannot write more.
    pub fn body_time_out(mut self, time: Duration) -> Self {
        self.settings.time_outs.body = time;
        self
    }

    /// The most connections that are open at the same time, at least one; 1024 by
    /// default. To accept one more, the server closes the connection that has been
    /// idle for the longest time, or else the one whose head has been incomplete
    /// for the longest time; those used within the last second come last. If all
    /// have requests in progress, the new connection waits. The same happens when
    /// the process has no file descriptors left.
    ///
    /// Up to 128 KiB of a body are buffered for each connection until an instance
    /// reads it.
    pub fn connection_limit(mut self, connections: usize) -> Self {
        self.settings.connection_limit = connections.max(1);
        self
    }

    /// The most instances that exist at the same time, at least one; 256 by
    /// default. Requests beyond that wait, and are answered with 503 if none is
    /// free within [`Server::time_out`]. A request gets its instance once its body
    /// was received, or the first 64 KiB of it.
    ///
    /// On Linux each slot of the pool keeps memory for the next instance: at most
    /// 1 MiB of each of its two memories, 64 KiB of each of its eight tables and
    /// 256 KiB of its stack, less than 3 MiB in all. Only what instances have written
    /// counts, and only in slots that were used: 64 requests of the demo at the same
    /// time and the store take 50 MB. For 256 instances the sum is at most 700 MiB; a
    /// machine with little memory takes a lower limit. Before Linux 6.7, which tells
    /// what pages were written, all that is kept is reset after each request, which
    /// takes longer for components with large memories; on other systems nothing is
    /// kept.
    pub fn instance_limit(mut self, instances: u32) -> Self {
        // What the semaphore of tokio can count on any machine.
        self.settings.instance_limit = instances.clamp(1, u32::MAX >> 3);
        self
    }

    /// How many requests an instance answers, one after the other, at least one; 1 by
    /// default: each request has an instance of its own, and nothing of it is left
    /// for the next, whatever the component does. With more, requests take less
    /// processor time, and what a component keeps in its memory, by intention or
    /// by mistake, may reach other visitors.
    ///
    /// An instance is kept for at most a second after a request, and not after one that
    /// trapped or was stopped, nor while the component holds a part of it. One that
    /// waits keeps its memory. [`memory_limit`](Server::memory_limit) is for all the
    /// requests of an instance together.
    pub fn requests_per_instance(mut self, requests: u32) -> Self {
        self.settings.requests_per_instance = requests.max(1);
        self
    }

    /// Longest body of a request, in bytes; 1 MiB by default. A longer one is
    /// answered with 413, by the server if the component has not answered yet.
    pub fn body_limit(mut self, bytes: u64) -> Self {
        self.settings.body_limit = bytes;
        self
    }

    /// The most memory an instance may use, in bytes, all its memories and tables
    /// together; 64 MiB by default. One that needs more fails, and the answer is
    /// 500, as it is for headers of more than 64 KiB. What the server keeps for an
    /// instance beside that, its headers and bodies on their way, is bounded, too:
    /// about 32 MiB for the worst of all.
    pub fn memory_limit(mut self, bytes: usize) -> Self {
        self.settings.memory_limit = bytes;
        self
    }

    /// Where compiled code is kept, as in
    /// [`Builder::cache_directory`](crate::Builder::cache_directory), with which
    /// it may be shared; by default nowhere, and each start compiles for seconds.
    /// It must not lie inside the directory of one of the stores.
    pub fn cache_directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.settings.cache_directory = Some(directory.into());
        self
    }

    /// Compiles the component and listens at `address`; port 0 is any free one.
    /// Connections wait from then on, and are answered by [`Listening::run`].
    ///
    /// # Errors
    ///
    /// [`Error::AdminNotLinked`]; [`Error::Component`] for a file that is not a component of
    /// `wasi:http/proxy`, for one with an import that is not provided, or if a
    /// store's component could write in the cache directory; [`Error::Address`];
    /// [`Error::ZeroTimeOut`].
    pub async fn bind(self, address: SocketAddr) -> Result<Listening, Error> {
        if let Some(name) = self.settings.time_outs.zero() {
            return Err(Error::ZeroTimeOut(name));
        }
        let refused = |reason| Error::Address { address, reason };
        let listener = TcpListener::bind(address).await.map_err(refused)?;
        let local_address = listener.local_addr().map_err(refused)?;
        // It is compiled on all processors, but this one thread waits for them.
        let Self {
            component,
            settings,
        } = self;
        let compiled = tokio::task::spawn_blocking(move || Service::new(settings, &component));
        let service = compiled
            .await
            .map_err(|error| Error::Component(error.into()))?
            .map_err(|error| match error.downcast() {
                Ok(known) => known,
                Err(error) => Error::Component(error.into_boxed_dyn_error()),
            })?;
        Ok(Listening {
            listener,
            local_address,
            service: Arc::new(service),
        })
    }
}

/// Why a server cannot be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The component cannot be run; the source says why.
    #[error("the web component cannot be run")]
    Component(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The component imports `admin`, which it is not allowed to use:
    /// [`Server::admin`].
    #[error("the web component imports `wasi-sessions:store/admin`, which is not linked")]
    AdminNotLinked,
    /// A time-out is 0, with which no request could be answered; names the method of
    /// [`Server`] that set it.
    #[error("`{0}` must be more than 0")]
    ZeroTimeOut(&'static str),
    /// The address cannot be listened at.
    #[error("cannot listen at {address}")]
    Address {
        /// The address that was asked for.
        address: SocketAddr,
        /// What the operating system says.
        #[source]
        reason: io::Error,
    },
}
