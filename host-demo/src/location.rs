//! Arguments that several commands share: the location of the database, and numbers.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;

use crate::database::Database;
use crate::secrets;

/// The error if a command lacks its directory.
pub const NEEDS_DIRECTORY: &str = "a command needs --directory <DIR>";

/// The location of the database, with its keys.
#[derive(Debug, Args)]
pub struct Location {
    /// The database's directory, which every command on a database needs; without it `serve` and
    /// the story create a temporary one. `bench` and `soak` create theirs in a temporary folder in
    /// it
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
    /// A file whose first line is the key that encrypts the database; its permissions are not
    /// checked. Without it, the key is in the environment variable WASI_SESSIONS_KEY
    #[arg(long, global = true, value_name = "FILE")]
    pub key_file: Option<PathBuf>,
    /// A file with the previous key, or `none` if there was none, until `collect` has ended.
    /// Without it, the key is in the environment variable WASI_SESSIONS_PREVIOUS_KEY
    #[arg(long, global = true, value_name = "FILE")]
    pub previous_key_file: Option<PathBuf>,
}

impl Location {
    /// The database in the directory that was given.
    pub fn database(&self) -> anyhow::Result<Database> {
        let directory = self.directory.as_ref().context(NEEDS_DIRECTORY)?;
        self.database_in(directory)
    }

    /// The database in another directory.
    pub fn database_in(&self, directory: &Path) -> anyhow::Result<Database> {
        Ok(Database {
            directory: directory.to_owned(),
            file: self.file.clone(),
            table: self.table.clone(),
            key: secrets::key(self.key_file.as_deref())?,
            previous_key: secrets::previous_key(self.previous_key_file.as_deref())?,
        })
    }
}

/// Parses a whole number that is at least `LEAST`.
pub fn at_least<const LEAST: u64>(text: &str) -> Result<u64, String> {
    let number = text.parse().ok().filter(|number| *number >= LEAST);
    number.ok_or_else(|| format!("it must be a whole number from {LEAST} to {}", u64::MAX))
}
