//! The lease by which instances with `shared` access lock a database, held by the host while
//! it has the database open with exclusive access.
//!
//! Such instances have no lock of the operating system and see only this directory beside the
//! database, `….lock`. Its format and the rules for taking it over are those of the component
//! (`lock/lease.rs`). The host's token has a prefix that instances with `shared` access do not
//! care about. It says that the token's owner held the lock of the operating system: the
//! next owner of that lock need not wait until the token is old.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crate::sandbox::directories::{parent, sync_directory, with_suffix};

/// The age at which the token of an instance with `shared` access counts as dead, as in the
/// component.
const DEAD_AFTER: Duration = Duration::from_secs(15);

/// The time between two renewals of the token.
const RENEW_AFTER: Duration = Duration::from_secs(5);

/// The time without a renewal after which the lease may be lost.
const DOUBTFUL_AFTER: Duration = Duration::from_secs(10);

/// The time between two attempts to take a lease that is held.
const STEP: Duration = Duration::from_millis(5);

/// The prefix of the token of an owner that holds the operating system's lock on the
/// directory.
const EXCLUSIVE: &str = "exclusive-";

/// A lease that is held, and renewed by a thread of its own. Released on drop.
pub(crate) struct Lease {
    directory: PathBuf,
    token: Arc<Token>,
    /// Ends the thread when it is dropped.
    _renewals: Sender<()>,
}

impl Lease {
    /// The path of the lease of a database.
    pub(crate) fn path(database: &Path) -> PathBuf {
        with_suffix(database, ".lock")
    }

    /// Takes the lease, whose path is `directory`. Waits up to `patience` while another owner
    /// holds it; `None` if that owner still does. The caller must hold the operating system's
    /// lock on the directory in which it is.
    pub(crate) fn take(directory: PathBuf, patience: Duration) -> io::Result<Option<Self>> {
        let prepared = Prepared::new(directory)?;
        let started = Instant::now();
        loop {
            if let Some(token) = prepared.take()? {
                return Self::renewed(prepared.directory.clone(), token).map(Some);
            }
            if started.elapsed() >= patience {
                return Ok(None);
            }
            thread::sleep(STEP);
        }
    }

    /// A lease that was just taken; starts its thread.
    fn renewed(directory: PathBuf, token: Token) -> io::Result<Self> {
        let token = Arc::new(token);
        let (renewals, ended) = mpsc::channel();
        let lease = Self {
            directory,
            token: token.clone(),
            _renewals: renewals,
        };
        thread::Builder::new()
            .name("wasi-sessions lease".to_owned())
            .spawn(move || renew_until(&token, &ended))?;
        Ok(lease)
    }

    /// Whether another owner may have taken the lease over, because the token was not renewed
    /// for long. This does not look at the file.
    pub(crate) fn is_doubtful(&self) -> bool {
        self.token.age() > DOUBTFUL_AFTER
    }

    /// Whether another owner has taken the lease over, which renames the token, or the
    /// token was removed.
    pub(crate) fn is_lost(&self) -> bool {
        fs::symlink_metadata(&self.token.path)
            .is_err_and(|error| error.kind() == ErrorKind::NotFound)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if fs::remove_file(&self.token.path).is_ok() {
            let _ = fs::remove_dir(&self.directory);
        }
    }
}

/// Renews a token until the lease is dropped. A failure is retried; the owner looks for the
/// token by itself.
fn renew_until(token: &Token, ended: &Receiver<()>) {
    while ended.recv_timeout(RENEW_AFTER) == Err(RecvTimeoutError::Timeout) {
        let _ = token.renew();
    }
}

/// The token of a lease that is held.
struct Token {
    path: PathBuf,
    /// The moment just before the last renewal.
    renewed: Mutex<Moment>,
}

impl Token {
    fn new(path: PathBuf, renewed: Moment) -> Self {
        Self {
            path,
            renewed: Mutex::new(renewed),
        }
    }

    fn renew(&self) -> io::Result<()> {
        let now = Moment::now();
        renew(&self.path)?;
        *self.renewed.lock().unwrap_or_else(PoisonError::into_inner) = now;
        Ok(())
    }

    fn age(&self) -> Duration {
        self.renewed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .age()
    }
}

/// A moment by the monotonic and by the wall clock: the monotonic clock stops while a machine
/// sleeps.
struct Moment {
    monotonic: Instant,
    wall: SystemTime,
}

impl Moment {
    fn now() -> Self {
        Self {
            monotonic: Instant::now(),
            wall: SystemTime::now(),
        }
    }

    fn age(&self) -> Duration {
        let by_wall = self.wall.elapsed().unwrap_or_default();
        self.monotonic.elapsed().max(by_wall)
    }
}

