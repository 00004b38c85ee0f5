//! The store of a soak: how it is opened, and copies of it.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use wasi_sessions::{Options, Sessions};

use super::clock::Clock;
use crate::database::Database;

/// Options, with times in milliseconds.
pub const BROWSER_SESSION: u64 = 100_000;
pub const TOMBSTONE: u64 = 30_000;
pub const RENEWAL_STEP: u64 = 1_000;
pub const ABSOLUTE: u64 = 3_650 * 24 * 60 * 60 * 1000;
pub const MOST_OF_A_SUBJECT: usize = 10;

/// The number of requests after which a collection starts, and of rows that each request then
/// removes.
const GC_FREQUENCY: u64 = 1_000;
const GC_STEP: u64 = 20;

/// A database that is opened repeatedly.
pub struct Store {
    pub database: Database,
    pub clock: Arc<Clock>,
    /// A directory for copies.
    pub beside: PathBuf,
}

/// A copy of the store, which is removed when this is dropped.
pub struct Copied {
    sessions: Option<Sessions>,
    directory: PathBuf,
}

impl Store {
    /// Opens the store.
    pub fn open(&self) -> anyhow::Result<Sessions> {
        self.open_in(&self.database)
    }

    /// Makes a backup, restores it into another directory, and opens that.
    pub fn copy(&self, sessions: &Sessions) -> anyhow::Result<Copied> {
        let file = self.beside.join("copy.db");
        sessions.backup(&file).wait().context("backup")?;
        let database = Database {
            directory: self.beside.join("copy"),
            ..self.database.clone()
        };
        let restored = database.builder(self.options()).restore(&file).wait();
        restored.context("restore")?;
        fs::remove_file(&file)?;
        Ok(Copied {
            sessions: Some(self.open_in(&database)?),
            directory: database.directory,
        })
    }

    fn open_in(&self, database: &Database) -> anyhow::Result<Sessions> {
        let clock = self.clock.clone();
        let builder = database.builder(self.options());
        database.opened(builder.clock(move || clock.now()).open())
    }

    fn options(&self) -> Options {
        Options {
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

impl Copied {
    /// The open copy.
    pub fn sessions(&self) -> &Sessions {
        self.sessions
            .as_ref()
            .expect("it is open until it is dropped")
    }
}

impl Drop for Copied {
    fn drop(&mut self) {
        // The copy is closed before its files are removed.
        drop(self.sessions.take());
        // If this fails, making the next copy fails.
        let _ = fs::remove_dir_all(&self.directory);
    }
}
