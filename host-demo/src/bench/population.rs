//! Two databases in a directory that hold the same sessions: ours and a native one.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use native_stores::{Layout, Sqlite};
use wasi_sessions::{Durability, Options, Outcome, Reply, Request, Sessions};

use super::held::{Held, ids};
use crate::database::Database;

/// How many sessions one transaction writes while a store is filled.
const BATCH: usize = 250;

/// Two databases that hold the same sessions.
pub struct Population {
    directory: PathBuf,
    /// The sessions that our store should hold.
    pub ours: Arc<Held>,
    /// The sessions that the native store should hold.
    pub native: Arc<Held>,
    /// How the native store keeps them.
    pub layout: Layout,
}

impl Population {
    /// Two empty databases, which are created when they are opened.
    pub fn empty(directory: PathBuf, layout: Layout) -> anyhow::Result<Self> {
        fs::create_dir(&directory)?;
        let ids = ids(0);
        Ok(Self {
            directory,
            ours: Held::new(ids.clone()).into(),
            native: Held::new(ids).into(),
            layout,
        })
    }

    /// Two databases with `count` sessions; `life` is the life of the session at an index.
    pub fn fill(
        directory: PathBuf,
        layout: Layout,
        count: u32,
        life: impl Fn(usize) -> u64,
    ) -> anyhow::Result<Self> {
        let ids = ids(count);
        let filled = Self {
            ours: Held::new(ids.clone()).into(),
            native: Held::new(ids).into(),
            ..Self::empty(directory, layout)?
        };
        let sessions = filled.open_ours(Options {
            durability: Durability::Relaxed,
            gc_frequency: 0,
            ..Options::default()
        })?;
        fill(&sessions, &filled.ours, &life)?;
        let held = &filled.native;
        let rows = (0..held.len()).map(|index| (held.id(index), held.last(index), life(index)));
        filled.open_native(Durability::Relaxed)?.fill(rows)?;
        Ok(filled)
    }

    /// Copies of both databases as they were filled, made while they were closed.
    pub fn copy(&self, directory: PathBuf) -> anyhow::Result<Self> {
        let copy = Self::empty(directory, self.layout)?;
        for database in [self.ours(), self.native()] {
            let file = copy.directory.join(&database.file);
            fs::copy(database.path(), &file)?;
            // Otherwise the first fsync of a measured store would write all of it.
            File::open(file)?.sync_all()?;
        }
        Ok(Self {
            ours: Held::new(self.ours.ids()).into(),
            native: Held::new(self.native.ids()).into(),
            ..copy
        })
    }

    /// Removes both databases.
    pub fn remove(self) -> anyhow::Result<()> {
        Ok(fs::remove_dir_all(&self.directory)?)
    }

    /// The location of our database.
    pub fn ours(&self) -> Database {
        database(&self.directory, "sessions.db")
    }

    /// The location of the native database.
    pub fn native(&self) -> Database {
        database(&self.directory, "native.db")
    }

    /// Our store, with these options and its read cache.
    pub fn open_ours(&self, options: Options) -> anyhow::Result<Sessions> {
        let database = self.ours();
        database.opened(database.builder(options).open())
    }

    /// Our store without its read cache.
    pub fn open_uncached(&self, options: Options) -> anyhow::Result<Sessions> {
        let database = self.ours();
        database.opened(database.builder(options).read_cache(0).open())
    }

    /// The native store.
    pub fn open_native(&self, durability: Durability) -> anyhow::Result<Sqlite> {
        let is_durable = durability == Durability::Full;
        Sqlite::open(&self.native().path(), self.layout, is_durable)
    }
}

/// Writes the sessions to our store; `life` is the life of the session at an index.
pub fn fill(sessions: &Sessions, held: &Held, life: impl Fn(usize) -> u64) -> anyhow::Result<()> {
    for start in (0..held.len()).step_by(BATCH) {
        let indices = start..held.len().min(start + BATCH);
        let requests = indices.map(|index| Request::Set {
            id: held.id(index).to_owned(),
            data: held.last(index),
            ttl: Some(Duration::from_millis(life(index))),
        });
        for reply in sessions.batch(requests.collect()).wait()? {
            let written = matches!(reply?, Reply::Outcome(Outcome::Written(_)));
            ensure!(written, "a session was not written");
        }
    }
    Ok(())
}

fn database(directory: &Path, file: &str) -> Database {
    Database {
        directory: directory.to_owned(),
        file: file.to_owned(),
        table: "Sessions".to_owned(),
        key: None,
        previous_key: None,
    }
}
