//! The network of an instance: TCP to some servers, and lookups of their names. The host
//! replaces WASI's functions for name lookups, so that an instance can look up no other name
//! and can connect only to the addresses that were found.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi::p2::bindings::sockets::ip_name_lookup::{
    Host as Lookup, HostResolveAddressStream, ResolveAddressStream,
};
use wasmtime_wasi::p2::bindings::sockets::network::{ErrorCode, Host as Network, IpAddress};
use wasmtime_wasi::p2::{Network as NetworkHandle, SocketResult};
use wasmtime_wasi::sockets::{SocketAddrUse, WasiSocketsView};

use crate::sandbox::state::State;

/// The interface whose functions are replaced, in the version of wasmtime-wasi. If the
/// versions differed, no address would be recorded, and an instance could connect to no server
/// by its name.
const LOOKUP: &str = "wasi:sockets/ip-name-lookup@0.2.12";

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
}

impl Reachable {
    pub(crate) fn new(servers: &[Server]) -> Self {
        Self {
            servers: servers.to_owned(),
            found: Mutex::default(),
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
            SocketAddrUse::TcpConnect => self.servers.iter().any(|server| {
                server.port == address.port() && self.is_at(&server.host, address.ip())
            }),
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
}

/// Replaces the functions of WASI that look up names.
pub(crate) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    let mut lookup = linker.instance(LOOKUP)?;
    lookup.func_wrap(
        "resolve-addresses",
        |mut store: StoreContextMut<'_, State>,
         (network, name): (Resource<NetworkHandle>, String)| {
            let state = store.data_mut();
            let started = start(state, network, name);
            answer(state, started)
        },
    )?;
    lookup.func_wrap(
        "[method]resolve-address-stream.resolve-next-address",
        |mut store: StoreContextMut<'_, State>, (lookup,): (Resource<ResolveAddressStream>,)| {
            let state = store.data_mut();
            let address = next(state, lookup);
            answer(state, address)
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}

/// The result of WASI's functions. The outer error is a trap.
type Answered<T> = wasmtime::Result<(Result<T, ErrorCode>,)>;

fn answer<T>(state: &mut State, done: SocketResult<T>) -> Answered<T> {
    Ok((match done {
        Ok(done) => Ok(done),
        Err(error) => Err(Network::convert_error_code(&mut state.sockets(), error)?),
    },))
}

/// Starts the lookup of a server's name; any other name is refused.
fn start(
    state: &mut State,
    network: Resource<NetworkHandle>,
    name: String,
) -> SocketResult<Resource<ResolveAddressStream>> {
    if !state.lookups.reachable.has_name(&name) {
        return Err(ErrorCode::AccessDenied.into());
    }
    let lookup = Lookup::resolve_addresses(&mut state.sockets(), network, name.clone())?;
    state.lookups.reachable.found().remove(&name);
    state.lookups.names.insert(lookup.rep(), name);
    Ok(lookup)
}

/// Returns the next address of a lookup. Records it, so that the instance may connect to it.
fn next(
    state: &mut State,
    lookup: Resource<ResolveAddressStream>,
) -> SocketResult<Option<IpAddress>> {
    let handle = lookup.rep();
    let next = HostResolveAddressStream::resolve_next_address(&mut state.sockets(), lookup)?;
    if let Some(address) = next
        && let Some(name) = state.lookups.names.get(&handle)
    {
        let address = match address {
            IpAddress::Ipv4((a, b, c, d)) => IpAddr::from([a, b, c, d]),
            IpAddress::Ipv6((a, b, c, d, e, f, g, h)) => IpAddr::from([a, b, c, d, e, f, g, h]),
        };
        let mut found = state.lookups.reachable.found();
        found.entry(name.clone()).or_default().push(address);
    }
    Ok(next)
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
