//! The URL of a database: which component it is for, and which servers it names.
//!
//! The component parses the URL itself. The host parses it, too, to tell the sandbox which
//! servers to allow. If the two differ, the sandbox refuses the connection.

use std::net::{IpAddr, SocketAddr};

use crate::sandbox::compiled::Embedded;
use crate::sandbox::reachable::{Host, Server};
use crate::{Database, Error};

/// A kind of database, by the scheme of its URLs.
pub(crate) struct Kind {
    /// The schemes; errors name the first one.
    schemes: &'static [&'static str],
    /// The component, or what this build lacks to have it.
    component: Result<Embedded, &'static str>,
    /// The port if the URL has none.
    port: u16,
    /// Whether the parameters `host`, `hostaddr` and `port` of a URL name servers, too.
    has_server_parameters: bool,
    /// The environment variable in which the component looks for the password.
    pub(crate) password: &'static str,
}

/// The kinds of databases.
static KINDS: &[Kind] = &[
    Kind {
        schemes: &["postgres://", "postgresql://"],
        component: POSTGRES,
        port: 5432,
        has_server_parameters: true,
        password: "PGPASSWORD",
    },
    Kind {
        schemes: &["mariadb://", "mysql://"],
        component: MARIADB,
        port: 3306,
        has_server_parameters: false,
        password: "MYSQL_PWD",
    },
];

#[cfg(feature = "postgres")]
const POSTGRES: Result<Embedded, &str> = Ok(Embedded {
    wasm: include_bytes!(env!("WASI_SESSIONS_POSTGRES_FILE")),
    fingerprint: env!("WASI_SESSIONS_POSTGRES_FINGERPRINT"),
});
#[cfg(not(feature = "postgres"))]
const POSTGRES: Result<Embedded, &str> = Err("the crate's feature `postgres`");

#[cfg(mariadb_component)]
const MARIADB: Result<Embedded, &str> = Ok(Embedded {
    wasm: include_bytes!(env!("WASI_SESSIONS_MARIADB_FILE")),
    fingerprint: env!("WASI_SESSIONS_MARIADB_FINGERPRINT"),
});
#[cfg(all(feature = "mariadb", not(mariadb_component)))]
const MARIADB: Result<Embedded, &str> =
    Err("the component over MariaDB, which is built only where Rust has its target wasm32-wasip2");
#[cfg(not(feature = "mariadb"))]
const MARIADB: Result<Embedded, &str> = Err("the crate's feature `mariadb`");

impl Kind {
    /// The kind of database that a URL is for. The error contains no part of the URL, since a
    /// password with a reserved character can be in any part.
    pub(crate) fn of(url: &str) -> Result<&'static Kind, Error> {
        let fits = |kind: &&Kind| kind.schemes.iter().any(|scheme| url.starts_with(scheme));
        KINDS.iter().find(fits).ok_or_else(|| {
            let schemes: Vec<&str> = KINDS.iter().map(|kind| kind.schemes[0]).collect();
            let schemes = schemes.join("` or `");
            Error::InvalidArgument(format!("location: must start with `{schemes}`"))
        })
    }

    /// Refuses a URL with reserved characters that are not percent-encoded, since a part of
    /// a password could be taken for a server's name, which errors show.
    pub(crate) fn check(url: &str) -> Result<(), Error> {
        let rest = url.split_once("://").map_or("", |(_, rest)| rest);
        let is_unclear = rest
            .split_once('@')
            .is_some_and(|(user, rest)| user.contains(['/', '?']) || rest.contains('@'));
        if is_unclear {
            return Err(Error::InvalidArgument(
                "location: is not the URL of a database; percent-encode reserved characters in it"
                    .to_owned(),
            ));
        }
        Ok(())
    }

    /// The component over this kind of database; fails if this build does not contain it.
    pub(crate) fn component(&self) -> Result<Embedded, Error> {
        self.component
            .map_err(|lacks| Error::InvalidArgument(format!("location: this build lacks {lacks}")))
    }

    /// The servers that a URL of this kind names, which [`Kind::check`] has accepted. Leaves
    /// out those whose address or port is malformed.
    pub(crate) fn servers(&self, url: &str) -> Vec<Server> {
        let rest = url.split_once("://").map_or("", |(_, rest)| rest);
        let rest = rest.split_once('@').map_or(rest, |(_, rest)| rest);
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(end);
        let (mut hosts, mut ports, mut addresses) = (vec![], vec![], vec![]);
        for server in authority.split(',').filter(|server| !server.is_empty()) {
            let (host, port) = split_port(server);
            hosts.push(host.to_owned());
            ports.push(port.map_or(Some(self.port), |port| port.parse().ok()));
        }
        let query = match rest.split_once('?') {
            Some((_, query)) if self.has_server_parameters => query,
            _ => "",
        };
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "host" => hosts.push(value.into_owned()),
                "port" => ports.extend(value.split(',').map(|port| port.parse().ok())),
                "hostaddr" => {
                    addresses.extend(value.split(',').map(|address| address.parse().ok()));
                }
                _ => {}
            }
        }
        let count = hosts.len().max(addresses.len());
        let server = |index: usize| {
            let port = ports.get(index).or(ports.first()).copied();
            let host = match addresses.get(index) {
                Some(address) => Host::Address((*address)?),
                None => host(hosts.get(index)?),
            };
            Some(Server {
                host,
                port: port.unwrap_or(Some(self.port))?,
            })
        };
        (0..count).filter_map(server).collect()
    }
}

