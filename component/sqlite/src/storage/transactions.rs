//! An open database: reads, snapshots and transactions, and the size and check of the
//! whole file.

use super::attempts::Room;
use super::connected::Connected;
use super::connection::check_location;
use super::database::Storage;
use super::failure::failure;
use super::rows::Rows;
use rusqlite::TransactionBehavior::{Deferred, Immediate};
use wasi_sessions_rules::error::Error;
use wasi_sessions_rules::options::Options;
use wasi_sessions_rules::types::Timestamp;

/// The most lines of a check, as for `PRAGMA integrity_check`.
const MOST_DAMAGE: usize = 100;

impl Storage {
    /// Opens the database at `location`, which is created if it is missing and
    /// `sync` is on, and prepares the table.
    pub fn open(location: &str, options: &Options, now: Timestamp) -> Result<Storage, Error> {
        check_location(location)?;
        let storage = Storage::closed(location, options);
        let opened = storage.open_when_free(now);
        opened.map_err(|error| match error {
            Error::Corrupt(message) => Error::Corrupt(format!("`{location}`: {message}")),
            Error::MissingTable(message) => Error::MissingTable(format!("`{location}`: {message}")),
            Error::Other(message) => Error::Other(format!("`{location}`: {message}")),
            error => error,
        })?;
        // A full disk does not prevent opening: sessions can still be read and ended.
        let _ = storage.cover_growth();
        Ok(storage)
    }

    /// Runs work that only reads, with a single statement.
    pub fn read<T>(&self, work: impl Fn(Rows) -> Result<T, Error>) -> Result<T, Error> {
        // For a shared table with keys, confirming the key is a second statement, which
        // needs a snapshot.
        let has_keys = |connected: &Connected| {
            connected.with_statements(|statements| statements.keys.is_some())
        };
        let confirms_key =
            self.lock.is_some() && self.connected.borrow().as_ref().is_none_or(has_keys);
        match confirms_key {
            true => self.snapshot(work),
            false => self.continue_reading(|| self.rows(&work)),
        }
    }

    /// Runs work that only reads, with several statements, on one snapshot.
    pub fn snapshot<T>(&self, work: impl Fn(Rows) -> Result<T, Error>) -> Result<T, Error> {
        self.wait(|| self.transact(Deferred, &mut || self.rows(&work)))
    }

    /// Runs work that may write, in one transaction. On a full disk only work that frees
    /// space can succeed, in the space of the reserve.
    pub fn transaction<T>(
        &self,
        room: Room,
        work: impl Fn(Rows) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.repeat(room, &mut || {
            self.transact(Immediate, &mut || {
                let done = self.rows(&work)?;
                if room == Room::Growing {
                    self.cover_growth()?;
                }
                Ok(done)
            })
        })
    }

    /// Like [`Storage::transaction`], for a shared database, which also counts requests:
    /// if the work wrote anything, adds `requests` to the count and returns the sum;
    /// otherwise returns 0.
    pub fn counted_transaction<T>(
        &self,
        requests: u64,
        work: impl Fn(Rows) -> Result<T, Error>,
    ) -> Result<(T, u64), Error> {
        self.wait(|| {
            self.transact(Immediate, &mut || {
                let before = self.connection().total_changes();
                let done = self.rows(&work)?;
                let has_written = self.connection().total_changes() > before;
                let counted = match has_written {
                    true => self.rows(|rows| rows.count_requests(requests))?,
                    false => 0,
                };
                Ok((done, counted))
            })
        })
    }

    /// The size of the database, in bytes.
    pub fn size(&self) -> Result<u64, Error> {
        let page_size: i64 = self.ask("PRAGMA page_size")?;
        Ok(
            self.statements(|statements| statements.all_pages.number([]))?
                * page_size.unsigned_abs(),
        )
    }

    /// Reads the whole database; returns a description of each damage.
    pub fn check(&self) -> Result<Vec<String>, Error> {
        let damage = self.wait(|| {
            let connection = self.connection();
            let mut check = connection
                .prepare("PRAGMA integrity_check")
                .map_err(failure)?;
            let lines = check.query_map([], |row| row.get::<_, String>(0));
            lines.and_then(|lines| lines.collect()).map_err(failure)
        });
        let mut damage = match damage {
            Ok(lines) if lines == ["ok"] => vec![],
            Ok(lines) => lines,
            Err(Error::Corrupt(damage)) => vec![damage],
            Err(error) => return Err(error),
        };
        let broken = self.snapshot(|rows| rows.broken(MOST_DAMAGE.saturating_sub(damage.len())));
        match broken {
            Ok(broken) => damage.extend(broken.into_iter().map(|rowid| {
                let table = &self.options.table_name;
                format!("row {rowid} of table `{table}` does not open with its key")
            })),
            // The damage that caused this error is reported already.
            Err(_) if !damage.is_empty() => {}
            Err(error) => return Err(error),
        }
        Ok(damage)
    }
}
