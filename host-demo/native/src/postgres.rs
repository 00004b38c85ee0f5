//! A store on PostgreSQL, with tokio-postgres.

use std::net::IpAddr;
use std::sync::Arc;

use anyhow::{Context, anyhow, ensure};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Config, NoTls, Statement};

use crate::{Session, hash, now};

/// The table of the store on PostgreSQL. No `tableName` of the measured store has a hyphen.
const TABLE: &str = "\"native-sessions\"";

/// A schema of its own in a database: for the tables of both sides of the bench, so that no
/// table of the database is used.
pub struct Schema {
    name: String,
    /// How to connect, with the schema as the search path.
    config: Config,
    client: Client,
}

impl Schema {
    /// Connects to a database without TLS, and creates a schema with a random name in it. The
    /// server must be on this machine, or the URL must have `sslmode=disable`.
    pub async fn create(url: &str, password: Option<&str>) -> anyhow::Result<Self> {
        let mut config = parse(url)?;
        if config.get_password().is_none()
            && let Some(password) = password
        {
            config.password(password);
        }
        let mut random = [0; 8];
        getrandom::fill(&mut random)?;
        let name = format!("wasi_sessions_bench_{:016x}", u64::from_ne_bytes(random));
        config.options(search_path(&config, &name));
        let client = connect(&config).await?;
        client
            .batch_execute(&format!("CREATE SCHEMA {name}"))
            .await
            .context("cannot create a schema for the bench")?;
        Ok(Self {
            name,
            config,
            client,
        })
    }

    /// The URL with which the measured store works in this schema.
    pub fn url(&self, url: &str) -> String {
        let options = self.config.get_options().unwrap_or_default();
        let options = utf8_percent_encode(options, NON_ALPHANUMERIC);
        let separator = if url.contains('?') { '&' } else { '?' };
        format!("{url}{separator}options={options}")
    }

    /// Copies a table with its rows and indexes, for [`Postgres`].
    pub async fn copy(&self, table: &str) -> anyhow::Result<()> {
        let copy = format!(
            "CREATE TABLE {TABLE} (LIKE \"{table}\" INCLUDING ALL) WITH (fillfactor = 80);
             INSERT INTO {TABLE} SELECT * FROM \"{table}\""
        );
        self.client.batch_execute(&copy).await?;
        for table in [TABLE, &format!("\"{table}\"")] {
            let vacuum = format!("VACUUM (ANALYZE) {table}");
            self.client.batch_execute(&vacuum).await?;
        }
        Ok(())
    }

    /// Opens a connection to the copied table.
    pub async fn open(&self) -> anyhow::Result<Postgres> {
        let client = connect(&self.config).await?;
        client.batch_execute("SET synchronous_commit = on").await?;
        let get = format!(
            "SELECT data, subject, version, created, updated, expires
             FROM {TABLE} WHERE key = $1 AND expires > $2 AND NOT ended"
        );
        let set = format!(
            "INSERT INTO {TABLE} AS s (key, version, created, updated, expires, due, ended, data)
             VALUES ($1, 1, $2, $2, $3, $3, false, $4)
             ON CONFLICT (key) DO UPDATE
             SET version = s.version + 1, updated = $2, expires = $3, data = $4
             RETURNING version"
        );
        Ok(Postgres {
            get: client.prepare(&get).await?,
            set: client.prepare(&set).await?,
            client: client.into(),
        })
    }

    /// The server's version.
    pub async fn server_version(&self) -> anyhow::Result<String> {
        let version = "SELECT current_setting('server_version')";
        Ok(self.client.query_one(version, &[]).await?.try_get(0)?)
    }

    /// Drops the schema with its tables.
    pub async fn remove(self) -> anyhow::Result<()> {
        let name = &self.name;
        let drop = format!("DROP SCHEMA {name} CASCADE");
        let dropped = self.client.batch_execute(&drop).await;
        dropped.with_context(|| format!("cannot drop the bench's schema `{name}`"))
    }
}

