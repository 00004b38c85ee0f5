//! A server for web components of `wasi:http` 0.2, which use stores that the host has open.
//! By default each request gets a new instance.
//!
//! The front page of the crate shows a program that uses it, `examples/web_server.rs`.
//!
//! A component gets the request, the stores, clocks, randomness and the environment from
//! [`Server::environment`]; no arguments, files or network. Its memory is limited.
//!
//! Each request with a valid head is logged as a `tracing` event of level INFO once its
//! response is sent: method, path without the query, status, and milliseconds until the
//! response began. Status 499 means that the client went away before the whole response was
//! sent; its request is not stopped. A failure of a component, before or after its response
//! began, is an event of level WARN. Neither event contains a header, a query or a payload.
//!
//! Lines that a component writes to its standard error are events of level WARN, too, up to
//! 100 lines of up to 1024 bytes for each request; it should write no secrets. After the
//! client has gone, or if the request's body was truncated, such lines are of level DEBUG,
//! and a trap is not logged.
//!
//! The host of a request is taken from an absolute target, or else from the Host header;
//! for an HTTP/1.0 request without either it is the address at which the request was
//! received. The component reads it as `authority`. A Host header that is missing in
//! HTTP/1.1, repeated, empty or malformed is answered with 400, and `CONNECT` with 501.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;

use crate::Stores;
use service::Service;
use settings::Settings;

pub use error::Error;
pub use listening::Listening;

