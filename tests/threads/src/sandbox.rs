//! An engine in memory, in the place of the component and its directory.

pub(crate) mod backup {
    use std::io;
    use std::path::Path;

    use crate::Error;

    pub(crate) fn failed(_: &Path, _: io::Error) -> Error {
        unreachable!("no schedule writes a backup")
    }

    /// No backup is written here.
    pub(crate) struct Folder;

    impl Folder {
        pub(crate) fn beside(_: &Path) -> Result<Self, Error> {
            unreachable!("no schedule writes a backup")
        }

        pub(crate) fn open(&self) -> Result<Self, Error> {
            unreachable!("no schedule writes a backup")
        }

        pub(crate) fn failed(&self, error: Error) -> Error {
            error
        }

        pub(crate) fn move_copy(self) -> Result<(), Error> {
            unreachable!("no schedule writes a backup")
        }
    }
}

pub(crate) mod descriptors {
    use std::io;
    use std::path::Path;

    pub(crate) fn check(_: &Path) -> io::Result<()> {
        Ok(())
    }
}

pub(crate) mod directory {
    use std::path::{Path, PathBuf};
    use std::time::Duration;

    use crate::{Error, disk};

    pub(crate) const RESERVED: &str = ".wasi-sessions";

    /// The lock on the disk's directory.
    pub(crate) struct Directory(PathBuf);

    impl Directory {
        pub(crate) fn lock(path: &Path, _: &str, _: Duration) -> Result<Self, Error> {
            match disk::with(|disk| std::mem::replace(&mut disk.locked, true)) {
                false => Ok(Self(path.to_owned())),
                true => Err(Error::InUse {
                    directory: path.to_owned(),
                }),
            }
        }

        pub(crate) fn path(&self) -> &Path {
            &self.0
        }

        pub(crate) fn owns(&self, _: &Path) -> bool {
            false
        }

        pub(crate) fn look(&self, _log: Option<&()>) -> Result<(), Error> {
            Ok(())
        }

        pub(crate) fn is_doubtful(&self) -> bool {
            false
        }

        pub(crate) fn refuse_unlinked(&self, _log: Option<&()>) -> Result<(), Error> {
            Ok(())
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            disk::with(|disk| {
                assert_eq!(
                    disk.open, 0,
                    "the directory is released before the database"
                );
                disk.locked = false;
            });
        }
    }
}

pub(crate) mod state {
    use std::pin::pin;
    use std::sync::Arc;
    use std::task::{Context, Poll, Waker};

    use crate::clock::StoreClock;
    use crate::disk::{self, Disk};
    use crate::sandbox::instance::Called;
    use crate::sync::{coin, step};

    /// Runs a call of the engine, which waits for nothing.
    pub(crate) fn complete<T>(call: impl Future<Output = T>) -> T {
        match pin!(call).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(done) => done,
            Poll::Pending => unreachable!("a call of the engine waits for nothing"),
        }
    }

    /// An instance with the database open, until it is dropped.
    pub(crate) struct State(pub(crate) Arc<StoreClock>);

    impl State {
        /// A call of the instance, whose work is done in the middle of it at once. One that
        /// traps has done its work or has not.
        pub(crate) fn call<T>(&mut self, work: impl FnOnce(&mut Disk) -> T) -> Called<T> {
            let lives = disk::with(Disk::start);
            self.0.tell();
            let done = (lives || coin()).then(|| disk::with(work));
            step();
            disk::with(Disk::end);
            let answer = done.filter(|_| lives);
            answer.map(Ok).ok_or_else(|| wasmtime::Error::msg("a trap"))
        }
    }

    impl Drop for State {
        fn drop(&mut self) {
            disk::with(|disk| {
                disk.end();
                disk.open -= 1;
            });
        }
    }
}

pub(crate) mod launcher {
    use std::sync::{Arc, LazyLock};

    use wasmtime::{Engine, Store};

    use crate::clock::StoreClock;
    use crate::sandbox::directory::Directory;
    use crate::sandbox::instance::{Files, Guest, Wal};
    use crate::sandbox::state::State;
    use crate::settings::Settings;
    use crate::{Error, disk};

    static ENGINE: LazyLock<Engine> = LazyLock::new(Engine::default);

    pub(crate) struct Launcher {
        settings: Settings,
        clock: Arc<StoreClock>,
    }

    impl Launcher {
        pub(crate) fn new(
            _: &str,
            settings: Settings,
            clock: Arc<StoreClock>,
            _: &Directory,
        ) -> Result<Self, Error> {
            Ok(Self { settings, clock })
        }

