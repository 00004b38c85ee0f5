//! Arguments that several commands share: where the database is, and numbers.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;

use crate::database::Database;

/// What is said when a command lacks its directory.
pub const NEEDS_DIRECTORY: &str = "a command needs --directory <DIR>";

/// Where the database is.
#[derive(Debug, Args)]
pub struct Location {
    /// The database's directory, which every command on a database needs; without it `serve` and
    /// the story make a temporary one. `bench` makes its own in it
    #[arg(long, global = true, value_name = "DIR")]
    pub directory: Option<PathBuf>,
    /// The database's file in the directory
    #[arg(
        long,
        global = true,
        value_name = "NAME",
        default_value = "sessions.db"
    )]
    pub file: String,
    /// The table that holds the sessions
    #[arg(long, global = true, value_name = "NAME", default_value = "Sessions")]
    pub table: String,
}

impl Location {
    /// The database in the directory that was given.
    pub fn database(&self) -> anyhow::Result<Database> {
        let directory = self.directory.as_ref().context(NEEDS_DIRECTORY)?;
        Ok(self.database_in(directory))
    }

    /// The database in another directory.
    pub fn database_in(&self, directory: &Path) -> Database {
        Database {
            directory: directory.to_owned(),
            file: self.file.clone(),
            table: self.table.clone(),
        }
    }
}

/// Parses a whole number that is at least `LEAST`.
pub fn at_least<const LEAST: u64>(text: &str) -> Result<u64, String> {
    let number = text.parse().ok().filter(|number| *number >= LEAST);
    number.ok_or_else(|| format!("it must be a whole number from {LEAST} to {}", u64::MAX))
}
