//! The servers that an instance may reach: their addresses, and those that lookups of their
//! names have found.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use wasmtime_wasi::sockets::SocketAddrUse;

/// A server that an instance may connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Server {
    pub(crate) host: Host,
    pub(crate) port: u16,
}

/// A server's host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Host {
    Address(IpAddr),
    Name(String),
}

/// The servers that an instance may connect to, and the addresses found for their names.
#[derive(Default)]
pub(crate) struct Reachable {
    servers: Vec<Server>,
    /// The addresses that the last lookup of each name found.
    found: Mutex<HashMap<String, Vec<IpAddr>>>,
    /// How often the instance has tried to connect.
    connects: AtomicU64,
}

impl Reachable {
    pub(crate) fn new(servers: &[Server]) -> Self {
        Self {
            servers: servers.to_owned(),
            found: Mutex::default(),
            connects: AtomicU64::new(0),
        }
    }

    /// Whether any server is given by its name, which must be looked up.
    pub(crate) fn has_names(&self) -> bool {
        let is_name = |server: &Server| matches!(server.host, Host::Name(_));
        self.servers.iter().any(is_name)
    }

    /// Whether an address may be used for this purpose. A socket that connects is bound
    /// first, to an address that the system chooses.
    pub(crate) fn allows(&self, address: SocketAddr, purpose: SocketAddrUse) -> bool {
        match purpose {
            SocketAddrUse::TcpConnect => {
                self.connects.fetch_add(1, Ordering::Relaxed);
                self.servers.iter().any(|server| {
                    server.port == address.port() && self.is_at(&server.host, address.ip())
                })
            }
            SocketAddrUse::TcpBind => address.ip().is_unspecified() && address.port() == 0,
            _ => false,
        }
    }

    fn is_at(&self, host: &Host, address: IpAddr) -> bool {
        match host {
            Host::Address(own) => *own == address,
            Host::Name(name) => self
                .found()
                .get(name)
                .is_some_and(|found| found.contains(&address)),
        }
    }

    fn has_name(&self, name: &str) -> bool {
        let mut hosts = self.servers.iter().map(|server| &server.host);
        hosts.any(|host| matches!(host, Host::Name(own) if own == name))
    }

    fn found(&self) -> MutexGuard<'_, HashMap<String, Vec<IpAddr>>> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The name lookups of an instance.
#[derive(Default)]
pub(crate) struct Lookups {
    reachable: Arc<Reachable>,
    /// The name of each lookup, by its handle.
    names: HashMap<u32, String>,
}

impl Lookups {
    pub(crate) fn of(reachable: Arc<Reachable>) -> Self {
        Self {
            reachable,
            names: HashMap::new(),
        }
    }

    /// How often the instance has tried to connect to a server.
    pub(crate) fn connects(&self) -> u64 {
        self.reachable.connects.load(Ordering::Relaxed)
    }

    /// Whether this name may be looked up: it is a server's.
    pub(crate) fn allows(&self, name: &str) -> bool {
        self.reachable.has_name(name)
    }

    /// Records a new lookup of a server's name. What earlier lookups found is not reachable
    /// any more.
    pub(crate) fn begin(&mut self, handle: u32, name: String) {
        self.reachable.found().remove(&name);
        self.names.insert(handle, name);
    }

    /// Records an address that a lookup found; from then on it is reachable.
    pub(crate) fn add(&mut self, handle: u32, address: IpAddr) {
        if let Some(name) = self.names.get(&handle) {
            let mut found = self.reachable.found();
            found.entry(name.clone()).or_default().push(address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn reachable() -> Reachable {
        Reachable::new(&[
            Server {
                host: Host::Address([127, 0, 0, 1].into()),
                port: 5432,
            },
            Server {
                host: Host::Name("db.example".to_owned()),
                port: 6432,
            },
        ])
    }

    #[test]
    fn only_the_servers_can_be_connected_to() {
        let reachable = reachable();
        let connect = |text| reachable.allows(address(text), SocketAddrUse::TcpConnect);
        assert!(connect("127.0.0.1:5432"));
        for other in ["127.0.0.1:5433", "127.0.0.2:5432", "[::1]:5432"] {
            assert!(!connect(other), "{other}");
        }
        // A name allows only the addresses that were found for it, with that server's port.
        assert!(!connect("192.0.2.7:6432"));
        let found = vec![[192, 0, 2, 7].into()];
        reachable.found().insert("db.example".to_owned(), found);
        assert!(connect("192.0.2.7:6432"));
        assert!(!connect("192.0.2.7:5432") && !connect("127.0.0.1:6432"));
    }

    #[test]
    fn nothing_but_a_connection_can_be_made() {
        let reachable = reachable();
        let any = |text, purpose| reachable.allows(address(text), purpose);
        assert!(any("0.0.0.0:0", SocketAddrUse::TcpBind));
        assert!(any("[::]:0", SocketAddrUse::TcpBind));
        assert!(!any("0.0.0.0:80", SocketAddrUse::TcpBind));
        assert!(!any("127.0.0.1:0", SocketAddrUse::TcpBind));
        for purpose in [
            SocketAddrUse::TcpListen,
            SocketAddrUse::TcpAccept,
            SocketAddrUse::UdpBind,
            SocketAddrUse::UdpSend,
            SocketAddrUse::UdpReceive,
        ] {
            assert!(!any("127.0.0.1:5432", purpose) && !any("0.0.0.0:0", purpose));
        }
    }
}
