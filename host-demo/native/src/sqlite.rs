//! A store on SQLite.

use std::path::Path;

use anyhow::ensure;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::ValueEnum;
use rusqlite::types::{ToSql, ToSqlOutput};
use rusqlite::{Connection, OpenFlags, OptionalExtension, params};

use crate::{Session, Store, key, now};

/// How a store on SQLite keeps its sessions.
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

/// SQLite's version.
pub fn sqlite_version() -> &'static str {
    rusqlite::version()
}

/// An open database of SQLite.
pub struct Sqlite {
    connection: Connection,
    layout: Layout,
}

impl Sqlite {
    /// Opens the database in this file, which is created if it is missing. A write is durable
    /// once it is answered, or else soon after.
    pub fn open(file: &Path, layout: Layout, is_durable: bool) -> anyhow::Result<Self> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(file, flags)?;
        let synchronous = if is_durable { "FULL" } else { "NORMAL" };
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

impl Store for Sqlite {
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
                version: row.get(2)?,
                created: row.get(3)?,
                updated: row.get(4)?,
                expires: row.get(5)?,
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