mod access_log;
mod authority;
mod body;
mod call;
mod client;
mod connection;
mod engine;
mod error;
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
    /// A server for `component`, the bytes of its file, whose instances may open `stores`.
    pub fn new(component: impl Into<Vec<u8>>, stores: Stores) -> Self {
        Self {
            component: component.into(),
            settings: Settings::new(stores),
        }
    }

    /// Whether the component may import the contract's `admin`, and so list, read and end
    /// the sessions of all users. By default it may not.
    pub fn admin(mut self, linked: bool) -> Self {
        self.settings.admin = linked;
        self
    }

    /// Adds an environment variable for the component.
    pub fn environment(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.environment.push((name.into(), value.into()));
        self
    }

    /// The time-out of a request, from the end of its head to the end of the response; 30
    /// seconds by default. After that its instance is stopped, and the response is 504, or
    /// truncated if it has begun. A client that does not read all pending bytes within this
    /// time loses its connection.
    pub fn time_out(mut self, time: Duration) -> Self {
        self.settings.time_outs.request = time;
        self
    }

    /// The time-out of the head of a request, from its first byte to its last, and of a new
    /// connection that sends nothing; 10 seconds by default. After that the connection is
    /// closed, with a 408 if a part of a head was received.
    pub fn head_time_out(mut self, time: Duration) -> Self {
        self.settings.time_outs.head = time;
        self
    }

    /// The keep-alive time-out: how long a connection may be idle after a response before it
    /// is closed; 60 seconds by default.
    pub fn idle_time_out(mut self, time: Duration) -> Self {
        self.settings.time_outs.idle = time;
        self
    }

    /// The time-out of each part of a body; 10 seconds by default.
    ///
    /// If a part of a request's body is late, the component cannot read more of the body,
    /// and the response is 408 unless the component has already responded. The same happens
    /// if the whole body does not arrive within [`Server::time_out`]. A client that reads
    /// nothing of a response for this time loses its connection, and the instance cannot
    /// write more.
    pub fn body_time_out(mut self, time: Duration) -> Self {
        self.settings.time_outs.body = time;
        self
    }

    /// The maximum number of open connections, at least one; 1024 by default.
    ///
    /// To accept one more, the server closes the connection that has been idle for the
    /// longest time, or else the one whose head, or else whose body, has been incomplete
    /// for the longest time. It does not close one that was used in the last 250 ms, or
    /// whose body arrived in part in the last second. If no connection can be closed, the
    /// new one waits. The same happens if the process has no file descriptors left.
    ///
    /// Up to 128 KiB of a body are buffered for each connection until an instance
    /// reads it.
    pub fn connection_limit(mut self, connections: usize) -> Self {
        self.settings.connection_limit = connections.max(1);
        self
    }

    /// The maximum number of instances at the same time, at least one; 256 by default.
    /// Further requests wait, and are answered with 503 if no instance is free within
    /// [`Server::time_out`]. A request gets its instance once its body, or the first 64 KiB
    /// of it, was received.
    ///
    /// On Linux each slot of the pool keeps memory for the next instance: at most 1 MiB of
    /// each of its two memories, 64 KiB of each of its eight tables and 256 KiB of its
    /// stack, less than 3 MiB in all. Only pages that instances have written count, and
    /// only in slots that were used: 64 concurrent requests of the demo and the store take
    /// 50 MB. For 256 instances the sum is at most 700 MiB; set a lower limit on a machine
    /// with little memory. Since Linux 6.7, which reports the pages that were written, only
    /// these are reset after each request. Before, all kept memory is reset, which takes
    /// longer for components with large memories. On other systems nothing is kept.
    pub fn instance_limit(mut self, instances: u32) -> Self {
        // The upper limit is what tokio's semaphore can count on any machine.
        self.settings.instance_limit = instances.clamp(1, u32::MAX >> 3);
        self
    }

    /// How many requests an instance answers, one after the other, at least one. With the
    /// default, 1, each request has its own instance, so it cannot leave data for the next
    /// one, even by mistake. With more, requests take less processor time, but data that the
    /// component keeps in its memory may reach other visitors.
    ///
    /// An instance waits at most a second for the next request, and keeps its memory
    /// meanwhile. It is dropped after a request that trapped or was stopped, or of which the
    /// component still holds a resource. [`memory_limit`](Server::memory_limit) covers all
    /// requests of an instance together.
    pub fn requests_per_instance(mut self, requests: u32) -> Self {
        self.settings.requests_per_instance = requests.max(1);
        self
    }

    /// The maximum length of a request's body, in bytes; 1 MiB by default. A longer one is
    /// answered with 413, unless the component has already responded.
    pub fn body_limit(mut self, bytes: u64) -> Self {
        self.settings.body_limit = bytes;
        self
    }

    /// The maximum memory of an instance, in bytes, all its memories and tables together; 64
    /// MiB by default. An instance that needs more fails, and the response is 500, as it is
    /// for response headers of more than 64 KiB. The server's own memory for an instance,
    /// for headers and buffered bodies, is bounded, too: about 32 MiB in the worst case.
    pub fn memory_limit(mut self, bytes: usize) -> Self {
        self.settings.memory_limit = bytes;
        self
    }

    /// The directory in which compiled code is cached, as with
    /// [`Builder::cache_directory`](crate::Builder::cache_directory), which may use the same
    /// one. By default there is none, and each start compiles for seconds. It must not be
    /// inside the directory of a store.
    pub fn cache_directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.settings.cache_directory = Some(directory.into());
        self
    }

    /// Compiles the component and listens at `address`; port 0 means any free port.
    /// Connections wait until [`Listening::run`] serves them.
    ///
    /// # Errors
    ///
    /// [`Error::AdminNotLinked`]; [`Error::Component`] for a file that is not a component of
    /// `wasi:http/proxy`, for an import that is not provided, or if the cache directory is
    /// inside the directory of a store; [`Error::Address`]; [`Error::ZeroTimeOut`].
    pub async fn bind(self, address: SocketAddr) -> Result<Listening, Error> {
        if let Some(name) = self.settings.time_outs.zero() {
            return Err(Error::ZeroTimeOut(name));
        }
        let refused = |reason| Error::Address { address, reason };
        let listener = TcpListener::bind(address).await.map_err(refused)?;
        let local_address = listener.local_addr().map_err(refused)?;
        // The compilation uses all processors, but blocks the thread that waits for it.
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
