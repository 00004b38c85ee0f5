//! A database on a server, as a program passes it to a builder.

use std::fmt;

use zeroize::Zeroizing;

use crate::Error;

/// The maximum number of connections of a store.
const MOST_CONNECTIONS: usize = 64;

/// A database on a server, which several machines can share: its URL, and how to connect to
/// it. `Debug` shows neither the URL nor the password.
///
/// ```
/// use wasi_sessions::Database;
///
/// let database = Database::new("postgres://shop@db.example/shop")
///     .password("secret")
///     .connections(8);
/// # let _ = database;
/// ```
#[derive(Clone)]
pub struct Database {
    pub(crate) url: Zeroizing<String>,
    pub(crate) password: Option<Zeroizing<String>>,
    pub(crate) connections: usize,
    pub(crate) tls_roots: Option<String>,
}

impl Database {
    /// The database with this URL, `scheme://user@host:port,other-host:port/database`. The
    /// scheme is `postgres` or `postgresql`, which need the crate's feature `postgres`, or
    /// `mariadb` or `mysql`, which need its feature `mariadb`. The READMEs of
    /// `component/postgres` and `component/mariadb` say what a URL may contain, and when the
    /// connection is encrypted.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: Zeroizing::new(url.into()),
            password: None,
            connections: 4,
            tls_roots: None,
        }
    }

    /// The password, unless the URL contains it. The component gets it as the environment
    /// variable [`password_variable`](Self::password_variable).
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.password = Some(Zeroizing::new(password.into()));
        self
    }

    /// The maximum number of connections, 1 to 64; 4 by default. Another one, with its own
    /// instance of the component, is opened when a request finds all busy, and closed after
    /// 5 seconds without use; one stays open.
    ///
    /// Writes can wait for a lock, and the functions for operators (such as
    /// [`stats`](crate::Sessions::stats)) can read a whole table. With two connections, one is
    /// always free of both, so that reads do not wait for them; with three or more, one is
    /// also free of operators' functions, for writes. With four or more, one belongs to the runtime
    /// of the program's tasks, as long as they use it: to the first runtime with several threads
    /// of which a task asks. A single task then waits less for its answers. A single connection does one after the
    /// other, so that each request can wait for
    /// [`sync_timeout`](crate::Options::sync_timeout), and is then
    /// [`Busy`](crate::Error::Busy).
    pub fn connections(mut self, most: usize) -> Self {
        self.connections = most;
        self
    }

    /// The root certificates to trust for the server's certificate, in PEM, about 1 MB at most;
    /// by default the public ones.
    pub fn tls_roots(mut self, pem: impl Into<String>) -> Self {
        self.tls_roots = Some(pem.into());
        self
    }

    /// Refuses a number of connections out of range.
    pub(crate) fn check(&self) -> Result<(), Error> {
        match self.connections {
            1..=MOST_CONNECTIONS => Ok(()),
            other => Err(Error::InvalidArgument(format!(
                "connections: {other}; it must be 1 to {MOST_CONNECTIONS}"
            ))),
        }
    }
}

impl From<&str> for Database {
    fn from(url: &str) -> Self {
        Self::new(url)
    }
}

impl From<String> for Database {
    fn from(url: String) -> Self {
        Self::new(url)
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Database")
            .field("connections", &self.connections)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_password() {
        let database = Database::new("postgres://user:secret@host/d").password("secret");
        assert!(!format!("{database:?}").contains("secret"));
    }

    #[test]
    fn a_number_of_connections_out_of_range_is_refused() {
        for (count, is_accepted) in [(0, false), (1, true), (64, true), (65, false)] {
            let database = Database::new("").connections(count);
            assert_eq!(database.check().is_ok(), is_accepted, "{count}");
        }
    }
}
