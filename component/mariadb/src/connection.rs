//! A connection to a server that can be written to, with the statements for its table.

use crate::failure::{Failure, connect_failure, io_error};
use crate::link::{Link, column};
use crate::location::{Location, Server};
use crate::network::{self, Elapsed};
use crate::statements::Statements;
use crate::table;
use mysql_async::Conn;
use std::cell::Cell;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::{Duration, Instant};
use wasi_sessions_rules::connecting::{MIGRATING, Migration, share, wall_clock};
use wasi_sessions_rules::error::Error;
use wasi_sessions_rules::options::{Durability, Options};
use wasi_sessions_rules::types::Timestamp;

/// A connection that was unused for so long is asked whether it is alive before anything is
/// sent. A server ends a connection after some seconds at the earliest.
const UNUSED: Duration = Duration::from_secs(1);

/// A connection.
pub struct Connection {
    pub link: Link,
    pub statements: Statements,
    /// The server's name and version, for statistics.
    pub server: String,
    /// How many milliseconds the clock of the server is ahead of this host's.
    pub clock_offset: i64,
    used: Instant,
}

impl Connection {
    /// Connects to the first server that can be written to, until `end` at most, and finds the
    /// table there. With `now`, it is created, or taken over however long that takes, if the
    /// options allow that. Each server, and each of its addresses, has an equal share of the
    /// time that is left. The failure is that of the last server that has answered.
    pub fn open(
        location: &Location,
        options: &Options,
        now: Option<Timestamp>,
        end: Instant,
    ) -> Result<Connection, Failure> {
        let has_begun = Cell::new(false);
        let migration = now.map(|now| Migration {
            now,
            has_begun: &has_begun,
        });
        let mut failed = Failure::Final(Error::Busy);
        for (index, server) in location.servers.iter().enumerate() {
            let of_server = share(end, location.servers.len() - index);
            let addresses = match network::resolve(&server.host) {
                Ok(addresses) => addresses,
                Err(error) => {
                    failed = io_error(&format!("`{}`", server.host), &error).into();
                    continue;
                }
            };
            for (index, address) in addresses.iter().enumerate() {
                let until = share(of_server, addresses.len() - index);
                let address = (*address, server.port).into();
                has_begun.set(false);
                let mut opening = pin!(Connection::to(
                    address, server, location, options, migration
                ));
                let mut done = network::block_on(until, opening.as_mut());
                if done.is_err() && has_begun.get() {
                    done = network::block_on(Instant::now() + MIGRATING, opening);
                }
                match done {
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
        server: &Server,
        location: &Location,
        options: &Options,
        migration: Option<Migration<'_>>,
    ) -> Result<Connection, Failure> {
        let conn = Conn::new(location.options(server, address)).await;
        let conn = conn.map_err(|error| connect_failure(&address.to_string(), error))?;
        let mut link = Link::new(conn);
        let (server, clock_offset) = examine(&mut link, options).await?;
        let migration = migration.map(|migration| migration.by_server_clock(clock_offset));
        configure(&mut link, options, &server, migration.is_none()).await?;
        let table = table::ready(&mut link, options, migration).await?;
        if migration.is_some() {
            configure(&mut link, options, &server, true).await?;
        }
        Ok(Connection {
            link,
            statements: Statements::new(&table),
            server: server.words,
            clock_offset,
            used: Instant::now(),
        })
    }

    /// Records that the server has answered.
    pub fn note_use(&mut self) {
        self.used = Instant::now();
    }

    /// Whether the connection has not ended, as far as it is known here; asks the server, if
    /// it was unused for long. That takes at most a quarter of the time until `end`: the rest
    /// is for another connection.
    pub fn is_alive(&mut self, end: Instant) -> bool {
        if self.used.elapsed() > UNUSED {
            let answered = network::block_on(share(end, 4), self.link.ping());
            if !matches!(answered, Ok(Ok(()))) {
                return false;
            }
            self.note_use();
        }
        self.link.is_connected()
    }
}

/// The product at the other end of the connection.
struct Answering {
    is_mariadb: bool,
    words: String,
}

impl Answering {
    /// Refuses a server that is too old.
    fn new(version: &str) -> Result<Answering, Error> {
        let is_mariadb = version.contains("MariaDB");
        let number = version.split('-').next().unwrap_or_default();
        let mut parts = number.split('.').map(|part| part.parse().unwrap_or(0_u32));
        let number_of = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
        let (name, oldest) = match is_mariadb {
            true => ("MariaDB", (10, 6)),
            false => ("MySQL", (8, 0)),
        };
        if number_of < oldest {
            return Err(Error::Other(format!(
                "the server is {name} {number}, and {}.{} is the oldest that will do",
                oldest.0, oldest.1
            )));
        }
        Ok(Answering {
            is_mariadb,
            words: format!("{name} {number}"),
        })
    }
}

/// Asks the server what it is, and refuses one that only reads or keeps too little. Returns
/// also how far its clock is from that of this host.
async fn examine(link: &mut Link, options: &Options) -> Result<(Answering, i64), Failure> {
    let sent = wall_clock();
    let rows = link
        .query(
            "SELECT VERSION(), @@global.read_only, @@global.innodb_read_only,
               @@global.innodb_flush_log_at_trx_commit, @@global.max_allowed_packet,
               TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(3)) DIV 1000,
               @@global.log_bin, @@global.sync_binlog",
        )
        .await?;
    let received = wall_clock();
    let Some(mut row) = rows.into_iter().next() else {
        return Err(Error::Other("the server gave no settings".into()).into());
    };
    let answering = Answering::new(&column::<String>(&mut row, 0)?)?;
    let read_only: String = column(&mut row, 1)?;
    let engine_read_only: String = column(&mut row, 2)?;
    let is_off = |value: &str| value == "0" || value == "OFF";
    if !is_off(&read_only) || !is_off(&engine_read_only) {
        return Err(Failure::ReadOnly);
    }
    let (flush, sync): (String, String) = (column(&mut row, 3)?, column(&mut row, 7)?);
    let has_binary_log = !is_off(&column::<String>(&mut row, 6)?);
    if options.durability == Durability::Full {
        check_durability(&flush, has_binary_log.then_some(sync.as_str()))?;
    }
    link.largest_packet = column(&mut row, 4)?;
    let clock: i64 = column(&mut row, 5)?;
    Ok((answering, clock - (sent + received) / 2))
}

/// Refuses settings with which a crash can lose a commit that was answered. `binary_log` is
/// `sync_binlog`, if there is a binary log: recovery rolls back what is missing there.
fn check_durability(flush: &str, binary_log: Option<&str>) -> Result<(), Error> {
    let (name, value) = match binary_log {
        // 3 is 1 with more syncs.
        _ if flush != "1" && flush != "3" => ("innodb_flush_log_at_trx_commit", flush),
        Some(sync) if sync != "1" => ("sync_binlog", sync),
        _ => return Ok(()),
    };
    Err(Error::Other(format!(
        "the server runs with `{name} = {value}`, with which the last writes can be lost: set it \
         to 1, or choose the durability `relaxed`"
    )))
}

/// Sets what the statements depend on, whatever the server's defaults are.
async fn configure(
    link: &mut Link,
    options: &Options,
    server: &Answering,
    is_limited: bool,
) -> Result<(), Failure> {
    // The server gives up a little before the client does, which then can go on with the
    // connection. It counts the time for locks in whole seconds, and MySQL ends a wait that
    // is over up to a second later.
    let limit = options.sync_timeout.max(10);
    let late = if server.is_mariadb { 0 } else { 1000 };
    let lock = ((limit * 8 / 10).saturating_sub(late) / 1000).max(1);
    // 0 is no limit.
    let statement = if is_limited { limit * 9 / 10 } else { 0 };
    let own = match server.is_mariadb {
        true => format!(
            "max_statement_time = {}.{:03}, idle_transaction_timeout = {}",
            statement / 1000,
            statement % 1000,
            limit.div_ceil(1000)
        ),
        false => format!("max_execution_time = {statement}, information_schema_stats_expiry = 0"),
    };
    // Text is bytes, which are neither checked nor converted. In `READ COMMITTED` a statement
    // sees what was committed before it, and locks only the rows that it finds.
    link.run(&format!(
        "SET NAMES binary;
         SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED, READ WRITE;
         SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', autocommit = 1,
           completion_type = 0, sql_safe_updates = 0, sql_select_limit = 18446744073709551615,
           innodb_lock_wait_timeout = {lock}, lock_wait_timeout = {lock}, {own}"
    ))
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_is_too_old_is_refused() {
        let words = |version: &str| Answering::new(version).map(|server| server.words);
        assert_eq!(
            words("10.11.19-MariaDB-0+deb12u1"),
            Ok("MariaDB 10.11.19".into())
        );
        assert_eq!(words("11.4.2-MariaDB"), Ok("MariaDB 11.4.2".into()));
        assert_eq!(words("8.0.35"), Ok("MySQL 8.0.35".into()));
        for old in ["10.5.9-MariaDB", "5.7.44-log", "nonsense"] {
            assert!(
                matches!(words(old), Err(Error::Other(words)) if words.contains("oldest")),
                "{old}"
            );
        }
    }
}
