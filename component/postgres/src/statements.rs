//! The statements for one table. All SQL about sessions is here.
//!
//! Every frequent operation is one statement. In most of them, `$1` is the hash of the id
//! and `$2` is now; a row counts while `expires > $2`. A statement has one snapshot, even if
//! it waits for another writer: so a statement that both reads and writes a row returns what
//! it read, and the caller retries if that row should have been written but was not.
//!
//! Collection finds rows by `due`, which is never later than `expires`. A renewal leaves
//! `due` and so its index unchanged, which lets PostgreSQL keep the new version of the row in
//! the same page (a HOT update).

use crate::failure::{Failure, NO_POOLER};
use crate::pipeline::{Sending, in_order};
use tokio_postgres::{Client, Statement};
use wasi_sessions_rules::error::Error;

/// The most rows that one page of a listing reads, live or not.
pub const MOST_SCANNED: i64 = 10_000;

/// The frequent statements, prepared.
pub struct Statements {
    /// The quoted name of the table, with its schema.
    pub table: String,
    pub find: Statement,
    pub find_many: Statement,
    pub insert: Statement,
    pub set: Statement,
    pub write: Statement,
    pub write_version: Statement,
    pub start: Statement,
    pub touch: Statement,
    pub end: Statement,
    pub rotate: Statement,
    pub lock_rows: Statement,
    pub collect: Statement,
    pub any_due: Statement,
}

/// `created` after a write or touch: one in the future, from a clock that was ahead, becomes
/// now.
const CREATED: &str = "least(s.created, $2)";

/// `expires` after a write or touch: `$3`, but at most `$4`, the option `absoluteLifetime`,
/// after `created`. Saturates at 2^63 - 1.
const EXPIRES: &str = "least($3::int8, least(s.created, $2) + \
     least($4::int8, 9223372036854775807 - least(s.created, $2)))";

