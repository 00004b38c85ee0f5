//! The baseline: the same store on SQLite itself, without sandbox, thread or cache,
//! with prepared statements and one statement for each operation.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::ensure;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::ValueEnum;
use rusqlite::types::{ToSql, ToSqlOutput};
use rusqlite::{Connection, OpenFlags, OptionalExtension, params};
use sha2::{Digest, Sha256};
use wasi_sessions::{Durability, Session, Timestamp};

use super::store::Store;

/// How the native side keeps its sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Layout {
    /// The layout and the settings that were fastest in measurements, as in the component:
    /// hashed ids, an exclusive lock, a larger page cache
    Tuned,
    /// A column `TEXT PRIMARY KEY`, and SQLite's defaults except for the write-ahead log
    Plain,
}

impl Layout {
    /// The layout's name in the arguments.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tuned => "tuned",
            Self::Plain => "plain",
        }
    }

    /// The columns that identify the session with this id: the table's key, and the rest of
    /// the hash if the layout has one.
    fn key(self, id: &str) -> (Key<'_>, Option<[u8; 24]>) {
        match self {
            Self::Plain => (Key::Id(id), None),
            Self::Tuned => {
                let (place, rest) = key(id);
                (Key::Place(place), Some(rest))
            }
        }
    }
}

enum Key<'a> {
    Place(i64),
    Id(&'a str),
}

impl ToSql for Key<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        match self {
            Self::Place(place) => place.to_sql(),
            Self::Id(id) => id.to_sql(),
        }
    }
}

/// The hash of an id in two parts: the table's key, and the rest. As in the component, so
/// that both tables have the same order.
pub fn key(id: &str) -> (i64, [u8; 24]) {
    let hash: [u8; 32] = Sha256::new()
        .chain_update("session-id:")
        .chain_update(id)
        .finalize()
        .into();
    let (mut place, mut rest) = ([0; 8], [0; 24]);
    place.copy_from_slice(&hash[..8]);
    rest.copy_from_slice(&hash[8..]);
    (i64::from_be_bytes(place), rest)
}

/// An open native database.
pub struct Native {
    connection: Connection,
    layout: Layout,
}

impl Native {
    /// Opens the database in this file, which is created if it is missing.
    pub fn open(file: &Path, layout: Layout, durability: Durability) -> anyhow::Result<Self> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(file, flags)?;
        let synchronous = match durability {
            Durability::Full => "FULL",
            Durability::Relaxed => "NORMAL",
        };
        let (settings, key) = match layout {
            Layout::Tuned => (
                "PRAGMA locking_mode = EXCLUSIVE;
                 PRAGMA temp_store = MEMORY;
                 PRAGMA cache_size = -16384;
                 PRAGMA journal_size_limit = 4194304;",
                "INTEGER",
            ),
            Layout::Plain => ("", "TEXT"),
        };
        connection.execute_batch(&format!(
            "{settings}
             PRAGMA journal_mode = WAL;
             PRAGMA synchronous = {synchronous};
             CREATE TABLE IF NOT EXISTS Sessions (
                 key {key} PRIMARY KEY,
                 rest BLOB,
                 version INTEGER NOT NULL,
                 created INTEGER NOT NULL,
                 updated INTEGER NOT NULL,
                 expires INTEGER NOT NULL,
                 due INTEGER NOT NULL,
                 subject TEXT,
                 data BLOB NOT NULL
             ) STRICT;
             CREATE INDEX IF NOT EXISTS Due ON Sessions (due);"
        ))?;
        let mode: String = connection.query_row("PRAGMA journal_mode", [], |row| row.get(0))?;
        ensure!(mode == "wal", "SQLite refused its write-ahead log");
        Ok(Self { connection, layout })
    }

    /// Writes new sessions in one transaction.
    pub fn fill<'a>(
        &self,
        sessions: impl Iterator<Item = (&'a str, Vec<u8>, u64)>,
    ) -> anyhow::Result<()> {
        let transaction = self.connection.unchecked_transaction()?;
        for (id, data, life) in sessions {
            self.insert(id, &data, life)?;
        }
        Ok(transaction.commit()?)
    }

    /// Removes expired sessions; returns how many.
    pub fn collect(&mut self) -> anyhow::Result<u64> {
        let mut collect = self
            .connection
            .prepare_cached("DELETE FROM Sessions WHERE due <= ?1 AND expires <= ?1")?;
        Ok(collect.execute([now()?])? as u64)
    }

    fn insert(&self, id: &str, data: &[u8], life: u64) -> anyhow::Result<()> {
        let mut insert = self.connection.prepare_cached(
            "INSERT INTO Sessions (key, rest, version, created, updated, expires, due, subject, data)
             VALUES (?1, ?2, 1, ?3, ?3, ?4, ?4 / 60000 * 60000, NULL, ?5)",
        )?;
        let ((place, rest), now) = (self.layout.key(id), now()?);
        insert.execute(params![place, rest, now, now + life as i64, data])?;
        Ok(())
    }
}

impl Store for Native {
    async fn create(&mut self, data: Vec<u8>, life: u64) -> anyhow::Result<String> {
        let mut random = [0; 32];
        getrandom::fill(&mut random)?;
        let id = URL_SAFE_NO_PAD.encode(random);
        self.insert(&id, &data, life)?;
        Ok(id)
    }

    async fn get(&mut self, id: &str) -> anyhow::Result<Option<Session>> {
        let mut get = self.connection.prepare_cached(
            "SELECT data, subject, version, created, updated, expires
             FROM Sessions WHERE key = ?1 AND rest IS ?2 AND expires > ?3",
        )?;
        let (place, rest) = self.layout.key(id);
        let session = get.query_row(params![place, rest, now()?], |row| {
            Ok(Session {
                data: row.get(0)?,
                subject: row.get(1)?,
                version: row.get::<_, i64>(2)? as u64,
                created: row.get::<_, i64>(3)? as Timestamp,
                updated: row.get::<_, i64>(4)? as Timestamp,
                expires: row.get::<_, i64>(5)? as Timestamp,
            })
        });
        Ok(session.optional()?)
    }

    async fn update(&mut self, id: &str, data: Vec<u8>, life: u64) -> anyhow::Result<bool> {
        let mut update = self.connection.prepare_cached(
            "UPDATE Sessions SET data = ?4, version = version + 1, updated = ?3, expires = ?5
             WHERE key = ?1 AND rest IS ?2 AND expires > ?3 RETURNING version",
        )?;
        let ((place, rest), now) = (self.layout.key(id), now()?);
        let mut rows = update.query(params![place, rest, now, data, now + life as i64])?;
        let version: Option<i64> = rows.next()?.map(|row| row.get(0)).transpose()?;
        // SQLite checkpoints the WAL only after a statement that was run to its end.
        while rows.next()?.is_some() {}
        Ok(version.is_some())
    }

    async fn touch(&mut self, id: &str, life: u64) -> anyhow::Result<bool> {
        let mut touch = self.connection.prepare_cached(
            "UPDATE Sessions SET expires = ?4 WHERE key = ?1 AND rest IS ?2 AND expires > ?3",
        )?;
        let ((place, rest), now) = (self.layout.key(id), now()?);
        Ok(touch.execute(params![place, rest, now, now + life as i64])? == 1)
    }
}

/// Milliseconds since 1970.
fn now() -> anyhow::Result<i64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as i64)
}
