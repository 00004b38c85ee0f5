//! The statements for one table. All SQL about sessions is here.
//!
//! `:hash` is the hash of the id and `:now` is now; a row counts while `expires > :now`.
//! Neither MariaDB nor MySQL returns the rows that an update changes. What one number can say
//! goes through `LAST_INSERT_ID(…)`, which arrives with the answer to the statement; for
//! more, the caller reads first and writes only the version that it has read.
//!
//! Assignments apply from left to right: a condition on a column comes before the column is
//! assigned, so `expires` is the last.
//!
//! Collection finds rows by `due`, which is never later than `expires`. A renewal leaves
//! `due` alone, and with it the index.

use wasi_sessions_rules::id::IdHash;

/// The statements that are prepared when they are first used, and what others are made of.
pub struct Statements {
    /// The table, quoted.
    pub table: String,
    pub find: String,
    pub head: String,
    pub lock_head: String,
    pub insert: String,
    pub set: String,
    pub start: String,
    pub write: String,
    pub write_version: String,
    pub touch: String,
    pub touch_version: String,
    pub end: String,
    pub copy: String,
    pub end_oldest: String,
    pub exceeds: String,
    pub end_all: String,
    pub end_subject: String,
    pub due: String,
    pub any_due: String,
    pub list: String,
    pub list_subject: String,
    pub count: String,
    pub count_subject: String,
    pub expired: String,
}

/// `created` after a write or touch: a later one, from a clock that was ahead, becomes now.
const CREATED: &str = "LEAST(created, :now)";

/// `expires` after a write or touch: `:until`, and at most `:absolute` after `created`.
/// Saturates at 2^63 - 1.
const EXPIRES: &str = "LEAST(:until, LEAST(created, :now) + \
     LEAST(:absolute, 9223372036854775807 - LEAST(created, :now)))";

const LIVE: &str = "expires > :now AND NOT ended";

const COLUMNS: &str = "(hash, version, created, updated, expires, due, ended, subject, data)";

/// What a tombstone has, until `:tombstone`.
const ENDED: &str = "ended = 1, data = '', subject = NULL, expires = :tombstone, due = :tombstone";

