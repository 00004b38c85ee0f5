//! The network of an instance: TCP to some servers, and lookups of their names. The host
//! replaces WASI's functions for name lookups, so that an instance can look up no other name
//! and can connect only to the addresses that were found.

use std::net::IpAddr;

use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi::p2::bindings::sockets::ip_name_lookup::{
    Host as Lookup, HostResolveAddressStream, ResolveAddressStream,
};
use wasmtime_wasi::p2::bindings::sockets::network::{ErrorCode, Host as Network, IpAddress};
use wasmtime_wasi::p2::{Network as NetworkHandle, SocketResult};
use wasmtime_wasi::sockets::WasiSocketsView;

use crate::sandbox::state::State;

/// The interface whose functions are replaced, in the version of wasmtime-wasi. If the
/// versions differed, no address would be recorded, and an instance could connect to no server
/// by its name.
const LOOKUP: &str = "wasi:sockets/ip-name-lookup@0.2.12";

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
    if !state.lookups.allows(&name) {
        return Err(ErrorCode::AccessDenied.into());
    }
    let lookup = Lookup::resolve_addresses(&mut state.sockets(), network, name.clone())?;
    state.lookups.begin(lookup.rep(), name);
    Ok(lookup)
}

/// Returns the next address of a lookup. Records it, so that the instance may connect to it.
fn next(
    state: &mut State,
    lookup: Resource<ResolveAddressStream>,
) -> SocketResult<Option<IpAddress>> {
    let handle = lookup.rep();
    let next = HostResolveAddressStream::resolve_next_address(&mut state.sockets(), lookup)?;
    if let Some(address) = next {
        let address = match address {
            IpAddress::Ipv4((a, b, c, d)) => IpAddr::from([a, b, c, d]),
            IpAddress::Ipv6((a, b, c, d, e, f, g, h)) => IpAddr::from([a, b, c, d, e, f, g, h]),
        };
        state.lookups.add(handle, address);
    }
    Ok(next)
}
