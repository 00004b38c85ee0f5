//! A connection to a server that can be written to, with its statements prepared.

use crate::failure::{Failure, NO_POOLER, connect_error};
use crate::location::{Location, Server};
use crate::network::{self, Elapsed, Stream};
use crate::schema;
use crate::statements::Statements;
use crate::tls::{Connector, Encrypted};
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Instant;
use tokio_postgres::Client;
use tokio_postgres::types::Type;
use wasi_sessions_rules::connecting::{Migration, share, wall_clock};
use wasi_sessions_rules::error::Error;
use wasi_sessions_rules::options::{Durability, Options};

type Driver = tokio_postgres::Connection<Stream, Encrypted<Stream>>;

/// A connection. It makes progress only during [`Connection::run`]: nothing polls it
/// between calls.
pub struct Connection {
    client: Client,
    /// The future that reads and writes. Dropped as soon as it has ended: it owns the senders
    /// of the answers, and requests without an answer would wait forever.
    driver: Option<Pin<Box<Driver>>>,
    pub statements: Statements,
    /// By how many milliseconds the server's clock is ahead of this host's.
    pub clock_offset: i64,
}

impl Connection {
    /// Connects to the first server that can be written to, until `end` at most, and finds
    /// the table there. With a `migration`, creates or migrates the table if the options allow
    /// that, however long it takes. Each server, and each of its addresses, has an equal share
    /// of the time that is left. If every server fails, returns the failure of the last one
    /// that answered.
    pub async fn open(
        location: &Location,
        options: &Options,
        migration: Option<Migration<'_>>,
        end: Instant,
    ) -> Result<Connection, Failure> {
        let is_migrating = || migration.is_some_and(|migration| migration.has_begun.get());
        let mut failed = Failure::Final(Error::Busy);
        for (index, server) in location.servers.iter().enumerate() {
            let of_server = share(end, location.servers.len() - index);
            let addresses = match within(of_server, addresses(server), || false).await {
                Ok(Ok(addresses)) => addresses,
                Ok(Err(error)) => {
                    failed = error.into();
                    continue;
                }
                Err(Elapsed) => continue,
            };
            for (index, address) in addresses.iter().enumerate() {
                let until = share(of_server, addresses.len() - index);
                if let Some(migration) = migration {
                    migration.has_begun.set(false);
                }
                let opening = Connection::to(*address, &server.host, location, options, migration);
                match within(until, opening, is_migrating).await {
                    Ok(Ok(connection)) => return Ok(connection),
                    Ok(Err(error)) => failed = error,
                    Err(Elapsed) => {}
                }
            }
        }
        Err(failed)
    }

    async fn to(
        address: SocketAddr,
        host: &str,
        location: &Location,
        options: &Options,
        migration: Option<Migration<'_>>,
    ) -> Result<Connection, Failure> {
        let stream = network::connect(address).await;
        let stream = stream.map_err(|error| connect_error(&address.to_string(), &error))?;
        let tls = Connector {
            config: location.tls.clone(),
            host: host.to_owned(),
        };
        let connected = location.config.connect_raw(stream, tls).await;
        let (client, driver) = connected.map_err(|error| match error.is_closed() {
            // Closed without a message, as by a proxy, or a server that starts or stops.
            true => Failure::Final(Error::Busy),
            false => error.into(),
        })?;
        // PgBouncer says this from version 1.26 on.
        if let Some("transaction" | "statement") = driver.parameter("pgbouncer.pool_mode") {
            return Err(Error::Other(NO_POOLER.into()).into());
        }
        let mut driver = Some(Box::pin(driver));
        let prepared = drive(&mut driver, prepare(&client, options, migration)).await;
        let (statements, clock_offset) = prepared?;
        Ok(Connection {
            client,
            driver,
            statements,
            clock_offset,
        })
    }

    /// Runs work while it polls the connection.
    pub async fn run<T>(
        &mut self,
        work: impl AsyncFnOnce(&Client, &Statements) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let work = work(&self.client, &self.statements);
        drive(&mut self.driver, work).await
    }

    /// Whether the connection is still open. Polls it once, to notice whether the server has
    /// ended it since the last call.
    pub fn is_alive(&mut self) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        if let Some(driver) = &mut self.driver
            && driver.as_mut().poll(&mut context).is_ready()
        {
            self.driver = None;
        }
        self.driver.is_some()
    }
}