impl Statements {
    /// Prepares the statements, all of them in one round trip.
    pub async fn prepare(client: &Client, table: &str) -> Result<Statements, Failure> {
        let live = "s.key = $1 AND s.expires > $2 AND NOT s.ended";
        let written = format!(
            "version = s.version + 1, created = {CREATED}, updated = $2, expires = {EXPIRES}, \
             due = least(s.due, {EXPIRES}), data = $5"
        );
        let ended = "ended = true, data = '', subject = NULL, expires = $3, due = $3";
        // A touch that would move the expiry later by less than `$5` writes nothing.
        let renews = format!(
            "({EXPIRES} < s.expires OR ({EXPIRES} > s.expires AND {EXPIRES} - s.expires >= $5))"
        );
        let columns = "(key, version, created, updated, expires, due, ended, subject, data)";
        let texts = [
            format!(
                "SELECT s.version, s.created, s.updated, s.expires, s.subject, s.data
                 FROM {table} s WHERE {live}"
            ),
            format!(
                "SELECT s.key, s.version, s.created, s.updated, s.expires, s.subject, s.data
                 FROM {table} s WHERE s.key = ANY ($1) AND s.expires > $2 AND NOT s.ended"
            ),
            format!("INSERT INTO {table} {columns} VALUES ($1, 1, $2, $2, $3, $3, false, $4, $5)"),
            // `$6` is the expiry if the session is created.
            format!(
                "INSERT INTO {table} AS s {columns} VALUES ($1, 1, $2, $2, $6, $6, false, NULL, $5)
                 ON CONFLICT (key) DO UPDATE SET
                   version = CASE WHEN s.expires > $2 THEN s.version + 1 ELSE 1 END,
                   created = CASE WHEN s.expires > $2 THEN {CREATED} ELSE $2 END,
                   updated = $2,
                   expires = CASE WHEN s.expires > $2 THEN {EXPIRES} ELSE $6 END,
                   due = least(s.due, CASE WHEN s.expires > $2 THEN {EXPIRES} ELSE $6 END),
                   ended = false,
                   subject = CASE WHEN s.expires > $2 THEN s.subject END,
                   data = $5
                 WHERE NOT (s.ended AND s.expires > $2)
                 RETURNING s.version, s.expires"
            ),
            format!("UPDATE {table} s SET {written} WHERE {live} RETURNING s.version, s.expires"),
            format!(
                "WITH w AS (UPDATE {table} s SET {written} WHERE {live} AND s.version = $6
                   RETURNING s.version, s.expires)
                 SELECT w.version, w.expires, s.version, s.created, s.updated, s.expires,
                   s.subject, CASE WHEN w.version IS NULL THEN s.data END
                 FROM {table} s LEFT JOIN w ON true WHERE {live}"
            ),
            format!(
                "INSERT INTO {table} AS s {columns} VALUES ($1, 1, $2, $2, $3, $3, false, NULL, $4)
                 ON CONFLICT (key) DO UPDATE SET
                   version = 1, created = $2, updated = $2, expires = $3, due = least(s.due, $3),
                   ended = false, subject = NULL, data = $4
                 WHERE s.expires <= $2
                 RETURNING s.version, s.expires"
            ),
            // `$6`, if not NULL, is the version whose payload was read before.
            format!(
                "WITH w AS (UPDATE {table} s SET created = {CREATED}, expires = {EXPIRES},
                     due = least(s.due, {EXPIRES})
                   WHERE {live} AND s.version = coalesce($6, s.version) AND {renews}
                   RETURNING s.expires)
                 SELECT w.expires, s.expires, s.version, {renews}
                 FROM {table} s LEFT JOIN w ON true WHERE {live}"
            ),
            format!("UPDATE {table} s SET {ended} WHERE {live}"),
            // `$3` is the expiry of the tombstone under the old id.
            format!(
                "WITH old AS MATERIALIZED (SELECT * FROM {table} s WHERE {live} FOR UPDATE),
                 gone AS (UPDATE {table} s SET {ended} FROM old WHERE s.key = old.key),
                 new AS (INSERT INTO {table} {columns}
                   SELECT $4, version + CASE WHEN $5::bytea IS NULL THEN 0 ELSE 1 END, created,
                     CASE WHEN $5::bytea IS NULL THEN updated ELSE $2 END,
                     expires, expires, false, coalesce($5::bytea, subject), data
                   FROM old RETURNING version, expires)
                 SELECT version, expires FROM new"
            ),
            format!("SELECT FROM {table} s WHERE s.key = ANY ($1) ORDER BY s.key FOR UPDATE"),
            // Materialised, so that the rows are chosen once.
            format!(
                "WITH d AS MATERIALIZED (SELECT key, expires FROM {table} WHERE due <= $1
                   ORDER BY due LIMIT $2 FOR UPDATE SKIP LOCKED),
                 removed AS (DELETE FROM {table} s USING d
                   WHERE s.key = d.key AND d.expires <= $1 RETURNING 1),
                 deferred AS (UPDATE {table} s SET due = d.expires FROM d
                   WHERE s.key = d.key AND d.expires > $1 RETURNING 1)
                 SELECT (SELECT count(*) FROM removed), (SELECT count(*) FROM deferred)"
            ),
            format!("SELECT EXISTS (SELECT FROM {table} WHERE due <= $1)"),
        ];
        let mut preparing: Vec<Sending<Result<Option<Statement>, Failure>>> = vec![];
        for text in &texts {
            preparing.push(Box::pin(async { Ok(Some(client.prepare(text).await?)) }));
        }
        preparing.push(Box::pin(async {
            check_names(client).await?;
            Ok(None)
        }));
        let prepared = in_order(preparing).await.into_iter();
        let prepared: Vec<Statement> = prepared
            .filter_map(Result::transpose)
            .collect::<Result<_, Failure>>()?;
        let prepared: [Statement; 13] = prepared
            .try_into()
            .unwrap_or_else(|_| unreachable!("as many statements as texts"));
        let [
            find,
            find_many,
            insert,
            set,
            write,
            write_version,
            start,
            touch,
            end,
            rotate,
            lock_rows,
            collect,
            any_due,
        ] = prepared;
        Ok(Statements {
            table: table.to_owned(),
            find,
            find_many,
            insert,
            set,
            write,
            write_version,
            start,
            touch,
            end,
            rotate,
            lock_rows,
            collect,
            any_due,
        })
    }

    /// Ends the live sessions of the subject `$1` at `$2`, except the session `$4` and the
    /// `$5` others created last; none if there is no row `$4`. The tombstones expire at `$3`.
    /// Returns whether all of them were ended: one that was rotated meanwhile is live under
    /// another key, which this statement does not see.
    pub fn end_oldest(&self) -> String {
        let table = &self.table;
        format!(
            "WITH oldest AS MATERIALIZED (SELECT key FROM {table}
               WHERE subject = $1 AND expires > $2 AND NOT ended AND key <> $4
                 AND EXISTS (SELECT FROM {table} WHERE key = $4)
               ORDER BY created DESC, key OFFSET $5),
             done AS (UPDATE {table} s
               SET ended = true, data = '', subject = NULL, expires = $3, due = $3
               FROM oldest o WHERE s.key = o.key AND s.expires > $2 AND NOT s.ended RETURNING 1)
             SELECT (SELECT count(*) FROM oldest) = (SELECT count(*) FROM done)"
        )
    }

    /// Ends the live sessions at `$1`: all, or those of the subject `$3` except `$4`. The
    /// tombstones expire at `$2`.
    pub fn end_many(&self, of_subject: bool) -> String {
        let of_subject = match of_subject {
            true => "AND subject = $3 AND key IS DISTINCT FROM $4",
            false => "",
        };
        format!(
            "UPDATE {} SET ended = true, data = '', subject = NULL, expires = $2, due = $2
             WHERE expires > $1 AND NOT ended {of_subject}",
            self.table
        )
    }

    /// Reads the first [`MOST_SCANNED`] rows after the hash `$1`, all or those of the subject
    /// `$4`, and returns at most `$3` live sessions among them. If there are fewer and more
    /// rows follow, also returns the key of the last row read, with a NULL length.
    pub fn list(&self, of_subject: bool) -> String {
        let table = &self.table;
        let of_subject = match of_subject {
            true => "AND subject = $4",
            false => "",
        };
        format!(
            "WITH page AS MATERIALIZED (SELECT * FROM (
                 SELECT * FROM {table} WHERE key > $1 {of_subject}
                 ORDER BY key LIMIT {MOST_SCANNED}) AS scanned
               WHERE expires > $2 AND NOT ended ORDER BY key LIMIT $3),
             scanned AS (SELECT key FROM {table} WHERE key > $1 {of_subject}
                 AND (SELECT count(*) FROM page) < $3
               ORDER BY key OFFSET {MOST_SCANNED} - 1 LIMIT 2)
             SELECT key, subject, version, created, updated, expires, octet_length(data)::int8
               FROM page
             UNION ALL
             SELECT key, NULL, 0, 0, 0, 0, NULL
               FROM (SELECT key, count(*) OVER () AS rows FROM scanned ORDER BY key LIMIT 1) last
               WHERE rows = 2"
        )
    }

    /// How many sessions are live at `$1`, all or those of the subject `$2`.
    pub fn count(&self, of_subject: bool) -> String {
        let table = &self.table;
        match of_subject {
            true => format!(
                "SELECT count(*) FROM {table} WHERE subject = $2 AND expires > $1 AND NOT ended"
            ),
            // A row that is not due has not expired, so it is counted in the index without
            // reading the table. Only rows that are due are read.
            false => format!(
                "SELECT (SELECT count(*) FROM {table} WHERE due > $1 AND NOT ended) +
                   (SELECT count(*) FROM {table} WHERE due <= $1 AND NOT ended AND expires > $1)"
            ),
        }
    }

    /// The live and the expired rows at `$1`, and the size of table and indexes.
    pub fn stats(&self) -> String {
        let table = &self.table;
        format!(
            "SELECT ({}), (SELECT count(*) FROM {table} WHERE due <= $1 AND expires <= $1),
               pg_total_relation_size('{}'::regclass), current_setting('server_version')",
            self.count(false),
            table.replace('\'', "''")
        )
    }

    /// Each kind of damage that a query can find, and how many rows have it.
    pub fn check(&self) -> String {
        let kinds = [
            ("the key does not have 32 bytes", "octet_length(key) <> 32"),
            ("collection is due later than the expiry", "due > expires"),
            ("the version is below 1", "version < 1"),
            (
                "a time is before 1970",
                "least(created, updated, expires, due) < 0",
            ),
            (
                "an ended session has a payload or a subject",
                "ended AND (octet_length(data) > 0 OR subject IS NOT NULL)",
            ),
        ];
        let counts = kinds.map(|(words, condition)| {
            format!("SELECT '{words}', count(*) FROM damaged WHERE {condition}")
        });
        let damage = kinds.map(|(_, condition)| condition).join(" OR ");
        format!(
            "WITH damaged AS MATERIALIZED (SELECT * FROM {} WHERE {damage}) {}",
            self.table,
            counts.join(" UNION ALL ")
        )
    }
}

/// Refuses a pooler in transaction mode that has prepared the statements by other names than
/// tokio-postgres's, so that they work on any connection: settings of the session do not.
async fn check_names(client: &Client) -> Result<(), Failure> {
    let ours = "SELECT FROM pg_prepared_statements WHERE name ~ '^s[0-9]+$' LIMIT 1";
    match client.query_typed(ours, &[]).await?.is_empty() {
        true => Err(Error::Other(NO_POOLER.into()).into()),
        false => Ok(()),
    }
}
