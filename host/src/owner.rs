//! The owner of the component and the open database.

use std::path::Path;
use std::sync::Arc;

use crate::backup;
use crate::builder::Builder;
use crate::clock::StoreClock;
use crate::descriptors;
use crate::directory::Directory;
use crate::guest::{Called, Guest, Launcher};
use crate::read_cache::ReadCache;
use crate::{Collected, Error, Reply, Request, Session};

/// One reply for each request, in order.
pub(crate) type Replies = Vec<Result<Reply, Error>>;

/// Whoever holds it may call the component, on any thread that may wait for
/// files.
pub(crate) struct Owner {
    /// `None` from a crash to the next request.
    guest: Option<Guest>,
    launcher: Launcher,
    pub(crate) cache: Arc<ReadCache>,
    clock: Arc<StoreClock>,
    /// Dropped last, so that nobody else opens what is not yet closed.
    directory: Directory,
}

impl Owner {
    /// Locks the directory, starts the component and opens the database.
    pub(crate) fn open(
        settings: Builder,
        clock: Arc<StoreClock>,
        cache: Arc<ReadCache>,
    ) -> Result<Self, Error> {
        let directory = Directory::lock(&settings.directory)?;
        backup::remove_leftover(directory.path());
        check_descriptors(&directory)?;
        let launcher = Launcher::new(settings, clock.clone(), &directory)?;
        let guest = launcher.start(&directory)?;
        Ok(Self {
            guest: Some(guest),
            launcher,
            cache,
            clock,
            directory,
        })
    }

    pub(crate) fn close(mut self) {
        if let Some(guest) = self.guest.take() {
            guest.close();
        }
    }

    /// The session, if it is there.
    pub(crate) fn get(&mut self, id: &str) -> Result<Option<Session>, Error> {
        let session = self.call(|guest| guest.get(id))?;
        if let Some(session) = &session {
            self.cache.remember_read(id, session);
        }
        Ok(session)
    }

    /// Does all requests in one transaction.
    pub(crate) fn batch(&mut self, requests: &[Request]) -> Result<Replies, Error> {
        // Most requests are this one, and to call it as it is costs less.
        if let [Request::Get(id)] = requests {
            return Ok(vec![Ok(Reply::Session(self.get(id)?))]);
        }
        let forgotten = self.cache.forget(requests);
        let replies = self.call(|guest| guest.batch(requests))?;
        let replies: Replies = replies
            .into_iter()
            .map(|reply| reply.map_err(Error::from))
            .collect();
        self.cache.remember(requests, &replies, forgotten);
        Ok(replies)
    }

    /// Calls the component, which is started anew if it crashed before. If it
    /// crashes now it is gone, and SQLite recovers the database at the next start.
    pub(crate) fn call<T>(
        &mut self,
        call: impl FnOnce(&mut Guest) -> Called<T>,
    ) -> Result<T, Error> {
        let guest = match &mut self.guest {
            Some(guest) => guest,
            crashed => {
                check_descriptors(&self.directory)?;
                crashed.insert(self.launcher.start(&self.directory)?)
            }
        };
        self.clock.forget_moment();
        let called = call(guest);
        if self.clock.went_far_back() {
            self.cache.forget_all();
            self.clock.accept_moment();
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

    /// Removes at most `limit` rows that no longer count.
    pub(crate) fn collect(&mut self, limit: u32) -> Result<Collected, Error> {
        self.call(|guest| {
            guest.admin(|admin, store, opened| admin.call_collect(store, opened, limit))
        })
    }

    /// Has the component write a copy into its own directory, and moves that
    /// to where the component cannot reach.
    pub(crate) fn backup(&mut self, target: &Path) -> Result<(), Error> {
        backup::refuse_existing(target)?;
        descriptors::check(self.directory.path())
            .map_err(|error| Error::Other(format!("backup to `{}`: {error}", target.display())))?;
        let folder = backup::Folder::create(self.directory.path())?;
        self.call(|guest| {
            guest.admin(|admin, store, opened| {
                admin.call_backup(store, opened, backup::Folder::LOCATION)
            })
        })?;
        folder.move_copy(target)
    }
}

/// Makes sure that the component can be started.
fn check_descriptors(directory: &Directory) -> Result<(), Error> {
    descriptors::check(directory.path()).map_err(|error| Error::Start(error.to_string()))
}

impl Drop for Owner {
    /// After a panic there may still be handles, and the directory is about to be
    /// anybody's.
    fn drop(&mut self) {
        self.cache.forget_all();
    }
}
