//! One open SQLite database: transactions, collection, and what an operator
//! asks of the file as a whole. The only place with SQL is this folder.

mod attempts;
mod backup;
mod lock;
mod log;
mod original;
mod rows;
mod schema;
mod statements;
#[cfg(test)]
mod tests;

pub use rows::{Head, Rows, Standing};

use crate::error::Error;
use crate::options::{Access, Durability, Options};
use crate::types::{Collected, Timestamp};
use lock::DotLock;
use rusqlite::TransactionBehavior::{Deferred, Immediate};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, params};
use schema::Found;
use statements::{Prepared, Statements};
use std::cell::Cell;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

/// Pages of the log that are copied into the database at once; SQLite's own
/// choice, which lets many writes to a page be copied as one.
const LOG: u32 = 1000;

/// The same while garbage is collected: who comes then is not to wait long.
const SHORT_LOG: u32 = 256;

/// Pages that one step of a collection gives back at most; each is moved.
const MOST_PAGES: u64 = 128;

/// An open database and the statements for one table in it.
pub struct Storage {
    prepared: Prepared,
    table: String,
    location: String,
    /// The lock that others wait for; none when this is the only owner.
    lock: Option<Arc<DotLock>>,
    /// Whether the file was made so that free pages can be given back.
    gives_space_back: bool,
    durability: Durability,
    /// Whether a step of a collection has not put back what it changed.
    hurried: Cell<bool>,
}

impl Storage {
    /// Opens the database at `location`, which is made if it is missing and
    /// `sync` is on, and prepares the table.
    pub fn open(location: &str, options: &Options, now: Timestamp) -> Result<Storage, Error> {
        let lock = match options.access {
            Access::Exclusive => None,
            Access::Shared => Some(Arc::new(DotLock::of(location, options.sync_timeout))),
        };
        let mut connection = connect(location, options)?;
        if let Some(lock) = &lock {
            lock.keep_young(&mut connection).map_err(failure)?;
        }
        let table = &options.table_name;
        let prepared = Prepared::new(connection, |connection| Statements::new(connection, table));
        let mut storage = Storage {
            prepared,
            table: options.table_name.clone(),
            location: location.into(),
            lock,
            gives_space_back: false,
            durability: options.durability,
            hurried: Cell::new(false),
        };
        let mode = storage.prepare(options, now).map_err(|error| match error {
            Error::Corrupt(words) => Error::Corrupt(format!("`{location}`: {words}")),
            Error::Other(words) => Error::Other(format!("`{location}`: {words}")),
            error => error,
        })?;
        storage.gives_space_back = mode != 0;
        Ok(storage)
    }

    /// Does work that is a single statement and only reads.
    pub fn read<T>(&self, work: impl Fn(Rows) -> Result<T, Error>) -> Result<T, Error> {
        self.continue_reading(|| self.rows(&work))
    }

    /// Does work that only reads, of one state of the database.
    pub fn snapshot<T>(&self, work: impl Fn(Rows) -> Result<T, Error>) -> Result<T, Error> {
        self.wait(|| self.transact(Deferred, || self.rows(&work)))
    }

    /// Does work that may write, all of it or nothing.
    pub fn transaction<T>(&self, work: impl Fn(Rows) -> Result<T, Error>) -> Result<T, Error> {
        self.wait(|| self.transact(Immediate, || self.rows(&work)))
    }

    /// Like [`Storage::transaction`], for databases in which requests are
    /// counted: adds `requests` if the work wrote anything, and tells the sum.
    pub fn counted_transaction<T>(
        &self,
        requests: u64,
        work: impl Fn(Rows) -> Result<T, Error>,
    ) -> Result<(T, u64), Error> {
        self.wait(|| {
            self.transact(Immediate, || {
                let before = self.connection().total_changes();
                let done = self.rows(&work)?;
                let wrote = self.connection().total_changes() > before;
                let requests = match wrote {
                    true => self.rows(|rows| rows.count_requests(requests))?,
                    false => 0,
                };
                Ok((done, requests))
            })
        })
    }

    /// Removes at most `limit` rows that no longer count and gives some pages
    /// back to the file system. When nothing is left, the requests counted in
    /// the database start at 0 again.
    pub fn collect(&self, limit: u64, now: Timestamp) -> Result<Collected, Error> {
        self.wait(|| self.collection_step(limit, now))
    }

    /// Like [`Storage::collect`], but for one attempt only: a request that
    /// carries a collection waits for nobody.
    pub fn collect_at_once(&self, limit: u64, now: Timestamp) -> Result<Collected, Error> {
        self.once(|| self.collection_step(limit, now))
    }

    fn collection_step(&self, limit: u64, now: Timestamp) -> Result<Collected, Error> {
        // A row is smaller than a page more often than not; what is left of
        // larger ones is given back by the steps that follow.
        let pages = (limit / 2 + 1).min(MOST_PAGES);
        self.hurry()?;
        let done = self.collect_and_give_back(limit, pages, now);
        self.settle()?;
        let (collected, changed) = done?;
        if self.lock.is_none() && changed && !collected.more {
            // The file itself gets shorter when the log is copied into it.
            // What was collected stays so if that fails, and is copied later.
            let _ = self.ask::<i64>("PRAGMA wal_checkpoint(TRUNCATE)");
        }
        Ok(collected)
    }

