//! The builder: where a store is, its settings, and how it is opened or restored.

use std::fs;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::SystemTime;

use tokio::sync::oneshot;

use crate::cache::ReadCache;
use crate::cause::Cause;
use crate::clock::StoreClock;
use crate::network::Connections;
use crate::owner::thread::OwnerThread;
use crate::restore;
use crate::sandbox::directory::RESERVED;
use crate::sessions::Engine;
use crate::settings::{Files, Place, Settings};
use crate::{Answer, Database, Error, Options, Sessions};

/// Opens a store.
pub struct Builder {
    place: Place,
    pub(crate) settings: Settings,
    /// The name of a setting that was made although only a store in a directory has it.
    misplaced: Option<&'static str>,
}

impl Builder {
    /// A store in `directory`, with the defaults.
    ///
    /// A missing directory is created with permissions for this user alone; an existing one
    /// keeps its permissions. A new database, too, is for this user alone from the start;
    /// an existing one keeps its permissions, and its write-ahead log gets the same. A
    /// link, a directory or a pipe with the name of one of these files is refused.
    ///
    /// Use the directory for the store alone: it is all that the component sees of the file
    /// system, and it is locked for one owner at a time. The lock is on the directory
    /// itself, so any user who can read the directory can take the lock.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self::at(Place::Directory(Files::new(directory.into())))
    }

    /// A store in a database on a server, with the defaults: a [`Database`], or its URL.
    /// Several machines may share it. The component can reach only the servers of the URL.
    ///
    /// [`Options::sync_timeout`] bounds each call, but not the migration of a table of
    /// koa-generic-session-sequelize at [`open`](Builder::open), which takes as long as it needs.
    ///
    /// ```no_run
    /// # async fn opened() -> Result<(), wasi_sessions::Error> {
    /// use wasi_sessions::{Builder, Database};
    ///
    /// let database = Database::new("postgres://shop@db.example/shop").password("secret");
    /// let sessions = Builder::over(database).open().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// The options `key` and `previous_key` are not for such a store, and neither are
    /// [`file_name`](Builder::file_name), [`read_cache`](Builder::read_cache),
    /// [`restore`](Builder::restore) and [`Sessions::backup`].
    pub fn over(database: impl Into<Database>) -> Self {
        Self::at(Place::Database(database.into()))
    }

    fn at(place: Place) -> Self {
        Self {
            place,
            settings: Settings::default(),
            misplaced: None,
        }
    }

    /// The name of the database's file in the directory; `sessions.db` by default. Must be
    /// a plain file name that does not start with `.wasi-sessions`.
    pub fn file_name(mut self, name: impl Into<String>) -> Self {
        match &mut self.place {
            Place::Directory(files) => files.file_name = name.into(),
            Place::Database(_) => self.misplaced = Some("file_name"),
        }
        self
    }

    /// The options of the store.
    pub fn options(mut self, options: Options) -> Self {
        self.settings.options = options;
        self
    }

    /// The directory in which compiled code is cached, so that later starts take
    /// milliseconds. By default there is none, and each start compiles for seconds, in a
    /// debug build for much longer: give Cranelift `opt-level = 2` there, for example with
    /// `[profile.dev.package."*"]` in the program's `Cargo.toml`.
    ///
    /// A missing directory is created with permissions for this user alone. It may be
    /// shared by stores and processes, but must not be inside the store's directory. A
    /// stale or damaged entry is rebuilt silently. The directory is ignored if it cannot be
    /// written, or if other users could write it (on Unix: if its owner is neither this
    /// user nor root, or its group or others may write).
    pub fn cache_directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.settings.cache_directory = Some(directory.into());
        self
    }

    /// The maximum memory of the component, in bytes; 256 MiB by default.
    ///
    /// A request that needs more fails with [`Error::Crashed`]. A request needs about six
    /// times its payload; a merge up to 15 times patch and payload together, if they
    /// consist of tiny members; a batch the sum of its requests. If this process is short
    /// of address space, this many bytes of it are reserved instead of 4 GiB, and reads
    /// that miss the cache are slower. A store in a database on a server may use as much for
    /// each connection.
    pub fn memory_limit(mut self, bytes: usize) -> Self {
        self.settings.memory_limit = bytes;
        self
    }

    /// The maximum size of the read cache, in bytes; 32 MiB by default, 0 for none. The
    /// cache answers as the database would. Its answers do not count as requests for
    /// [`Options::gc_frequency`]. A store in a database on a server has none, since others
    /// write to the database.
    pub fn read_cache(mut self, bytes: usize) -> Self {
        match &mut self.place {
            Place::Directory(files) => files.read_cache = bytes,
            Place::Database(_) if bytes > 0 => self.misplaced = Some("read_cache"),
            Place::Database(_) => {}
        }
        self
    }

    /// Replaces the wall clock, for tests. It is read on the store's thread and on threads
    /// that poll an answer or wait for one. It must not wait for an answer of the same
    /// store: [`wait`](Answer::wait) would fail, and blocking in another way would
    /// deadlock. If it panics during a request, the store closes, and it is unknown whether
    /// the requests in flight were done.
    pub fn clock(mut self, now: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        self.settings.clock = Arc::new(now);
        self
    }

    /// Replaces the source of randomness, for tests. The default is a cryptographic
    /// generator seeded by the operating system; ids are only as unguessable as this
    /// source. It is called on the same threads as the clock, with the same restrictions.
    pub fn random(mut self, fill: impl Fn(&mut [u8]) + Send + Sync + 'static) -> Self {
        self.settings.random = Some(Arc::new(fill));
        self
    }

    /// Replaces this store's database with the backup `copy`. No store may be open in the
    /// directory, which is created if it is missing.
    ///
    /// The backup is read, not changed. It is copied into the directory, which needs the
    /// space, and accepted only if the copy is an undamaged database with a table of this
    /// name and of the current schema. For a backup of encrypted sessions, the key that it
    /// was made with must be [`Options::key`] or [`Options::previous_key`]. Then the copy
    /// replaces the database and its write-ahead log in one step: if the process is killed,
    /// the directory holds either the old database, unchanged, or the backup.
    ///
    /// # Errors
    ///
    /// [`Error::InUse`] if an owner holds the directory, or an instance with `shared` access
    /// the database for longer than [`Options::sync_timeout`],
    /// [`Error::InvalidArgument`] for a backup that is missing, is not a regular
    /// file, is this database itself, is a database in use (with a write-ahead log
    /// or a journal beside it), is encrypted with another key, or is a database of another
    /// kind, and [`Error::Corrupt`] for a damaged backup.
    pub fn restore(self, copy: impl AsRef<Path>) -> Answer<()> {
        let copy = copy.as_ref().to_owned();
        Answer::new(|_| async move {
            let Place::Directory(files) = self.place else {
                return Err(Error::InvalidArgument(
                    "restore: is for a store in a directory; a server has its own tools".to_owned(),
                ));
            };
            check_file_name(&files.file_name)?;
            let settings = self.settings;
            let (done, answer) = oneshot::channel();
            // On a new thread, because this waits for files and must not block a runtime.
            thread::Builder::new()
                .name("wasi-sessions-restore".to_owned())
                .spawn(move || done.send(restore::restore(&files, settings, &copy)))
                .map_err(|error| Error::Start(Cause::new(error)))?;
            answer.await.map_err(|_| Error::Closed)?
        })
    }

    /// Opens the store, on the store's own thread: locks the directory, starts the component
    /// and opens the database. If the answer is dropped before it is complete, the store is
    /// closed as soon as it is open.
    ///
    /// # Errors
    ///
    /// [`Error::InUse`] without waiting if another owner holds the directory, and after
    /// [`Options::sync_timeout`] if an instance with `shared` access holds the database,
    /// [`Error::Unreachable`] if no server was ready within [`Options::sync_timeout`],
    /// [`Error::InvalidArgument`] for a URL that is not accepted
    /// or a setting out of range, and the errors of opening the database.
    pub fn open(self) -> Answer<Sessions> {
        Answer::new(|_| async move {
            if let Some(setting) = self.misplaced {
                return Err(Error::InvalidArgument(format!(
                    "{setting}: is for a store in a directory"
                )));
            }
            let settings = self.settings;
            let clock = StoreClock::new(settings.clock.clone());
            let options = settings.options.clone();
            match self.place {
                Place::Directory(files) => open_in(files, settings, options, clock).await,
                Place::Database(database) => {
                    let cache = Arc::new(ReadCache::new(0, clock.clone(), false));
                    let connections = Connections::open(database, settings, clock).await?;
                    let engine = Engine::Network(connections);
                    Ok(Sessions::new(engine, cache, options))
                }
            }
        })
    }
}