impl Statements {
    /// The statements for a table, whose name is quoted.
    pub fn new(table: &str) -> Statements {
        let live = format!("hash = :hash AND {LIVE}");
        let session = "version, created, updated, expires, subject, data";
        let head = format!(
            "SELECT version, expires, ended FROM {table} WHERE hash = :hash AND expires > :now"
        );
        let entry = "SELECT hash, subject, version, created, updated, expires, LENGTH(data), ended";
        let subject = "subject = :subject";
        // A touch that would gain less than `:step` writes nothing.
        let renews = format!("({EXPIRES} < expires OR {EXPIRES} - expires >= GREATEST(:step, 1))");
        let touch = format!(
            "UPDATE {table} SET due = IF({renews}, LEAST(due, {EXPIRES}), due),
               created = IF({renews}, {CREATED}, created),
               expires = LAST_INSERT_ID(IF({renews}, {EXPIRES}, expires))
             WHERE {live}"
        );
        Statements {
            find: format!("SELECT {session} FROM {table} WHERE {live}"),
            lock_head: format!("{head} FOR UPDATE"),
            head,
            insert: format!(
                "INSERT INTO {table} {COLUMNS}
                 VALUES (:hash, 1, :now, :now, :until, :until, 0, :subject, :data)"
            ),
            // A tombstone that counts stays as it is, and `LAST_INSERT_ID` is not called.
            set: format!(
                "INSERT INTO {table} {COLUMNS}
                 VALUES (:hash, 1, :now, :now, :until, :until, 0, NULL, :data)
                 ON DUPLICATE KEY UPDATE
                   version = IF(ended AND expires > :now, version,
                     LAST_INSERT_ID(IF(expires > :now, version + 1, 1))),
                   created = IF(ended AND expires > :now, created,
                     IF(expires > :now, {CREATED}, :now)),
                   updated = IF(ended AND expires > :now, updated, :now),
                   due = IF(ended AND expires > :now, due, LEAST(due, :until)),
                   data = IF(ended AND expires > :now, data, VALUES(data)),
                   subject = IF(expires > :now, subject, NULL),
                   ended = ended AND expires > :now,
                   expires = IF(ended, expires, :until)"
            ),
            // Any row that counts stays as it is.
            start: format!(
                "INSERT INTO {table} {COLUMNS}
                 VALUES (:hash, 1, :now, :now, :until, :until, 0, NULL, :data)
                 ON DUPLICATE KEY UPDATE
                   version = IF(expires > :now, version, LAST_INSERT_ID(1)),
                   created = IF(expires > :now, created, :now),
                   updated = IF(expires > :now, updated, :now),
                   due = IF(expires > :now, due, LEAST(due, :until)),
                   data = IF(expires > :now, data, VALUES(data)),
                   subject = IF(expires > :now, subject, NULL),
                   ended = IF(expires > :now, ended, 0),
                   expires = IF(expires > :now, expires, :until)"
            ),
            write: format!(
                "UPDATE {table} SET version = LAST_INSERT_ID(version + 1), created = {CREATED},
                   updated = :now, due = LEAST(due, :until), data = :data, expires = :until
                 WHERE {live}"
            ),
            write_version: format!(
                "UPDATE {table} SET version = version + 1, due = LEAST(due, {EXPIRES}),
                   expires = LAST_INSERT_ID({EXPIRES}), created = {CREATED}, updated = :now,
                   data = :data
                 WHERE {live} AND version = :version"
            ),
            touch_version: format!("{touch} AND version = :version"),
            touch,
            end: format!("UPDATE {table} SET {ENDED} WHERE {live}"),
            // `:bound` is 1 if a subject is bound, which is a write.
            copy: format!(
                "INSERT INTO {table} {COLUMNS}
                 SELECT :new, version + :bound, created, IF(:bound, :now, updated), expires,
                   expires, 0, COALESCE(:subject, subject), data
                 FROM {table} WHERE {live}"
            ),
            // All but `:hash` and the `:others` that were created last.
            end_oldest: format!(
                "UPDATE {table} JOIN (SELECT hash AS oldest FROM {table}
                   WHERE {subject} AND {LIVE} AND hash <> :hash
                   ORDER BY created DESC, hash LIMIT 9223372036854775807 OFFSET :others) o
                   ON hash = oldest
                 SET {ENDED} WHERE {LIVE}"
            ),
            exceeds: format!(
                "SELECT COUNT(*) > :others FROM {table}
                 WHERE {subject} AND {LIVE} AND hash <> :hash"
            ),
            end_all: format!("UPDATE {table} SET {ENDED} WHERE {LIVE}"),
            end_subject: format!(
                "UPDATE {table} SET {ENDED}
                 WHERE {subject} AND {LIVE} AND NOT (hash <=> :except)"
            ),
            due: format!(
                "SELECT hash, expires FROM {table} FORCE INDEX (due) WHERE due <= :now
                 ORDER BY due LIMIT :most FOR UPDATE SKIP LOCKED"
            ),
            any_due: format!("SELECT EXISTS (SELECT 1 FROM {table} WHERE due <= :now)"),
            list: format!("{entry} FROM {table} WHERE hash > :after ORDER BY hash LIMIT :most"),
            list_subject: format!(
                "{entry} FROM {table} WHERE {subject} AND hash > :after ORDER BY hash LIMIT :most"
            ),
            // Rows that are not due yet are live or tombstones, and are counted in the index
            // alone.
            count: format!(
                "SELECT (SELECT COUNT(*) FROM {table} WHERE due > :now AND NOT ended) +
                   (SELECT COUNT(*) FROM {table} WHERE due <= :now AND {LIVE})"
            ),
            count_subject: format!("SELECT COUNT(*) FROM {table} WHERE {subject} AND {LIVE}"),
            expired: format!("SELECT COUNT(*) FROM {table} WHERE due <= :now AND expires <= :now"),
            table: table.to_owned(),
        }
    }

    /// The live sessions with these hashes, at a moment, with the hash first.
    pub fn find_many(&self, hashes: &[IdHash], now: i64) -> String {
        format!(
            "SELECT hash, version, created, updated, expires, subject, data FROM {}
             WHERE hash IN ({}) AND expires > {now} AND NOT ended",
            self.table,
            list(hashes)
        )
    }

    /// Locks the rows with these hashes that are there, in their order.
    pub fn lock_rows(&self, hashes: &[IdHash]) -> String {
        format!(
            "SELECT 1 FROM {} FORCE INDEX (PRIMARY) WHERE hash IN ({}) ORDER BY hash FOR UPDATE",
            self.table,
            list(hashes)
        )
    }

    /// Removes the rows with these hashes.
    pub fn remove(&self, hashes: &[IdHash]) -> String {
        format!(
            "DELETE FROM {} WHERE hash IN ({})",
            self.table,
            list(hashes)
        )
    }

    /// Defers the rows with these hashes: collection finds them again when they expire.
    pub fn defer(&self, hashes: &[IdHash]) -> String {
        format!(
            "UPDATE {} SET due = expires WHERE hash IN ({})",
            self.table,
            list(hashes)
        )
    }

    /// What no sound table has, and how many rows of it.
    pub fn check(&self) -> String {
        let kinds = [
            ("collection is due later than the expiry", "due > expires"),
            ("the version is below 1", "version < 1"),
            (
                "a time is before 1970",
                "LEAST(created, updated, expires, due) < 0",
            ),
            (
                "an ended session has a payload or a subject",
                "ended AND (LENGTH(data) > 0 OR subject IS NOT NULL)",
            ),
        ];
        let counts = kinds.map(|(words, condition)| {
            format!(
                "SELECT '{words}', COUNT(*) FROM {} WHERE {condition}",
                self.table
            )
        });
        counts.join(" UNION ALL ")
    }

    /// What the storage engine finds wrong.
    pub fn check_table(&self) -> String {
        format!("CHECK TABLE {}", self.table)
    }
}

/// Hashes as literals of a statement: nothing in them can end a literal.
fn list(hashes: &[IdHash]) -> String {
    let literals: Vec<String> = hashes
        .iter()
        .map(|hash| format!("x'{}'", hash.handle()))
        .collect();
    literals.join(",")
}
