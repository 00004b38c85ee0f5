//! A connection to a server that can be written to, with its statements prepared.

use crate::failure::{Failure, connect_error};
use crate::location::{Location, Server};
use crate::network::{self, Stream};
use crate::schema;
use crate::statements::Statements;
use crate::tls::{Connector, Encrypted};
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::{SystemTime, UNIX_EPOCH};
use tokio_postgres::Client;
use tokio_postgres::types::Type;
use wasi_sessions_rules::error::Error;
use wasi_sessions_rules::options::{Durability, Options};
use wasi_sessions_rules::types::Timestamp;

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
    /// Connects to the first server that can be written to, and finds the table there. With
    /// `now`, creates or migrates the table if the options allow that. If every server
    /// fails, returns the failure of the last one.
    pub async fn open(
        location: &Location,
        options: &Options,
        now: Option<Timestamp>,
    ) -> Result<Connection, Failure> {
        let mut failed = Failure::Final(Error::Busy);
        for server in &location.servers {
            let addresses = match addresses(server).await {
                Ok(addresses) => addresses,
                Err(error) => {
                    failed = error.into();
                    continue;
                }
            };
            for address in addresses {
                match Connection::to(address, &server.host, location, options, now).await {
                    Ok(connection) => return Ok(connection),
                    Err(error) => failed = error,
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
        now: Option<Timestamp>,
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
        let mut driver = Some(Box::pin(driver));
        let prepared = drive(&mut driver, prepare(&client, options, now)).await;
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
    now: Option<Timestamp>,
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
    let table = schema::ready(client, options, now).await?;
    Ok((Statements::prepare(client, &table).await?, clock_offset))
}

/// The time of this host, in milliseconds, for measuring the difference to the server's.
fn wall_clock() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as i64)
}
