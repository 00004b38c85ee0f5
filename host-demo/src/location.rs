//! Arguments that several commands share: the location of the database, and numbers.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use tempfile::TempDir;
use wasi_sessions::Options;

use crate::database::Database;
use crate::secrets;
use crate::server::{Place, Server};

/// The error if a command lacks its database.
pub const NEEDS_PLACE: &str = "a command needs --directory <DIR> or --store <URL>";

/// The location of the database, with its keys.
#[derive(Debug, Args)]
pub struct Location {
    /// The database's directory; every command on a database needs it or --store. Without it
    /// `serve` and the story create a temporary one. `bench` and `soak` create theirs in a
    /// temporary folder in it
    #[arg(long, global = true, value_name = "DIR")]
    pub directory: Option<PathBuf>,
    /// Instead of a directory, a database on a server: postgres://user@host/database, with its
    /// password in the environment variable PGPASSWORD, or mariadb://user@host/database, with
    /// MYSQL_PWD. Other users of the machine can see a password in the URL
    #[arg(long, global = true, value_name = "URL", value_parser = Url::parse)]
    pub store: Option<Url>,
    /// How long a request to that server may take, including connecting, such as 500ms or 5m
    /// [default: 3s for `serve`, 30s for the commands, some of which read the whole table]
    #[arg(long, global = true, value_name = "TIME", value_parser = time_out)]
    pub store_timeout: Option<Duration>,
    /// A file with the trusted root certificates for the server's certificate, in PEM [default:
    /// the public ones]
    #[arg(long, global = true, value_name = "FILE")]
    pub tls_roots: Option<PathBuf>,
    /// The database's file in the directory [default: sessions.db]
    #[arg(long, global = true, value_name = "NAME")]
    pub file: Option<String>,
    /// The table that holds the sessions
    #[arg(long, global = true, value_name = "NAME", default_value = "Sessions")]
    pub table: String,
    /// A file whose first line is the key that encrypts the database; its permissions are not
    /// checked. Without it, the key is in the environment variable WASI_SESSIONS_KEY
    #[arg(long, global = true, value_name = "FILE")]
    pub key_file: Option<PathBuf>,
    /// A file with the previous key, or `none` if there was none, until `collect` has ended.
    /// Without it, the key is in the environment variable WASI_SESSIONS_PREVIOUS_KEY
    #[arg(long, global = true, value_name = "FILE")]
    pub previous_key_file: Option<PathBuf>,
}

/// How long a command's request to a server may take: longer than a server's, since `stats`,
/// `check` and `terminate --subject` may read a large table.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(30);

/// A temporary directory for measurements: in `directory`, or else where the system has its
/// temporary directories.
pub fn temporary(directory: Option<&Path>) -> anyhow::Result<TempDir> {
    let mut builder = tempfile::Builder::new();
    builder.prefix("wasi-sessions-");
    let made = match directory {
        Some(directory) => builder.tempdir_in(directory),
        None => builder.tempdir(),
    };
    made.context("cannot create a temporary directory")
}

impl Location {
    /// The database that was given.
    pub fn place(&self) -> anyhow::Result<Place> {
        match self.server(COMMAND_TIMEOUT)? {
            Some(server) => Ok(Place::Server(server)),
            None => {
                let directory = self.directory.as_ref().context(NEEDS_PLACE)?;
                Ok(Place::Directory(self.database_in(directory)?))
            }
        }
    }

    /// The database on a server, if one was given. A request may take as long as the user
    /// allows, or else `timeout`.
    pub fn server(&self, timeout: Duration) -> anyhow::Result<Option<Server>> {
        let url = self.store.as_ref();
        url.map(|url| self.server_at(url.as_str(), timeout))
            .transpose()
    }

    /// The database at another URL.
    pub fn server_at(&self, url: &str, timeout: Duration) -> anyhow::Result<Server> {
        let options = Options {
            table_name: self.table.clone(),
            sync_timeout: self.store_timeout.unwrap_or(timeout),
            // The store refuses keys, since it would not encrypt with them.
            key: secrets::key(self.key_file.as_deref())?,
            previous_key: secrets::previous_key(self.previous_key_file.as_deref())?,
            ..Options::default()
        };
        Server::new(url, self.tls_roots.as_deref(), options)
    }

    /// Why these options exclude each other, if they do.
    pub fn contradiction(&self) -> Option<&'static str> {
        match (&self.store, &self.directory) {
            (Some(_), Some(_)) => Some("--store replaces --directory"),
            (Some(_), None) if self.file.is_some() => Some("--file belongs to --directory"),
            (None, _) if self.tls_roots.is_some() => Some("--tls-roots belongs to --store"),
            (None, _) if self.store_timeout.is_some() => Some("--store-timeout belongs to --store"),
            _ => None,
        }
    }

    /// The database in another directory.
    pub fn database_in(&self, directory: &Path) -> anyhow::Result<Database> {
        Ok(Database {
            directory: directory.to_owned(),
            file: self.file.as_deref().unwrap_or("sessions.db").to_owned(),
            table: self.table.clone(),
            key: secrets::key(self.key_file.as_deref())?,
            previous_key: secrets::previous_key(self.previous_key_file.as_deref())?,
        })
    }
}

/// The URL of a database on a server. It may contain a password, so `Debug` does not show it.
#[derive(Clone)]
pub struct Url(String);

impl Url {
    /// Accepts any text; the store checks it when it is opened.
    fn parse(text: &str) -> Result<Self, String> {
        match text.is_empty() {
            true => Err("it must not be empty".to_owned()),
            false => Ok(Self(text.to_owned())),
        }
    }

    /// The URL as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Url").finish_non_exhaustive()
    }
}

/// Parses a time-out such as 500ms or 1m.
pub fn time_out(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(Duration::ZERO) => Err("it must be more than 0".to_owned()),
        Ok(time) => Ok(time),
        Err(error) => Err(error.to_string()),
    }
}

/// Parses a whole number that is at least `LEAST`.
pub fn at_least<const LEAST: u64>(text: &str) -> Result<u64, String> {
    let number = text.parse().ok().filter(|number| *number >= LEAST);
    number.ok_or_else(|| format!("it must be a whole number from {LEAST} to {}", u64::MAX))
}