impl Database {
    /// The environment variable in which the programs of this kind of database look for a
    /// password: `PGPASSWORD`, or for MariaDB and MySQL `MYSQL_PWD`. `None` if the scheme of
    /// the URL is unknown. This crate itself reads no environment.
    pub fn password_variable(&self) -> Option<&'static str> {
        Kind::of(&self.url).ok().map(|kind| kind.password)
    }

    /// The component for this kind of database, which the scheme of the URL alone decides: for
    /// other hosts, or to be composed with a web component. Fails with
    /// [`InvalidArgument`](Error::InvalidArgument) if the scheme is unknown, or if this build
    /// lacks the component. The component over SQLite is [`COMPONENT`](crate::COMPONENT).
    pub fn component(&self) -> Result<&'static [u8], Error> {
        Ok(Kind::of(&self.url)?.component()?.wasm)
    }
}

/// Splits `host:port`; an IPv6 address is in brackets.
fn split_port(server: &str) -> (&str, Option<&str>) {
    if let Some(bracketed) = server.strip_prefix('[')
        && let Some((host, rest)) = bracketed.split_once(']')
    {
        return (host, rest.strip_prefix(':'));
    }
    match server.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (server, None),
    }
}

fn host(text: &str) -> Host {
    match text.parse::<IpAddr>() {
        Ok(address) => Host::Address(address),
        Err(_) => Host::Name(text.to_owned()),
    }
}

/// Servers as text, for errors.
pub(crate) fn show(servers: &[Server]) -> String {
    let one = |server: &Server| match &server.host {
        Host::Address(address) => SocketAddr::new(*address, server.port).to_string(),
        Host::Name(name) => format!("{name}:{}", server.port),
    };
    servers.iter().map(one).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(url: &str) -> String {
        show(&Kind::of(url).unwrap().servers(url))
    }

    #[test]
    fn a_url_names_servers_as_the_component_reads_it() {
        for (url, servers) in [
            ("postgres://u:p@localhost/d", "localhost:5432"),
            ("postgresql://u@127.0.0.1:7?sslmode=disable", "127.0.0.1:7"),
            (
                "postgres://u:p@db.example:6432,127.0.0.2,[::1]:7/d?x=host",
                "db.example:6432, 127.0.0.2:5432, [::1]:7",
            ),
            (
                "postgres://u@db.example/d?hostaddr=127.0.0.1",
                "127.0.0.1:5432",
            ),
            ("postgres:///d?user=u&host=127.0.0.1&port=7", "127.0.0.1:7"),
            ("postgres://u@a:1,b:2/d", "a:1, b:2"),
            ("postgres://u@127.0.0.1:port/d", ""),
            ("postgres://", ""),
            ("mysql://u:p@localhost/d", "localhost:3306"),
            (
                "mariadb://u:p@db.example:1,127.0.0.2,[::1]:7/d?ssl-mode=DISABLED",
                "db.example:1, 127.0.0.2:3306, [::1]:7",
            ),
            (
                "mariadb://u@db/d?host=x&hostaddr=127.0.0.1&port=1",
                "db:3306",
            ),
        ] {
            assert_eq!(shown(url), servers, "{url}");
        }
    }

    #[test]
    fn the_environment_variable_with_the_password_depends_on_the_kind_of_database() {
        for (url, variable) in [
            ("postgresql://user@host/d", Some("PGPASSWORD")),
            ("mariadb://user@host/d", Some("MYSQL_PWD")),
            ("mysql://user@host/d", Some("MYSQL_PWD")),
            ("other://user@host/d", None),
        ] {
            assert_eq!(Database::new(url).password_variable(), variable, "{url}");
        }
    }

    #[test]
    fn a_build_without_the_component_says_what_it_lacks() {
        let kind = Kind {
            component: Err("the crate's feature `other`"),
            ..KINDS[0]
        };
        let words = kind.component().unwrap_err().to_string();
        assert!(
            words.ends_with("this build lacks the crate's feature `other`"),
            "{words}"
        );
    }

    #[test]
    fn a_url_in_which_a_password_could_be_a_server_is_refused() {
        for url in [
            "postgres://u:p@ss@db/d",
            "postgres://u:p@ss/word@db/d",
            "postgres://u:a@b?c@db/d",
            "postgres://db/d?user=u&password=p@ss",
            "postgres://db:5432/d?user=u&password=p@ss",
        ] {
            let words = Kind::check(url).unwrap_err().to_string();
            assert!(words.contains("percent-encode"), "{words}");
        }
        for url in ["postgres://u:p%40ss@db:1,c/d?x=y", "postgres:///d?host=db"] {
            assert_eq!(Kind::check(url), Ok(()), "{url}");
        }
    }

    #[test]
    fn a_url_of_another_kind_is_refused_without_repeating_it() {
        for url in ["", "sessions.db", "sqlite://secret", "POSTGRES:secret"] {
            let words = Kind::of(url).err().unwrap().to_string();
            assert!(words.ends_with("`postgres://` or `mariadb://`"), "{words}");
            assert!(!words.contains("secret"), "{words}");
        }
    }
}