async fn drive<T>(driver: &mut Option<Pin<Box<Driver>>>, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    poll_fn(|context| {
        if let Poll::Ready(done) = work.as_mut().poll(context) {
            return Poll::Ready(done);
        }
        if let Some(running) = driver
            && running.as_mut().poll(context).is_ready()
        {
            *driver = None;
            return work.as_mut().poll(context);
        }
        Poll::Pending
    })
    .await
}

/// Polls a future until it is done, until `end` at most, or without a limit while
/// `is_unlimited`.
async fn within<T>(
    end: Instant,
    future: impl Future<Output = T>,
    is_unlimited: impl Fn() -> bool,
) -> Result<T, Elapsed> {
    let mut future = pin!(future);
    let mut timer = pin!(network::sleep(
        end.saturating_duration_since(Instant::now())
    ));
    poll_fn(|context| {
        if let Poll::Ready(done) = future.as_mut().poll(context) {
            return Poll::Ready(Ok(done));
        }
        if is_unlimited() {
            return Poll::Pending;
        }
        timer.as_mut().poll(context).map(|()| {
            network::release();
            Err(Elapsed)
        })
    })
    .await
}

async fn addresses(server: &Server) -> Result<Vec<SocketAddr>, Error> {
    let known = server.address.or_else(|| server.host.parse().ok());
    let found = match known {
        Some(address) => vec![address],
        None => {
            let found = network::resolve(&server.host).await;
            found.map_err(|error| connect_error(&format!("`{}`", server.host), &error))?
        }
    };
    let addresses = found.into_iter();
    Ok(addresses
        .map(|address| (address, server.port).into())
        .collect())
}

/// Configures the session, refuses a server that is read-only, and finds the table.
async fn prepare(
    client: &Client,
    options: &Options,
    migration: Option<Migration<'_>>,
) -> Result<(Statements, i64), Failure> {
    let commit = match options.durability {
        Durability::Full => "on",
        Durability::Relaxed => "off",
    };
    // The server's limits are a little shorter than the client's, so that the client gets an
    // error and can keep the connection.
    let limit = options.sync_timeout.max(10);
    let (lock, statement) = ((limit * 8 / 10).to_string(), (limit * 9 / 10).to_string());
    let limit = limit.to_string();
    let sent = wall_clock();
    // With `repeatable read`, `maxPerSubject` could be exceeded: a statement that waited for
    // a lock would not see what was committed meanwhile.
    let row = client
        .query_typed(
            "SELECT set_config('synchronous_commit', $1, false),
               set_config('lock_timeout', $2, false),
               set_config('statement_timeout', $3, false),
               set_config('idle_in_transaction_session_timeout', $4, false),
               set_config('default_transaction_isolation',
                 CASE current_setting('default_transaction_isolation')
                 WHEN 'repeatable read' THEN 'read committed'
                 ELSE current_setting('default_transaction_isolation') END, false),
               current_setting('transaction_read_only') = 'on',
               current_setting('fsync') = 'on',
               (extract(epoch FROM statement_timestamp()) * 1000)::int8",
            &[
                (&commit, Type::TEXT),
                (&lock, Type::TEXT),
                (&statement, Type::TEXT),
                (&limit, Type::TEXT),
            ],
        )
        .await?;
    let received = wall_clock();
    let [row] = &row[..] else {
        return Err(Error::Other("the server gave no settings".into()).into());
    };
    if row.get(5) {
        return Err(Failure::ReadOnly);
    }
    if !row.get::<_, bool>(6) && options.durability == Durability::Full {
        let words = "the server runs with `fsync = off`, with which nothing is durable: turn it \
                     on, or choose the durability `relaxed`";
        return Err(Error::Other(words.into()).into());
    }
    let clock_offset = row.get::<_, i64>(7) - (sent + received) / 2;
    let migration = migration.map(|migration| migration.by_server_clock(clock_offset));
    let table = schema::ready(client, options, migration).await?;
    if migration.is_some_and(|migration| migration.has_begun.get()) {
        let limit = "SELECT set_config('statement_timeout', $1, false)";
        client
            .query_typed(limit, &[(&statement, Type::TEXT)])
            .await?;
    }
    Ok((Statements::prepare(client, &table).await?, clock_offset))
}