/// A directory with a token that is to become the lease. Removed on drop.
struct Prepared {
    /// The path of the lease.
    directory: PathBuf,
    path: PathBuf,
    token: String,
}

impl Prepared {
    fn new(directory: PathBuf) -> io::Result<Self> {
        let random = RandomState::new().hash_one(std::process::id());
        let prepared = Self {
            path: with_suffix(&directory, &format!("-{random:016x}")),
            token: format!("{EXCLUSIVE}{random:016x}"),
            directory,
        };
        let mut builder = fs::DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&prepared.path)?;
        let mut options = File::options();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        options.open(prepared.own())?;
        Ok(prepared)
    }

    /// The token before it is moved.
    fn own(&self) -> PathBuf {
        self.path.join(&self.token)
    }

    /// The token of the lease, if this takes it.
    fn take(&self) -> io::Result<Option<Token>> {
        let renewed = Moment::now();
        renew(&self.own())?;
        let token = self.directory.join(&self.token);
        // The rename replaces an empty directory, left by an owner that was killed, and fails
        // for any other.
        let Err(error) = fs::rename(&self.path, &self.directory) else {
            return Ok(Some(Token::new(token, renewed)));
        };
        match fs::symlink_metadata(&self.directory) {
            Ok(found) if found.is_dir() => {
                // The own token's modification time is the present time of the file system.
                let now = fs::metadata(self.own())?.modified()?;
                self.take_over(token, now)
            }
            Ok(_) => Err(io::Error::other("a file that is not a lock has its name")),
            // The lease was released in the meantime.
            Err(_) if is_occupied(&error) => Ok(None),
            Err(_) => Err(error),
        }
    }

    /// Takes a dead owner's lease over by renaming its token. If the owner has renewed the
    /// token meanwhile, the rename is undone.
    fn take_over(&self, own: PathBuf, now: SystemTime) -> io::Result<Option<Token>> {
        let tokens = match fs::read_dir(&self.directory) {
            Ok(tokens) => tokens,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        for token in tokens.flatten() {
            let was_exclusive = is_exclusive(&token.file_name());
            let token = token.path();
            if !(was_exclusive || is_dead(&token, now)) || fs::rename(&token, &own).is_err() {
                continue;
            }
            let renewed = Moment::now();
            if !(was_exclusive || is_dead(&own, now)) {
                let _ = fs::rename(&own, &token);
                break;
            }
            match renew(&own) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::NotFound => break,
                // Such as a token of another user.
                Err(error) => {
                    let _ = fs::rename(&own, &token);
                    return Err(error);
                }
            }
            // The dead owner may have created files without syncing the directory.
            if let Err(error) = sync_directory(parent(&self.directory)) {
                let _ = fs::remove_file(&own);
                let _ = fs::remove_dir(&self.directory);
                return Err(error);
            }
            return Ok(Some(Token::new(own, renewed)));
        }
        Ok(None)
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        let _ = fs::remove_file(self.own());
        let _ = fs::remove_dir(&self.path);
    }
}

/// Whether a directory could not be renamed because another is in its place.
fn is_occupied(error: &io::Error) -> bool {
    let occupied = [ErrorKind::DirectoryNotEmpty, ErrorKind::AlreadyExists];
    occupied.contains(&error.kind())
}

fn is_exclusive(token: &OsStr) -> bool {
    token.as_encoded_bytes().starts_with(EXCLUSIVE.as_bytes())
}

fn is_dead(token: &Path, now: SystemTime) -> bool {
    let renewed = fs::symlink_metadata(token).and_then(|found| found.modified());
    renewed.is_ok_and(|renewed| {
        now.duration_since(renewed)
            .is_ok_and(|age| age > DEAD_AFTER)
    })
}

/// Sets a token's modification time to the present, by the file system's clock; fails if the
/// token is gone. Needs no free descriptor and no space, and follows no link, which the component
/// could have created.
#[cfg(unix)]
fn renew(token: &Path) -> io::Result<()> {
    use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_NOW, utimensat};
    let now = || Timespec {
        tv_sec: 0,
        tv_nsec: UTIME_NOW,
    };
    let times = Timestamps {
        last_access: now(),
        last_modification: now(),
    };
    Ok(utimensat(CWD, token, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

/// Sets a token's modification time to the present; fails if the token is gone.
#[cfg(not(unix))]
fn renew(token: &Path) -> io::Result<()> {
    use std::io::Write;
    let mut file = File::options().write(true).open(token)?;
    file.write_all(b"1")?;
    drop(file);
    // The token may have been renamed after it was opened.
    fs::symlink_metadata(token).map(drop)
}

#[cfg(test)]
mod tests;
