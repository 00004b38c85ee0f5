//! The owner of the component's instance and of the open database.

pub(crate) mod blocking;
pub(crate) mod caller;
pub(crate) mod command;
pub(crate) mod group;
mod inline;
pub(crate) mod limits;
pub(crate) mod permits;
mod shared;
pub(crate) mod store_thread;
pub(crate) mod thread;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::cache::ReadCache;
use crate::cause::Cause;
use crate::clock::StoreClock;
use crate::contract::types::{GetRequest, Request};
use crate::owner::inline::Inline;
use crate::request::Ending;
use crate::sandbox::backup;
use crate::sandbox::descriptors;
use crate::sandbox::directory::Directory;
use crate::sandbox::instance::{Called, Guest, Keeping};
use crate::sandbox::launcher::Launcher;
use crate::sandbox::state::complete;
use crate::settings::{Files, Settings};
use crate::sync::Instant;
use crate::{Collected, Error, Reply, Session};

/// One reply for each request, in order.
pub(crate) type Replies = Vec<Result<Reply, Error>>;

/// The time after which a request checks again that the names of the database's files
/// still refer to the open files, and that the lease is not lost.
const LOOK: Duration = Duration::from_millis(100);

/// Calls the component, on the thread that holds the owner's lock. Work that may wait for
/// the disk must not run on a runtime's thread; see [`Owner::waits_for_disk`].
pub(crate) struct Owner {
    /// `None` from a crash to the next request.
    guest: Option<Guest>,
    launcher: Launcher,
    cache: Arc<ReadCache>,
    clock: Arc<StoreClock>,
    /// A request carries a collection step once this many have been counted; 0 for never.
    gc_frequency: u64,
    /// An upper bound on the requests that the component has counted since the last
    /// complete collection.
    counted: u64,
    /// When the names of the database's files were last checked and found right.
    looked: Instant,
    /// Once a check of the names has failed: the error that every request gets.
    replaced: Option<Error>,
    /// Dropped last, so that the lock is held until the database is closed.
    directory: Directory,
}

impl Owner {
    /// Locks the directory, starts the component and opens the database.
    pub(crate) fn open(
        files: &Files,
        settings: Settings,
        clock: Arc<StoreClock>,
        cache: Arc<ReadCache>,
    ) -> Result<Self, Error> {
        let gc_frequency = settings.options.gc_frequency;
        let mut directory = Directory::lock(
            &files.directory,
            &files.file_name,
            settings.options.sync_timeout,
        )?;
        check_descriptors(&directory)?;
        let launcher = Launcher::new(&files.file_name, settings, clock.clone(), &directory)?;
        let guest = launcher.start(&mut directory)?;
        Ok(Self {
            guest: Some(guest),
            launcher,
            cache,
            clock,
            gc_frequency,
            counted: 0,
            looked: Instant::now(),
            replaced: None,
            directory,
        })
    }

    pub(crate) fn close(mut self) {
        // Closing removes the WAL by name, which may refer to another file now, or to one
        // that another owner of the lease uses.
        if self.look().is_ok()
            && let Some(guest) = self.guest.take()
        {
            complete(guest.close());
        }
    }

    /// Whether this work may wait for the disk: because it starts the component, reopens
    /// the database, restarts the WAL or ends with a checkpoint.
    pub(crate) fn waits_for_disk(&self, work: &Inline) -> bool {
        let Some(guest) = &self.guest else {
            return true;
        };
        let files = guest.files();
        !files.are_sound()
            || work.writes() && !files.wal.has_room(work.pages, work.bytes, work.freed)
    }

    /// The length of the payload stored under this id, if the cache knows it.
    pub(crate) fn stored_length(&self, id: &str) -> Option<u64> {
        self.cache.stored_length(id)
    }

    /// Whether one of the next `requests` requests may carry a collection step.
    pub(crate) fn collects_within(&self, requests: u64) -> bool {
        self.gc_frequency > 0 && self.counted.saturating_add(requests) >= self.gc_frequency
    }

    /// The live session with this id, if there is one.
    pub(crate) fn get(&mut self, id: &str) -> Result<Option<Session>, Error> {
        let session = self.ask(1, |guest| complete(guest.get(id)))?;
        if let Some(session) = &session {
            self.cache.remember_read(id, session);
        }
        Ok(session)
    }

    /// Runs all requests in one transaction.
    pub(crate) fn batch(&mut self, requests: &[Request]) -> Result<Replies, Error> {
        // Most requests are a single `get`; calling it directly is cheaper than a batch.
        if let [Request::Get(GetRequest { id })] = requests {
            return Ok(vec![Ok(Reply::Session(self.get(id)?))]);
        }
        let forgotten = self.cache.forget(requests);
        let replies = self.write(requests.len() as u64, |guest| {
            complete(guest.batch(requests))
        })?;
        let replies: Replies = replies
            .into_iter()
            .map(|reply| reply.map_err(Error::from))
            .collect();
        self.cache.remember(requests, &replies, forgotten);
        Ok(replies)
    }

