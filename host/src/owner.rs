//! The one thread that owns the component and the open database.

use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::{mpsc, oneshot};

use crate::answer::LINGER;
use crate::backup;
use crate::builder::Builder;
use crate::clock::StoreClock;
use crate::directory::Directory;
use crate::group::{self, Budget, Waiting};
use crate::guest::{Called, Guest, Launcher};
use crate::read_cache::ReadCache;
use crate::{Error, Reply, Request};

/// What handles ask of the owner. Requests travel as the contract's `request`,
/// so that those that wait together can be done together.
pub(crate) enum Command {
    Sessions(Waiting),
    Other(Box<dyn FnOnce(&mut Owner) + Send>),
}

/// One reply for each request, in order.
pub(crate) type Replies = Vec<Result<Reply, Error>>;

/// Opens the store, says whether that worked, and answers commands until the
/// last handle is gone; then closes it.
pub(crate) fn run(
    settings: Builder,
    clock: Arc<StoreClock>,
    cache: Arc<ReadCache>,
    mut commands: mpsc::Receiver<Command>,
    ready: oneshot::Sender<Result<(), Error>>,
) {
    let budget = Budget::new(settings.memory_limit, settings.options.max_data);
    // Somebody who no longer waits for an answer misses it, here and below.
    let mut owner = match Owner::open(settings, clock, cache) {
        Ok(owner) => owner,
        Err(error) => {
            let _ = ready.send(Err(error));
            return;
        }
    };
    let _ = ready.send(Ok(()));
    let mut next = None;
    while let Some(command) = next.take().or_else(|| receive(&mut commands)) {
        match command {
            Command::Sessions(first) => {
                let (group, command) = group::gather(first, &mut commands, &budget);
                next = command;
                group::answer(group, |requests| owner.batch(requests));
            }
            Command::Other(call) => call(&mut owner),
        }
    }
    owner.close();
}

/// The next command; none when the last handle is gone. The thread lingers
/// before it sleeps, because to wake it takes longer than most requests.
fn receive(commands: &mut mpsc::Receiver<Command>) -> Option<Command> {
    let started = Instant::now();
    while started.elapsed() < LINGER {
        match commands.try_recv() {
            Ok(command) => return Some(command),
            Err(TryRecvError::Disconnected) => return None,
            Err(TryRecvError::Empty) => thread::yield_now(),
        }
    }
    commands.blocking_recv()
}

pub(crate) struct Owner {
    /// `None` from a crash to the next request.
    guest: Option<Guest>,
    launcher: Launcher,
    pub(crate) cache: Arc<ReadCache>,
    /// Dropped last, so that nobody else opens what is not yet closed.
    directory: Directory,
}

impl Owner {
    fn open(
        settings: Builder,
        clock: Arc<StoreClock>,
        cache: Arc<ReadCache>,
    ) -> Result<Self, Error> {
        let directory = Directory::lock(&settings.directory)?;
        backup::remove_leftover(directory.path());
        let launcher = Launcher::new(settings, clock, &directory)?;
        let guest = launcher.start(&directory)?;
        Ok(Self {
            guest: Some(guest),
            launcher,
            cache,
            directory,
        })
    }

    fn close(mut self) {
        if let Some(guest) = self.guest.take() {
            guest.close();
        }
    }

    fn batch(&mut self, requests: &[Request]) -> Result<Replies, Error> {
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
            crashed => crashed.insert(self.launcher.start(&self.directory)?),
        };
        match call(guest) {
            Ok(answer) => Ok(answer?),
            Err(_trap) => {
                self.guest = None;
                self.cache.forget_all();
                Err(Error::Crashed)
            }
        }
    }

    /// Has the component write a copy into its own directory, and moves that
    /// to where the component cannot reach.
    pub(crate) fn backup(&mut self, target: &Path) -> Result<(), Error> {
        backup::refuse_existing(target)?;
        let folder = backup::Folder::create(self.directory.path())?;
        self.call(|guest| {
            guest.admin(|admin, store, opened| {
                admin.call_backup(store, opened, backup::Folder::LOCATION)
            })
        })?;
        folder.move_copy(target)
    }
}

impl Drop for Owner {
    /// After a panic there may still be handles, and the directory is about to be
    /// anybody's.
    fn drop(&mut self) {
        self.cache.forget_all();
    }
}