async fn open_in(
    files: Files,
    settings: Settings,
    options: Options,
    clock: Arc<StoreClock>,
) -> Result<Sessions, Error> {
    check_file_name(&files.file_name)?;
    let bounded = options.max_per_subject.is_some();
    let cache = Arc::new(ReadCache::new(files.read_cache, clock.clone(), bounded));
    let directory = files.directory.clone();
    let owner = OwnerThread::open(files, settings, clock, cache.clone()).await?;
    let directory = fs::canonicalize(&directory).map_err(|error| Error::Directory {
        path: directory,
        file: None,
        reason: Cause::new(error),
    })?;
    let engine = Engine::Directory {
        owner: Box::new(owner),
        directory,
    };
    Ok(Sessions::new(engine, cache, options))
}

/// Accepts only a plain file name that is not reserved: it becomes part of a path in the
/// component, and lies beside this crate's own files.
fn check_file_name(name: &str) -> Result<(), Error> {
    let mut components = Path::new(name).components();
    let plain = components.next() == Some(Component::Normal(name.as_ref()));
    if plain && !name.contains('\0') && !name.starts_with(RESERVED) {
        Ok(())
    } else {
        Err(Error::InvalidArgument(format!(
            "file name {name:?}: not a plain file name, or one that is reserved"
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_plain_file_name_is_accepted() {
        for name in ["sessions.db", "a", "ünï.db", ".hidden", "a b", "..."] {
            assert_eq!(check_file_name(name), Ok(()), "{name:?}");
        }
        for name in [
            "",
            ".",
            "..",
            "/",
            "/a",
            "a/",
            "a/b",
            "./a",
            "a/.",
            "../a",
            "a\0",
            ".wasi-sessions",
            ".wasi-sessions.lock",
            ".wasi-sessions.backup",
        ] {
            assert!(check_file_name(name).is_err(), "{name:?}");
        }
    }
}
