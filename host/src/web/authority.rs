//! The host and path of a request (RFC 9112, section 3.2).

use std::net::SocketAddr;

use hyper::header::HOST;
use hyper::http::request::Parts;
use hyper::http::uri::{Authority, PathAndQuery, Scheme};
use hyper::{Method, Uri, Version};

use super::failure::Failure;

/// Checks the target of a request, and makes its URI absolute.
///
/// The authority is taken from an absolute target, or else from the Host header. For an
/// HTTP/1.0 request without either it is `local`, the address at which the request was
/// received.
pub(super) fn complete(head: &mut Parts, local: SocketAddr) -> Result<(), Failure> {
    if head.method == Method::CONNECT {
        return Err(Failure::NotImplemented);
    }
    let mut hosts = head.headers.get_all(HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => {
            let host = Authority::try_from(host.as_bytes()).map_err(|_| Failure::Malformed)?;
            Some(checked(host)?)
        }
        (None, None) if head.version == Version::HTTP_10 => None,
        _ => return Err(Failure::Malformed),
    };
    let uri = std::mem::take(&mut head.uri).into_parts();
    let authority = match (uri.scheme, uri.authority, host) {
        (Some(scheme), Some(authority), _) if is_http(&scheme) => checked(authority)?,
        (None, None, Some(host)) => host,
        (None, None, None) => {
            let local = local.to_string();
            Authority::try_from(local).map_err(|_| Failure::Malformed)?
        }
        _ => return Err(Failure::Malformed),
    };
    let path = uri.path_and_query.ok_or(Failure::Malformed)?;
    if !path.as_str().starts_with('/') && !is_asterisk(&path, &head.method) {
        return Err(Failure::Malformed);
    }
    head.uri = Uri::builder()
        .scheme(Scheme::HTTP)
        .authority(authority)
        .path_and_query(path)
        .build()
        .map_err(|_| Failure::Malformed)?;
    Ok(())
}

/// Accepts a host with an optional port; refuses a user part.
fn checked(authority: Authority) -> Result<Authority, Failure> {
    let host = authority.host();
    let port = authority
        .as_str()
        .strip_prefix(host)
        .ok_or(Failure::Malformed)?;
    let is_port = match port.strip_prefix(':') {
        Some(port) => port.is_empty() || port.parse::<u16>().is_ok(),
        None => port.is_empty(),
    };
    match !host.is_empty() && is_port {
        true => Ok(authority),
        false => Err(Failure::Malformed),
    }
}

fn is_http(scheme: &Scheme) -> bool {
    *scheme == Scheme::HTTP || *scheme == Scheme::HTTPS
}

fn is_asterisk(path: &PathAndQuery, method: &Method) -> bool {
    path.as_str() == "*" && method == Method::OPTIONS
}