    /// The step itself, and whether it changed anything.
    fn collect_and_give_back(
        &self,
        limit: u64,
        pages: u64,
        now: Timestamp,
    ) -> Result<(Collected, bool), Error> {
        self.transact(Immediate, || {
            let (removed, any_due) = self.rows(|rows| rows.collect(limit, now))?;
            let free = self.free_pages()?;
            if free > 0 {
                self.give_back(pages)?;
            }
            let more = any_due || free > pages;
            if !more {
                self.rows(|rows| rows.reset_requests())?;
            }
            Ok((Collected { removed, more }, removed + free > 0))
        })
    }

    /// For a step of a collection: it does not wait for the disk, since what is
    /// lost with the power is garbage as it was before; and the log is copied
    /// early. A shared database has no log, and is not safe without waiting.
    fn hurry(&self) -> Result<(), Error> {
        if self.lock.is_none() {
            self.hurried.set(true);
            self.pragma(Durability::Relaxed.pragma(), None)?;
            self.set("wal_autocheckpoint", SHORT_LOG)?;
        }
        Ok(())
    }

    /// Goes back to what the options say, before anything else is written.
    fn settle(&self) -> Result<(), Error> {
        if self.hurried.get() {
            self.set("wal_autocheckpoint", LOG)?;
            self.pragma(self.durability.pragma(), None)?;
            self.hurried.set(false);
        }
        Ok(())
    }

    fn set(&self, setting: &str, value: u32) -> Result<(), Error> {
        self.connection()
            .pragma_update(None, setting, value)
            .map_err(failure)
    }

    /// The size of the database, in bytes.
    pub fn size(&self) -> Result<u64, Error> {
        let pages: i64 = self.ask("PRAGMA page_count")?;
        let page_size: i64 = self.ask("PRAGMA page_size")?;
        Ok((pages * page_size).unsigned_abs())
    }

    /// What is damaged, after reading the whole database; empty when sound.
    pub fn check(&self) -> Result<Vec<String>, Error> {
        let damage = self.wait(|| {
            let mut check = self
                .connection()
                .prepare("PRAGMA integrity_check")
                .map_err(failure)?;
            let lines = check.query_map([], |row| row.get::<_, String>(0));
            lines.and_then(|lines| lines.collect()).map_err(failure)
        });
        match damage {
            Ok(lines) if lines == ["ok"] => Ok(vec![]),
            Err(Error::Corrupt(damage)) => Ok(vec![damage]),
            other => other,
        }
    }

    /// Makes connection and table ready; how the file treats free pages.
    fn prepare(&self, options: &Options, now: Timestamp) -> Result<i64, Error> {
        let found = self.wait(|| self.configure(options))?;
        if found != Found::CURRENT {
            self.wait(|| schema::prepare(self.connection(), &self.table, now))?;
        }
        self.wait(|| self.ask("PRAGMA auto_vacuum"))
    }

    fn rows<T>(&self, work: impl FnOnce(Rows) -> T) -> T {
        self.statements(|statements| work(Rows(statements)))
    }

    fn statements<T>(&self, work: impl FnOnce(&Statements) -> T) -> T {
        self.prepared
            .with_dependent(|_, statements| work(statements))
    }

    fn connection(&self) -> &Connection {
        self.prepared.borrow_owner()
    }

    fn ask<T: rusqlite::types::FromSql>(&self, sql: &str) -> Result<T, Error> {
        self.connection()
            .query_row(sql, [], |row| row.get(0))
            .map_err(failure)
    }

    /// Pages that hold nothing and can be given back.
    fn free_pages(&self) -> Result<u64, Error> {
        if !self.gives_space_back {
            return Ok(0);
        }
        let free: i64 = self.ask("PRAGMA freelist_count")?;
        Ok(free.unsigned_abs())
    }

    fn give_back(&self, pages: u64) -> Result<(), Error> {
        let pragma = format!("PRAGMA incremental_vacuum({pages})");
        let mut vacuum = self.connection().prepare(&pragma).map_err(failure)?;
        let mut steps = vacuum.query(params![]).map_err(failure)?;
        // Each row is one page given back.
        while steps.next().map_err(failure)?.is_some() {}
        Ok(())
    }