    /// Ends sessions, which the cache forgets before; returns how many.
    pub(crate) fn end(&mut self, ending: &Ending) -> Result<u64, Error> {
        self.cache.forget_ended(ending);
        self.call(|guest| complete(guest.end(ending)))
    }

    /// Calls a function of the contract's `admin` that ends no session.
    pub(crate) fn keeping<T>(
        &mut self,
        call: impl AsyncFnOnce(Keeping<'_>) -> Called<T>,
    ) -> Result<T, Error> {
        self.call(|guest| complete(call(guest.keeping())))
    }

    /// Calls the component for a request that may write, and fails if the database or its
    /// WAL was unlinked, or the lease was lost.
    fn call<T>(&mut self, call: impl FnOnce(&mut Guest) -> Called<T>) -> Result<T, Error> {
        self.write(1, call)
    }

    fn write<T>(
        &mut self,
        requests: u64,
        call: impl FnOnce(&mut Guest) -> Called<T>,
    ) -> Result<T, Error> {
        let answer = self.ask(requests, call);
        let log = self.guest.as_ref().and_then(Guest::log);
        let linked = self.directory.refuse_unlinked(log.as_deref());
        linked.map_err(|replaced| self.give_up(replaced))?;
        answer
    }

    /// Calls the component, which is restarted first if it has crashed. If it
    /// crashes now, its instance is dropped, and SQLite recovers the database at
    /// the restart.
    fn ask<T>(
        &mut self,
        requests: u64,
        call: impl FnOnce(&mut Guest) -> Called<T>,
    ) -> Result<T, Error> {
        let is_due = self.looked.elapsed() >= LOOK || self.directory.is_doubtful();
        if self.guest.is_none() || is_due {
            self.look()?;
        }
        let guest = match &mut self.guest {
            Some(guest) => guest,
            crashed => {
                check_descriptors(&self.directory)?;
                crashed.insert(self.launcher.start(&mut self.directory)?)
            }
        };
        self.clock.start_call();
        self.counted = self.counted.saturating_add(requests);
        let called = call(guest);
        if self.clock.went_far_back() {
            self.cache.forget_all();
            self.clock.accept_call();
        }
        match called {
            Ok(answer) => Ok(answer?),
            Err(_trap) => {
                self.guest = None;
                self.cache.forget_all();
                Err(Error::Crashed)
            }
        }
    }

    /// Checks that the names of the database's files refer to the open files, and that the
    /// lease is not lost. If not, this and every later request fails.
    fn look(&mut self) -> Result<(), Error> {
        if let Some(replaced) = &self.replaced {
            return Err(replaced.clone());
        }
        let log = self.guest.as_ref().and_then(Guest::log);
        match self.directory.look(log.as_deref()) {
            Ok(()) => {
                self.looked = Instant::now();
                Ok(())
            }
            Err(replaced) => Err(self.give_up(replaced)),
        }
    }

    /// Drops the component without closing the database, since closing writes to the
    /// database and removes files by name.
    fn give_up(&mut self, replaced: Error) -> Error {
        self.guest = None;
        self.cache.forget_all();
        self.replaced = Some(replaced.clone());
        replaced
    }

    /// Checks the names of the files, and reads the whole database.
    pub(crate) fn check(&mut self) -> Result<Vec<String>, Error> {
        self.look()?;
        self.keeping(async |admin: Keeping<'_>| admin.check().await)
    }

    /// Runs one collection step, which removes at most `limit` rows.
    pub(crate) fn collect(&mut self, limit: u32) -> Result<Collected, Error> {
        let collected = self.keeping(async |admin| admin.collect(limit).await)?;
        if !collected.more {
            self.counted = 0;
        }
        Ok(collected)
    }

    /// Has the component write a copy beside the target, and moves the copy there.
    pub(crate) fn backup(&mut self, target: &Path) -> Result<(), Error> {
        if self.directory.owns(target) {
            let target = target.display();
            let words = format!("backup: `{target}` belongs to the store itself");
            return Err(Error::InvalidArgument(words));
        }
        descriptors::check(self.directory.path()).map_err(|error| backup::failed(target, error))?;
        let folder = backup::Folder::beside(target)?;
        let directory = folder.open()?;
        self.call(|guest| complete(guest.backup(directory)))
            .map_err(|error| folder.failed(error))?;
        folder.move_copy()
    }
}

/// Fails when there are too few descriptors to start the component.
fn check_descriptors(directory: &Directory) -> Result<(), Error> {
    descriptors::check(directory.path()).map_err(|error| Error::Start(Cause::new(error)))
}

impl Drop for Owner {
    /// Invalidates the cache: after a panic there may still be handles, and another
    /// owner may lock the directory next.
    fn drop(&mut self) {
        self.cache.forget_all();
    }
}