        pub(crate) fn start(&self, _: &mut Directory) -> Result<Guest, Error> {
            disk::with(|disk| {
                assert_eq!(disk.open, 0, "the database is opened twice");
                disk.open += 1;
            });
            Ok(Guest {
                store: Store::new(&ENGINE, State(self.clock.clone())),
                files: Files { wal: Wal },
                random: self.settings.random.clone(),
                most: self.settings.options.max_per_subject.unwrap_or(0),
            })
        }
    }
}

pub(crate) mod instance {
    use std::sync::Arc;

    use wasmtime::Store;

    use crate::contract;
    use crate::contract::types::{Collected, Page, Reply, Request, Session, Statistics};
    use crate::disk::{self, Disk, Done};
    use crate::request::Ending;
    use crate::sandbox::backup::Folder;
    use crate::sandbox::state::State;
    use crate::settings::Random;
    use crate::sync::coin;

    pub(crate) type Called<T> = wasmtime::Result<Result<T, contract::Error>>;

    pub(crate) struct Guest {
        pub(crate) store: Store<State>,
        pub(crate) files: Files,
        pub(crate) random: Option<Random>,
        pub(crate) most: u64,
    }

    impl Guest {
        pub(crate) async fn get(&mut self, id: &str) -> Called<Option<Session>> {
            self.store.data_mut().call(|disk| disk.get(id))
        }

        pub(crate) async fn batch(
            &mut self,
            requests: &[Request],
        ) -> Called<Vec<Result<Reply, contract::Error>>> {
            for request in requests {
                if let (Request::Create(_), Some(random)) = (request, &self.random) {
                    random(&mut [0]);
                }
            }
            let most = self.most;
            self.store.data_mut().call(|disk| {
                let replies = requests.iter().map(|request| disk.reply(request, most));
                replies.collect()
            })
        }

        pub(crate) async fn end(&mut self, ending: &Ending) -> Called<u64> {
            let ends = |session: &Session| match ending {
                Ending::OfSubject { subject, .. } => session.subject.as_ref() == Some(subject),
                Ending::All => true,
                Ending::Session(_) => unreachable!("no schedule has a handle"),
            };
            self.store.data_mut().call(|disk| disk.end_all(ends))
        }

        pub(crate) fn keeping(&mut self) -> Keeping<'_> {
            Keeping(self)
        }

        pub(crate) async fn backup(&mut self, _: Folder) -> Called<()> {
            unreachable!("no schedule writes a backup")
        }

        pub(crate) fn files(&self) -> &Files {
            &self.files
        }

        pub(crate) fn log(&self) -> Option<Arc<()>> {
            None
        }

        pub(crate) async fn close(self) {
            disk::with(|disk| disk.closed += 1);
        }
    }

    /// The functions of `admin` that end no session.
    pub(crate) struct Keeping<'g>(&'g mut Guest);

    impl Keeping<'_> {
        pub(crate) async fn collect(self, _limit: u32) -> Called<Collected> {
            self.0.store.data_mut().call(Disk::collect)
        }

        pub(crate) async fn count_sessions(self, _subject: Option<&str>) -> Called<u64> {
            self.0.store.data_mut().call(|disk| {
                disk.note(Done::Count);
                disk.sessions().count() as u64
            })
        }

        pub(crate) async fn list_sessions(
            self,
            _subject: Option<&str>,
            _cursor: Option<&str>,
            _limit: u32,
        ) -> Called<Page> {
            unreachable!("no schedule lists sessions")
        }

        pub(crate) async fn inspect(self, _handle: String) -> Called<Option<Session>> {
            unreachable!("no schedule has a handle")
        }

        pub(crate) async fn stats(self) -> Called<Statistics> {
            unreachable!("no schedule asks for figures")
        }

        pub(crate) async fn check(self) -> Called<Vec<String>> {
            unreachable!("no schedule checks the database")
        }

        pub(crate) async fn backup(self, _location: &str) -> Called<()> {
            unreachable!("no schedule writes a backup")
        }
    }

    pub(crate) struct Files {
        pub(crate) wal: Wal,
    }

    impl Files {
        pub(crate) fn are_sound(&self) -> bool {
            true
        }
    }

    pub(crate) struct Wal;

    impl Wal {
        /// By chance, so that writes of tasks are done by either thread.
        pub(crate) fn has_room(&self, _pages: u64, _bytes: u64, _freed: u64) -> bool {
            coin()
        }
    }
}
