//! The store of a soak: how it is opened, copies of it, and what all its clients share.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use anyhow::Context;
use tempfile::TempDir;
use wasi_sessions::{Durability, Options, Sessions};

use super::asked::{ABSOLUTE, BROWSER_SESSION, RENEWAL_STEP, TOMBSTONE};
use super::clock::Clock;
use super::shared::SharedIds;
use crate::database::Database;

/// The option `maxPerSubject`.
pub const MOST_OF_A_SUBJECT: usize = 10;

/// The number of requests after which a collection starts, and of rows that each request then
/// removes.
const GC_FREQUENCY: u64 = 1_000;
const GC_STEP: u64 = 20;

/// A database that is opened repeatedly.
pub struct Store {
    pub database: Database,
    pub clock: Arc<Clock>,
    /// The sessions that all clients write.
    pub shared: SharedIds,
    /// The number of operations so far.
    pub operations: AtomicU64,
    /// A directory for copies.
    pub beside: PathBuf,
}

/// A copy of the store, which is closed and then removed when this is dropped.
pub struct Copied {
    pub sessions: Sessions,
    _directory: TempDir,
}

impl Store {
    /// Opens the store.
    pub fn open(&self, durability: Durability) -> anyhow::Result<Sessions> {
        self.open_in(&self.database, durability)
    }

    /// Makes a backup, restores it into another directory, and opens that.
    pub fn copy(&self, sessions: &Sessions) -> anyhow::Result<Copied> {
        let directory = TempDir::new_in(&self.beside)?;
        let file = directory.path().join("copy.db");
        sessions.backup(&file).wait().context("backup")?;
        let database = Database {
            directory: directory.path().join("copy"),
            ..self.database.clone()
        };
        let builder = database.builder(self.options(Durability::Full));
        builder.restore(&file).wait().context("restore")?;
        Ok(Copied {
            sessions: self.open_in(&database, Durability::Full)?,
            _directory: directory,
        })
    }

    fn open_in(&self, database: &Database, durability: Durability) -> anyhow::Result<Sessions> {
        let clock = self.clock.clone();
        let builder = database.builder(self.options(durability));
        database.opened(builder.clock(move || clock.now()).open())
    }

    fn options(&self, durability: Durability) -> Options {
        Options {
            durability,
            gc_frequency: GC_FREQUENCY,
            gc_step: GC_STEP,
            browser_session_lifetime: Duration::from_millis(BROWSER_SESSION),
            absolute_lifetime: Some(Duration::from_millis(ABSOLUTE)),
            renewal_step: Duration::from_millis(RENEWAL_STEP),
            tombstone: Duration::from_millis(TOMBSTONE),
            max_per_subject: Some(MOST_OF_A_SUBJECT as u64),
            ..self.database.options()
        }
    }
}
