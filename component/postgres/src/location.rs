//! The location of a store: the URL of a database.

use crate::tls;
use std::net::IpAddr;
use std::sync::Arc;
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};
use tokio_rustls::rustls::ClientConfig;
use wasi_sessions_rules::error::Error;

/// The port if the URL has none.
const PORT: u16 = 5432;

/// A parsed URL. It may contain a password, so no error or `Debug` output shows it.
pub struct Location {
    /// The parameters with which a connection is started.
    pub config: Config,
    /// The servers, in the order in which they are tried.
    pub servers: Vec<Server>,
    /// How to connect with TLS; `None` if the network to the servers is trusted.
    pub tls: Option<Arc<ClientConfig>>,
}

/// A server of a URL.
pub struct Server {
    /// Its name, or its address as text.
    pub host: String,
    /// Its address, if the URL has it.
    pub address: Option<IpAddr>,
    pub port: u16,
}

impl Location {
    /// Parses a URL, `postgres://user:password@host:port,host:port/database?options`.
    /// No error repeats any of it, since a password with a reserved character can be in
    /// any part. `roots` are certificates in PEM; without them the public ones are trusted.
    pub fn parse(url: &str, roots: Option<&str>) -> Result<Location, Error> {
        if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
            return Err(Error::invalid("location: must start with `postgres://`"));
        }
        // A password may contain what looks like a parameter.
        let host = url.find('@').map_or(0, |at| at + 1);
        let base = url[host..].find('?').map_or(url.len(), |mark| host + mark);
        let (base, parameters) = url.split_at(base);
        let parameters: Vec<&str> = parameters.split_inclusive(['?', '&']).collect();
        // The library has no `verify-full`; with our TLS, `require` verifies certificates and
        // names, too.
        let known = |parameter: &&str| match parameter.strip_prefix("sslmode=verify-full") {
            Some(rest @ ("" | "&")) => format!("sslmode=require{rest}"),
            _ => (*parameter).to_owned(),
        };
        let known: String = parameters.iter().map(known).collect();
        let known = format!("{base}{known}");
        let mut config: Config = known.parse().map_err(|_| {
            Error::invalid(
                "location: is not the URL of a database; percent-encode reserved characters in it",
            )
        })?;
        if config.get_user().is_none() {
            return Err(Error::invalid("location: names no user"));
        }
        if config.get_password().is_none()
            && let Ok(password) = std::env::var("PGPASSWORD")
        {
            config.password(password);
        }
        let servers = servers(&config)?;
        let is_explicit = parameters
            .iter()
            .any(|parameter| parameter.starts_with("sslmode="));
        let is_plain = match config.get_ssl_mode() {
            SslMode::Disable => true,
            SslMode::Prefer if is_explicit => {
                return Err(Error::invalid(
                    "location: `sslmode=prefer` gives no protection, since it falls back to plain \
                     text: choose `verify-full` or `disable`",
                ));
            }
            SslMode::Prefer => servers.iter().all(Server::is_loopback),
            _ => false,
        };
        let tls = match is_plain {
            true => None,
            false => Some(tls::configure(roots)?),
        };
        config.ssl_mode(match is_plain {
            true => SslMode::Disable,
            false => SslMode::Require,
        });
        Ok(Location {
            config,
            servers,
            tls,
        })
    }
}

impl Server {
    /// Whether the server is on this machine.
    fn is_loopback(&self) -> bool {
        let address = self.address.or_else(|| self.host.parse().ok());
        address.map_or(self.host == "localhost", |address| address.is_loopback())
    }
}

fn servers(config: &Config) -> Result<Vec<Server>, Error> {
    let (hosts, ports) = (config.get_hosts(), config.get_ports());
    let addresses = config.get_hostaddrs();
    let name = |host: &Host| match host {
        Host::Tcp(name) => Ok(name.clone()),
        #[cfg(unix)]
        Host::Unix(_) => Err(Error::invalid(
            "location: names a Unix socket, which WASI does not have",
        )),
    };
    let count = hosts.len().max(addresses.len());
    let is_paired = [hosts.len(), addresses.len()]
        .iter()
        .all(|&length| length == 0 || length == count);
    if count == 0 || !is_paired || (ports.len() > 1 && ports.len() != count) {
        return Err(Error::invalid(
            "location: needs a host, and as many ports and `hostaddr`s as hosts, if any",
        ));
    }
    (0..count)
        .map(|index| {
            let address = addresses.get(index).copied();
            let host = match (hosts.get(index), address) {
                (Some(host), _) => name(host)?,
                (None, address) => address
                    .map(|address| address.to_string())
                    .unwrap_or_default(),
            };
            let port = ports.get(index).or(ports.first()).copied();
            Ok(Server {
                host,
                address,
                port: port.unwrap_or(PORT),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(url: &str) -> String {
        match Location::parse(url, None) {
            Err(Error::InvalidArgument(words)) => words,
            other => panic!("{url}: {:?}", other.map(drop)),
        }
    }

    #[test]
    fn a_url_has_hosts_and_ports_in_their_order() {
        let url = "postgres://u:p@localhost:5433,127.0.0.2,[::1]:7/d?sslmode=disable";
        let servers = Location::parse(url, None).unwrap().servers;
        let names: Vec<_> = servers.iter().map(|one| (&*one.host, one.port)).collect();
        assert_eq!(
            names,
            [("localhost", 5433), ("127.0.0.2", 5432), ("::1", 7)]
        );
    }

    #[test]
    fn a_refusal_repeats_nothing_of_the_url() {
        for url in [
            "sessions.db",
            "host=localhost password=secret",
            "postgres://user:secret@",
            "postgres://user:secret@localhost:port/d",
            "postgres://localhost/d?password=secret",
            "postgres://user:secret@%2Ftmp/d",
            "postgres://user:secret@localhost/d?sslmode=secret",
            "postgres://user:secret@localhost/d?sslmode=prefer",
        ] {
            let words = refusal(url);
            assert!(words.starts_with("location: "), "{words}");
            assert!(!words.contains("sec") && !words.contains("ret@"), "{words}");
        }
    }

    #[test]
    fn only_this_machine_is_trusted_without_tls_unless_the_url_says_so() {
        let has_tls = |url: &str| Location::parse(url, None).unwrap().tls.is_some();
        for url in [
            "postgres://u@localhost/d",
            "postgres://u@127.8.0.1/d",
            "postgres://u@[::1]/d",
            "postgres://u@db.example/d?hostaddr=127.0.0.1",
            "postgres://u@db.example/d?sslmode=disable",
        ] {
            assert!(!has_tls(url), "{url}");
        }
        for url in [
            "postgres://u@db.example/d",
            "postgres://u@localhost,db.example/d",
            "postgres://u@localhost.example/d",
            "postgres://u@localhost/d?sslmode=require",
            "postgres://u@localhost/d?sslmode=verify-full",
            "postgres://u@localhost/d?sslmode=verify-full&application_name=sessions",
            "postgres://u@localhost/d?application_name=sessions&sslmode=verify-full",
        ] {
            assert!(has_tls(url), "{url}");
        }
    }

    #[test]
    fn a_password_may_contain_what_looks_like_a_parameter() {
        for password in ["?sslmode=verify-full", "sslmode=prefer", "?sslmode=prefer&"] {
            let url = format!("postgres://u:{password}@localhost/d");
            let location = Location::parse(&url, None).unwrap();
            assert_eq!(location.config.get_password(), Some(password.as_bytes()));
            assert!(location.tls.is_none());
        }
    }
}
