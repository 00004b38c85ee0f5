//! The table of a store: its place, and its columns and indexes.

use crate::failure::Failure;
use tokio_postgres::Client;

/// The version of the schema that [`create`] makes.
pub const VERSION: i32 = 1;

/// The schema and name of a table, whether or not it exists.
pub struct Place {
    /// The schema, quoted.
    pub schema: String,
    /// The table, not quoted, in the case that it has.
    pub name: String,
}

impl Place {
    /// The table with its schema, quoted.
    pub fn quoted(&self) -> String {
        format!("{}.\"{}\"", self.schema, self.name)
    }
}

/// Creates the table in the current version.
pub async fn create(client: &Client, place: &Place) -> Result<(), Failure> {
    let Place { schema, name } = place;
    let table = place.quoted();
    // `key` is the hash of the id. `subject` is bytes, since text cannot contain U+0000.
    // Payloads are not compressed, since they may be secret and usually are small. The fill
    // factor leaves space in each page for new versions of its rows. PostgreSQL names the
    // indexes.
    client
        .batch_execute(&format!(
            r#"CREATE TABLE IF NOT EXISTS {schema}."wasi-sessions" (
                 name text PRIMARY KEY, version int4 NOT NULL);
               CREATE TABLE {table} (
                 key bytea PRIMARY KEY CHECK (octet_length(key) = 32),
                 version int8 NOT NULL,
                 created int8 NOT NULL,
                 updated int8 NOT NULL,
                 expires int8 NOT NULL,
                 due int8 NOT NULL,
                 ended bool NOT NULL,
                 subject bytea,
                 data bytea NOT NULL
               ) WITH (fillfactor = 80);
               ALTER TABLE {table} ALTER data SET STORAGE EXTERNAL;
               CREATE INDEX ON {table} (due, ended);
               CREATE INDEX ON {table} (subject, key) WHERE subject IS NOT NULL;
               INSERT INTO {schema}."wasi-sessions" VALUES (lower('{name}'), {VERSION})
                 ON CONFLICT (name) DO UPDATE SET version = excluded.version"#
        ))
        .await?;
    Ok(())
}