/// A store on PostgreSQL: a connection with prepared statements. Clones share the connection.
#[derive(Clone)]
pub struct Postgres {
    client: Arc<Client>,
    get: Statement,
    set: Statement,
}

impl Postgres {
    /// The live session, if there is one.
    pub async fn get(&self, id: &str) -> anyhow::Result<Option<Session>> {
        let parameters: &[&(dyn ToSql + Sync)] = &[&&hash(id)[..], &now()?];
        let row = self.client.query_opt(&self.get, parameters).await?;
        let Some(row) = row else {
            return Ok(None);
        };
        let subject: Option<Vec<u8>> = row.try_get(1)?;
        Ok(Some(Session {
            data: row.try_get(0)?,
            subject: subject.map(String::from_utf8).transpose()?,
            version: row.try_get(2)?,
            created: row.try_get(3)?,
            updated: row.try_get(4)?,
            expires: row.try_get(5)?,
        }))
    }

    /// Writes a session, whether or not it exists; returns its version. Its life is in
    /// milliseconds.
    pub async fn set(&self, id: &str, data: &[u8], life: u64) -> anyhow::Result<i64> {
        let now = now()?;
        let parameters: &[&(dyn ToSql + Sync)] =
            &[&&hash(id)[..], &now, &(now + life as i64), &data];
        let row = self.client.query_one(&self.set, parameters).await?;
        Ok(row.try_get(0)?)
    }
}

/// Parses a URL. No error repeats any of it, since it may contain a password.
fn parse(url: &str) -> anyhow::Result<Config> {
    let is_local = |host: &Host| match host {
        Host::Tcp(name) if name == "localhost" => true,
        Host::Tcp(name) => name
            .parse()
            .is_ok_and(|address: IpAddr| address.is_loopback()),
        #[cfg(unix)]
        Host::Unix(_) => false,
    };
    let config: Config = url.parse().map_err(|_| {
        anyhow!("the bench needs the URL of a PostgreSQL database, and one without TLS")
    })?;
    let hosts = config.get_hosts();
    let is_trusted = match config.get_ssl_mode() {
        SslMode::Disable => true,
        SslMode::Prefer => {
            let addresses = config.get_hostaddrs();
            !hosts.is_empty()
                && hosts.iter().all(is_local)
                && addresses.iter().all(IpAddr::is_loopback)
        }
        _ => false,
    };
    ensure!(
        is_trusted,
        "the bench has no TLS: the URL needs `sslmode=disable`, unless the server is on this \
         machine"
    );
    Ok(config)
}

/// The options of a connection whose tables are in a schema.
fn search_path(config: &Config, schema: &str) -> String {
    let others = config.get_options().map(|options| format!("{options} "));
    format!("{}-c search_path={schema}", others.unwrap_or_default())
}

/// Connects; a task of the runtime drives the connection until the client is dropped.
async fn connect(config: &Config) -> anyhow::Result<Client> {
    let connected = config.connect(NoTls).await;
    let (client, connection) = connected.context("cannot connect to the server")?;
    tokio::spawn(connection);
    Ok(client)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_servers_on_this_machine_are_reached_without_tls_unless_the_url_says_so() {
        for url in [
            "postgres://u@localhost/d",
            "postgres://u@127.0.0.1,[::1]/d",
            "postgres://u@localhost/d?hostaddr=127.0.0.1",
            "postgres://u@db.example/d?sslmode=disable",
        ] {
            assert!(parse(url).is_ok(), "{url}");
        }
        for url in [
            "postgres://u:secret@db.example/d",
            "postgres://u:secret@localhost,db.example/d",
            "postgres://u:secret@localhost/d?hostaddr=10.0.0.1",
            "postgres://u:secret@/d?hostaddr=10.0.0.1",
            "postgres://u:secret@localhost/d?sslmode=require",
            "postgres://u:secret@localhost/d?sslmode=verify-full",
            "postgres://u:secret@localhost:port/d",
            "mariadb://u:secret@localhost/d",
        ] {
            let words = parse(url).unwrap_err().to_string();
            assert!(words.contains("TLS"), "{words}");
            assert!(!words.contains("secret"), "{words}");
        }
    }
}
