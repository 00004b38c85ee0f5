//! The schema of a store's table.
//!
//! Its version is in the comment of the table, which is made and renamed with it in one step:
//! every statement that changes a schema commits by itself.

use crate::failure::Failure;
use crate::link::Link;

/// The schema this code reads and writes.
pub const VERSION: u32 = 1;

/// What the comment of a table starts with, before the version.
pub const COMMENT: &str = "wasi-sessions schema ";

/// Creates the table in the current version.
pub async fn create(link: &mut Link, name: &str) -> Result<(), Failure> {
    let table = quoted(name);
    // `hash` is the hash of the id. All text is bytes, which are compared as they are. Each
    // index has the primary key behind its own columns.
    link.run(&format!(
        "CREATE TABLE IF NOT EXISTS {table} (
           hash BINARY(32) NOT NULL PRIMARY KEY,
           version BIGINT NOT NULL,
           created BIGINT NOT NULL,
           updated BIGINT NOT NULL,
           expires BIGINT NOT NULL,
           due BIGINT NOT NULL,
           ended BOOL NOT NULL,
           subject VARBINARY(255),
           data LONGBLOB NOT NULL,
           INDEX due (due, ended),
           INDEX subject (subject)
         ) ENGINE = InnoDB ROW_FORMAT = DYNAMIC COMMENT = '{COMMENT}{VERSION}'"
    ))
    .await
}

/// A name in a statement. It has letters, digits, underscores and what a takeover puts before it.
pub fn quoted(name: &str) -> String {
    format!("`{name}`")
}
