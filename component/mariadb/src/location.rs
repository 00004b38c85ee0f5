//! The location of a store: the URL of a database.

use mysql_async::{Opts, OptsBuilder, SslOpts};
use percent_encoding::percent_decode_str;
use std::net::SocketAddr;
use tokio_rustls::rustls::RootCertStore;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use url::Url;
use wasi_sessions_rules::error::Error;

/// The port of MySQL where the URL names none.
const PORT: u16 = 3306;

/// The largest packet that the protocol has, in bytes: the server says what it accepts.
const LARGEST_PACKET: usize = 1 << 30;

/// More statements than [`crate::statements::Statements`] has.
const PREPARED: usize = 64;

/// A parsed URL. It has a password: it is neither shown nor part of an error.
pub struct Location {
    user: String,
    password: Option<String>,
    database: String,
    /// The servers, in the order in which they are tried.
    pub servers: Vec<Server>,
    /// How to connect with TLS; `None` if the network to the servers is trusted.
    tls: Option<SslOpts>,
}

/// A server of a URL.
#[derive(Debug, PartialEq, Eq)]
pub struct Server {
    /// Its name, or its address as text.
    pub host: String,
    pub port: u16,
}

impl Location {
    /// Parses a URL, `mysql://user:password@host:port,host:port/database?ssl-mode=…`. No
    /// error repeats any of it, since a password with a reserved character can be in any
    /// part. `roots` are certificates in PEM; without them the public ones are trusted.
    pub fn parse(url: &str, roots: Option<&str>) -> Result<Location, Error> {
        let rest = url
            .strip_prefix("mariadb://")
            .or_else(|| url.strip_prefix("mysql://"))
            .ok_or_else(|| Error::invalid("location: must start with `mariadb://`"))?;
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let (user, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
        let mut servers = vec![];
        let mut parsed = None;
        for host in hosts.split(',') {
            let one = Url::parse(&format!("mysql://{user}@{host}{path}"));
            let one = one.map_err(|_| malformed())?;
            servers.push(server(&one)?);
            parsed.get_or_insert(one);
        }
        let url = parsed.ok_or_else(malformed)?;
        let database = decoded(url.path().strip_prefix('/').unwrap_or_default())?;
        let user = decoded(url.username())?;
        if user.is_empty() {
            return Err(Error::invalid("location: names no user"));
        }
        if database.is_empty() || database.contains('/') || url.fragment().is_some() {
            return Err(Error::invalid(
                "location: must end with the name of a database",
            ));
        }
        let is_trusted = match has_tls(&url)? {
            Some(has_tls) => !has_tls,
            None => servers.iter().all(Server::is_loopback),
        };
        let password = url.password().map(decoded).transpose()?;
        Ok(Location {
            user,
            password: password.or_else(|| std::env::var("MYSQL_PWD").ok()),
            database,
            servers,
            tls: match is_trusted {
                true => None,
                false => Some(tls(roots)?),
            },
        })
    }

    /// How to connect to a server, at one of its addresses.
    pub fn options(&self, server: &Server, address: SocketAddr) -> Opts {
        OptsBuilder::default()
            .ip_or_hostname(&server.host)
            .resolved_ips(Some([address.ip()]))
            .tcp_port(address.port())
            .user(Some(&self.user))
            .pass(self.password.as_ref())
            .db_name(Some(&self.database))
            .prefer_socket(false)
            .stmt_cache_size(PREPARED)
            .ssl_opts(self.tls.clone())
            // Known, so that the library does not ask the server for them.
            .max_allowed_packet(Some(LARGEST_PACKET))
            .wait_timeout(Some(0))
            .into()
    }
}

impl Server {
    /// Whether what is sent to it stays on this machine.
    fn is_loopback(&self) -> bool {
        let address: Option<std::net::IpAddr> = self.host.parse().ok();
        address.map_or(self.host == "localhost", |address| address.is_loopback())
    }
}

fn server(url: &Url) -> Result<Server, Error> {
    let host = url.host_str().unwrap_or_default();
    let host = host.strip_prefix('[').unwrap_or(host);
    let host = host.strip_suffix(']').unwrap_or(host);
    if host.is_empty() {
        return Err(Error::invalid("location: names no host"));
    }
    Ok(Server {
        host: decoded(host)?,
        port: url.port().unwrap_or(PORT),
    })
}

/// Whether the URL asks for TLS or against it.
fn has_tls(url: &Url) -> Result<Option<bool>, Error> {
    let mut has_tls = None;
    for (name, value) in url.query_pairs() {
        if name != "ssl-mode" {
            return Err(Error::invalid(
                "location: `ssl-mode` is the only parameter that is known",
            ));
        }
        has_tls = Some(match &*value.to_ascii_uppercase() {
            "DISABLED" => false,
            "VERIFY_IDENTITY" => true,
            _ => {
                return Err(Error::invalid(
                    "location: `ssl-mode` must be `VERIFY_IDENTITY` or `DISABLED`: the others \
                     do not protect against those who can change what is sent",
                ));
            }
        });
    }
    Ok(has_tls)
}

fn tls(roots: Option<&str>) -> Result<SslOpts, Error> {
    let tls = SslOpts::default();
    let Some(roots) = roots else {
        return Ok(tls);
    };
    let unusable = |why| Error::invalid(format!("options: `tlsRoots` {why}"));
    let mut trusted = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(roots.as_bytes()) {
        let added = certificate.ok().and_then(|one| trusted.add(one).ok());
        added.ok_or_else(|| unusable("has an entry that is not a certificate"))?;
    }
    if trusted.is_empty() {
        return Err(unusable("has no certificate in PEM"));
    }
    let roots = roots.as_bytes().to_vec();
    Ok(tls
        .with_root_certs(vec![roots.into()])
        .with_disable_built_in_roots(true))
}

fn decoded(part: &str) -> Result<String, Error> {
    let decoded = percent_decode_str(part).decode_utf8();
    decoded
        .map(|text| text.into_owned())
        .map_err(|_| malformed())
}

fn malformed() -> Error {
    Error::invalid("location: is no URL of a database; percent-encode reserved characters in it")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<Location, Error> {
        Location::parse(url, None)
    }

    fn refusal(url: &str) -> String {
        match parse(url) {
            Err(Error::InvalidArgument(words)) => words,
            other => panic!("{url}: {:?}", other.map(drop)),
        }
    }

    #[test]
    fn a_url_has_hosts_and_ports_in_their_order() {
        let url = "mysql://u:p@localhost:5433,127.0.0.2,[::1]:7/d";
        let servers = parse(url).unwrap().servers;
        let names: Vec<_> = servers.iter().map(|one| (&*one.host, one.port)).collect();
        assert_eq!(
            names,
            [("localhost", 5433), ("127.0.0.2", 3306), ("::1", 7)]
        );
    }

    #[test]
    fn its_parts_are_decoded() {
        let location = parse("mysql://al%40ice:s%2Fcr%3At@localhost/my%20shop").unwrap();
        assert_eq!(location.user, "al@ice");
        assert_eq!(location.password.as_deref(), Some("s/cr:t"));
        assert_eq!(location.database, "my shop");
    }

    #[test]
    fn a_refusal_repeats_nothing_of_the_url() {
        for url in [
            "sessions.db",
            "postgres://user:secret@localhost/d",
            "mysql://user:secret@/d",
            "mysql://user:secret@localhost",
            "mysql://user:secret@localhost:port/d",
            "mysql://user:sec/ret@localhost/d",
            "mysql://localhost/d?password=secret",
            "mysql://user:secret@localhost/d?ssl-mode=secret",
            "mysql://user:secret@localhost/d?ssl-mode=PREFERRED",
            "mysql://user:secret@localhost/d?secret=1",
            "mysql://user:secret@localhost/d#secret",
            "mysql://user:sec%FFret@localhost/d",
        ] {
            let words = refusal(url);
            assert!(words.starts_with("location: "), "{words}");
            assert!(!words.contains("sec") && !words.contains("ret@"), "{words}");
        }
    }

    #[test]
    fn only_this_machine_is_trusted_without_tls_unless_the_url_says_so() {
        let has_tls = |url: &str| parse(url).unwrap().tls.is_some();
        for url in [
            "mysql://u@localhost/d",
            "mysql://u@127.8.0.1/d",
            "mysql://u@[::1]/d",
            "mysql://u@db.example/d?ssl-mode=disabled",
        ] {
            assert!(!has_tls(url), "{url}");
        }
        for url in [
            "mysql://u@db.example/d",
            "mysql://u@localhost,db.example/d",
            "mysql://u@localhost.example/d",
            "mysql://u@localhost/d?ssl-mode=VERIFY_IDENTITY",
        ] {
            assert!(has_tls(url), "{url}");
        }
    }

    #[test]
    fn roots_without_a_certificate_are_refused() {
        let url = "mysql://u@db.example/d";
        let damaged = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
        for roots in ["", "no PEM", damaged, &damaged.replace("MIIB", "&")] {
            let refused = Location::parse(url, Some(roots)).err();
            assert!(
                matches!(refused, Some(Error::InvalidArgument(words)) if words.contains("`tlsRoots`")),
                "{roots}"
            );
        }
    }
}
