//! How a store is opened: where it is, and what its component is given.

use std::fs;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::SystemTime;

use tokio::sync::oneshot;

use crate::cache::ReadCache;
use crate::cause::Cause;
use crate::clock::StoreClock;
use crate::owner::thread::OwnerThread;
use crate::restore;
use crate::sandbox::directory::RESERVED;
use crate::settings::Settings;
use crate::{Answer, Error, Options, Sessions};

/// Opens a store.
pub struct Builder(pub(crate) Settings);

impl Builder {
    /// A store in `directory`, with the defaults. The directory is created when
    /// it is missing, for this user alone; one that is there keeps its
    /// permissions. A new database is for this user alone, too, from its first
    /// byte; an existing one keeps its permissions, and its write-ahead log gets
    /// the same. A link, a directory or a pipe with the name of one of these files
    /// is refused. The directory is all that the component sees of the file system,
    /// and one owner at a time has it: use it for the store alone. The lock is on
    /// the directory itself, so other users who can read the directory can hold the
    /// lock, too.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self(Settings::new(directory.into()))
    }

    /// The database's file in the directory; `sessions.db` by default. Only a
    /// plain file name is accepted, and none that starts with `.wasi-sessions`.
    pub fn file_name(mut self, name: impl Into<String>) -> Self {
        self.0.file_name = name.into();
        self
    }

    /// The options of the store.
    pub fn options(mut self, options: Options) -> Self {
        self.0.options = options;
        self
    }

    /// Where compiled code is kept, so that later starts take milliseconds; by
    /// default nowhere, and each start compiles for seconds.
    ///
    /// The directory is created when it is missing, for this user alone. It may
    /// be shared by stores and processes, but must not be inside the store's
    /// directory. An entry that is stale or damaged is rebuilt silently. A
    /// directory that cannot be written, or that other users could write (on
    /// Unix: whose owner is neither this user nor root, or whose group or others
    /// may write), is as good as none.
    pub fn cache_directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.0.cache_directory = Some(directory.into());
        self
    }

    /// The most memory the component may use, in bytes; 256 MiB by default. A
    /// request that needs more fails with [`Error::Crashed`]: one needs about
    /// six times its payload; a merge up to 15 times patch and payload together, if
    /// they consist of tiny members; and a batch the sum of its requests. Where
    /// this process is short of address space, this many bytes of it are reserved
    /// instead of 4 GiB, and reads that miss the cache are slower.
    pub fn memory_limit(mut self, bytes: usize) -> Self {
        self.0.memory_limit = bytes;
        self
    }

    /// The most memory for sessions that were read before, in bytes; 32 MiB by
    /// default, 0 for none. What is answered from there is what the database
    /// would answer; it is no request for [`Options::gc_frequency`].
    pub fn read_cache(mut self, bytes: usize) -> Self {
        self.0.read_cache = bytes;
        self
    }

    /// Replaces the wall clock, for tests. It is read on the store's thread and on any
    /// that polls an answer or waits for one. It must not wait for an answer of the
    /// store itself: [`wait`](Answer::wait) would fail, and blocking on it in another
    /// way would never end. If it panics during a request, the store closes, and
    /// whether the requests in flight were done is unknown.
    pub fn clock(mut self, now: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        self.0.clock = Arc::new(now);
        self
    }

    /// Replaces the source of randomness, for tests. By default it is a
    /// cryptographic generator that the operating system seeds; ids are only as
    /// secret as it is good. It is called where the clock is.
    pub fn random(mut self, fill: impl Fn(&mut [u8]) + Send + Sync + 'static) -> Self {
        self.0.random = Some(Arc::new(fill));
        self
    }

    /// Replaces this store's database with the backup `copy`. No store may be open
    /// on the directory, which is created when it is missing.
    ///
    /// The backup is read twice and not changed. It is copied into the directory,
    /// which needs the space, and refused there unless it is a sound database with
    /// a table of this name and of the current schema. Then it replaces the
    /// database and its write-ahead log in one step: if the process is killed, the
    /// directory holds either the old database, unchanged, or the backup.
    ///
    /// # Errors
    ///
    /// [`Error::InUse`] when an owner holds the directory,
    /// [`Error::InvalidArgument`] for a backup that is missing, is not a regular
    /// file, is this database itself, is a database in use (with a write-ahead log
    /// or a journal beside it), or is a database of another kind, and
    /// [`Error::Corrupt`] for one that is damaged.
    pub fn restore(self, copy: impl AsRef<Path>) -> Answer<()> {
        let copy = copy.as_ref().to_owned();
        Answer::new(|_| async move {
            let settings = self.0;
            check_file_name(&settings.file_name)?;
            let (done, answer) = oneshot::channel();
            // A new thread does the work: it waits for files, and a runtime's
            // threads must not.
            thread::Builder::new()
                .name("wasi-sessions-restore".to_owned())
                .spawn(move || done.send(restore::restore(settings, &copy)))
                .map_err(|error| Error::Start(Cause::new(error)))?;
            answer.await.map_err(|_| Error::Closed)?
        })
    }

    /// Opens the store: locks the directory, starts the component and opens the
    /// database, on a thread of the store's own. When the answer is dropped on
    /// its way, the store is closed as soon as it is open.
    ///
    /// # Errors
    ///
    /// [`Error::InUse`] at once when another owner holds the directory,
    /// [`Error::InvalidArgument`] for a setting out of range, and what the
    /// database answers to being opened.
    pub fn open(self) -> Answer<Sessions> {
        Answer::new(|_| async move {
            let settings = self.0;
            check_file_name(&settings.file_name)?;
            let clock = StoreClock::new(settings.clock.clone());
            let options = settings.options.clone();
            let directory = settings.directory.clone();
            let bounded = options.max_per_subject.is_some();
            let cache = Arc::new(ReadCache::new(settings.read_cache, clock.clone(), bounded));
            let owner = OwnerThread::open(settings, clock, cache.clone()).await?;
            let directory = fs::canonicalize(&directory).map_err(|error| Error::Directory {
                path: directory,
                file: None,
                reason: Cause::new(error),
            })?;
            Ok(Sessions::new(owner, cache, options, directory))
        })
    }
}

/// The name becomes part of a path for the component and a name beside the
/// files of this crate.
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
