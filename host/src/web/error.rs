//! Why a server cannot be started.

use std::io;
use std::net::SocketAddr;

/// Why a server cannot be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The component cannot be run, for the reason in the source.
    #[error("the web component cannot be run")]
    Component(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The component imports `admin`, which it is not allowed to use:
    /// [`Server::admin`](super::Server::admin).
    #[error("the web component imports `wasi-sessions:store/admin`, which is not linked")]
    AdminNotLinked,
    /// A time-out is 0, so no request could be answered. Contains the name of the method of
    /// [`Server`](super::Server) that set it.
    #[error("`{0}` must be more than 0")]
    ZeroTimeOut(&'static str),
    /// The address cannot be listened at.
    #[error("cannot listen at {address}")]
    Address {
        /// The address that was asked for.
        address: SocketAddr,
        /// The operating system's error.
        #[source]
        reason: io::Error,
    },
}