    /// Sets up the connection and checks what SQLite answers: it does not
    /// fail where it cannot do as asked. What was found in the file, which is
    /// changed in no way if that is refused.
    fn configure(&self, options: &Options) -> Result<Found, Error> {
        // How the file is locked and logged comes first: most other settings
        // make SQLite read the file.
        let found = match options.access {
            Access::Exclusive => {
                // There is no shared memory in WASI: exclusive locking must
                // come before the write-ahead log.
                self.pragma("locking_mode = EXCLUSIVE", Some("exclusive"))?;
                let found = schema::find(self.connection(), &self.table)?;
                self.accept(&found, options)?;
                self.prepare_new_file()?;
                self.pragma("journal_mode = WAL", Some("wal"))?;
                found
            }
            Access::Shared => {
                // An attempt that found the database in use may have left it
                // exclusive.
                self.pragma("locking_mode = NORMAL", Some("normal"))?;
                let found = match schema::find(self.connection(), &self.table) {
                    // An exclusive owner left a write-ahead log behind, which
                    // only another one can read and fold in.
                    Err(Error::Other(_)) => {
                        self.pragma("locking_mode = EXCLUSIVE", Some("exclusive"))?;
                        schema::find(self.connection(), &self.table)
                    }
                    found => found,
                }?;
                self.accept(&found, options)?;
                self.pragma("journal_mode = TRUNCATE", Some("truncate"))?;
                self.pragma("locking_mode = NORMAL", Some("normal"))?;
                // This reads, and so lets go of a lock that was exclusive.
                self.prepare_new_file()?;
                found
            }
        };
        self.pragma("temp_store = MEMORY", None)?;
        self.pragma("cache_size = -16384", None)?;
        self.pragma("journal_size_limit = 4194304", None)?;
        self.pragma(options.durability.pragma(), None)?;
        Ok(found)
    }

    /// Refuses what is to be left alone, and leaves it alone.
    fn accept(&self, found: &Found, options: &Options) -> Result<(), Error> {
        let Err(refused) = found.accept(&self.table, options.sync) else {
            return Ok(());
        };
        let log = fs::metadata(format!("{}-wal", self.location));
        if log.is_ok_and(|log| log.len() > 0) {
            // Or closing would fold in the log that somebody left.
            self.connection()
                .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
                .map_err(failure)?;
        }
        Err(refused)
    }

    /// Free pages can be given back only if this comes before all else.
    fn prepare_new_file(&self) -> Result<(), Error> {
        match self.ask::<i64>("PRAGMA page_count")? {
            0 => self.pragma("auto_vacuum = INCREMENTAL", None),
            _ => Ok(()),
        }
    }

    fn pragma(&self, setting: &str, expected: Option<&str>) -> Result<(), Error> {
        let mut pragma = self
            .connection()
            .prepare(&format!("PRAGMA {setting}"))
            .map_err(failure)?;
        let mut rows = pragma.query([]).map_err(failure)?;
        let answer: Option<String> = match (rows.next().map_err(failure)?, expected) {
            (Some(row), Some(_)) => Some(row.get(0).map_err(failure)?),
            _ => None,
        };
        if answer.as_deref() != expected {
            return Err(Error::Other(format!(
                "SQLite refused `{setting}` and answered {answer:?}"
            )));
        }
        Ok(())
    }
}

impl Durability {
    /// How SQLite is told.
    fn pragma(self) -> &'static str {
        match self {
            Durability::Full => "synchronous = FULL",
            Durability::Relaxed => "synchronous = NORMAL",
        }
    }
}

fn connect(location: &str, options: &Options) -> Result<Connection, Error> {
    check_location(location)?;
    let mut flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    if options.sync {
        flags |= OpenFlags::SQLITE_OPEN_CREATE;
    }
    let vfs = match options.access {
        Access::Exclusive => log::file_system(),
        Access::Shared => c"unix-dotfile",
    };
    let connection = Connection::open_with_flags_and_vfs(location, flags, vfs);
    let connection = connection.map_err(|error| match failure(error) {
        Error::Other(reason) => Error::Other(format!("cannot open `{location}`: {reason}")),
        error => error,
    })?;
    // Waiting is done in `lock`, which also knows dead locks.
    connection.busy_timeout(Duration::ZERO).map_err(failure)?;
    Ok(connection)
}

/// Refuses what SQLite takes for something else than the path of a file.
fn check_location(location: &str) -> Result<(), Error> {
    let is_special = location.starts_with(':') || location.starts_with("file:");
    if location.is_empty() || is_special || location.contains('\0') {
        return Err(Error::invalid(
            "location: must be the path of a file in a directory given to this component",
        ));
    }
    Ok(())
}

/// The contract's error for one of SQLite's. Their messages speak of tables
/// and files, never of values.
fn failure(error: rusqlite::Error) -> Error {
    match (error.sqlite_error_code(), &error) {
        (Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked), _) => Error::Busy,
        // The lock was lost in the middle of it.
        (Some(ErrorCode::OperationInterrupted), _) => Error::Busy,
        (Some(ErrorCode::DiskFull), _) => Error::StorageFull,
        (Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase), _) => {
            Error::Corrupt(error.to_string())
        }
        (
            None,
            rusqlite::Error::InvalidColumnType(..)
            | rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::IntegralValueOutOfRange(..)
            | rusqlite::Error::Utf8Error(..),
        ) => Error::Corrupt("a row holds a value of the wrong kind".into()),
        _ => Error::Other(error.to_string()),
    }
}
