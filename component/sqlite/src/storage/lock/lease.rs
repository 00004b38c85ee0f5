//! The lease on disk: a directory with its owner's token, taken, renewed, released,
//! and taken over when its owner is dead.
//!
//! WASI has no file locks that are released when their owner dies. The lease is a
//! directory beside the database, `….lock`, that contains one file, the token, with a
//! random name. It is prepared as `….lock-<token>` and renamed, so that it appears
//! complete. To release the lease, an owner removes its own token, and then the directory
//! if that is empty, so it can never remove another owner's lease. The age of a token is
//! measured by the file system's clock, since the clocks of machines may differ.

use crate::storage::vfs::sync_directory;
use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};
use wasi_sessions_rules::id;

/// The age after which a token's owner counts as dead. With a shorter one, an owner that
/// waits for a slow disk would count as dead; with a longer one, others would wait longer
/// after an instance was killed.
pub const DEAD_AFTER: Duration = Duration::from_secs(15);

/// The length of a token before hexadecimal encoding, in bytes.
const TOKEN: usize = 8;

/// The lease of one database.
pub struct Lease {
    pub directory: PathBuf,
}

/// A lease that is held.
pub struct Held {
    pub token: PathBuf,
    /// The moment just before the last renewal of the token.
    pub renewed: Moment,
}

impl Held {
    /// Renews the token; fails with [`ErrorKind::NotFound`] if the token is gone, which
    /// means that the lease is lost.
    pub fn renew(&mut self) -> io::Result<()> {
        let now = Moment::now();
        renew(&self.token)?;
        self.renewed = now;
        Ok(())
    }
}

/// A moment on both clocks, monotonic and wall, because the monotonic one stops while the
/// machine sleeps.
pub struct Moment {
    pub monotonic: Instant,
    wall: SystemTime,
}

impl Moment {
    fn now() -> Moment {
        Moment {
            monotonic: Instant::now(),
            wall: SystemTime::now(),
        }
    }

    pub fn age(&self) -> Duration {
        let by_wall = self.wall.elapsed().unwrap_or_default();
        self.monotonic.elapsed().max(by_wall)
    }
}

impl Lease {
    /// The lease of the database at `location`.
    pub fn of(location: &str) -> Lease {
        Lease {
            directory: format!("{location}.lock").into(),
        }
    }

    /// The directory's modification time, about when the lease was last taken or taken
    /// over, by the file system's clock; fails if there is no such directory.
    pub fn made(&self) -> io::Result<SystemTime> {
        let found = fs::symlink_metadata(&self.directory)?;
        match found.is_dir() {
            true => found.modified(),
            false => Err(ErrorKind::NotADirectory.into()),
        }
    }

    /// Takes the lease if it is free or its owner is dead; `None` if it is held.
    pub fn take(&self) -> io::Result<Option<Held>> {
        let random = id::random::<TOKEN>()
            .map_err(|_| io::Error::other("the source of randomness failed"))?;
        let token = hex::encode(random);
        let prepared = self.prepared(&token);
        let renewed = Moment::now();
        fs::create_dir(&prepared)?;
        let made = fs::File::create_new(prepared.join(&token));
        let token = self.directory.join(&token);
        // The rename replaces an empty directory, left by an owner that was killed, and
        // fails if anything else has this name.
        if made.is_ok() && fs::rename(&prepared, &self.directory).is_ok() {
            return Ok(Some(Held { token, renewed }));
        }
        let is_foreign = fs::symlink_metadata(&self.directory).is_ok_and(|found| !found.is_dir());
        let taken = match made {
            Ok(_) if is_foreign => Err(io::Error::other("a file that is not a lock has its name")),
            // The new token's modification time is the present time of the file system.
            Ok(made) => match made.metadata().and_then(|made| made.modified()) {
                Ok(now) => self.take_over(token, now),
                Err(error) => Err(error),
            },
            Err(error) => Err(error),
        };
        remove(&prepared);
        taken
    }

    /// Takes over a lease with a dead token, by renaming the token. Of several instances
    /// that try, only one succeeds. If the owner has renewed the token meanwhile, the
    /// rename is undone.
    pub fn take_over(&self, own: PathBuf, now: SystemTime) -> io::Result<Option<Held>> {
        for token in entries(&self.directory) {
            if !is_dead(&token, now) || fs::rename(&token, &own).is_err() {
                continue;
            }
            let renewed = Moment::now();
            if !is_dead(&own, now) {
                let _ = fs::rename(&own, &token);
            } else if renew(&own).is_ok() {
                self.sweep(now);
                let held = Held {
                    token: own,
                    renewed,
                };
                // The dead owner may have created files without syncing the directory.
                if let Err(error) = sync_directory(&self.directory.to_string_lossy()) {
                    self.release(held);
                    return Err(error);
                }
                return Ok(Some(held));
            }
            break;
        }
        Ok(None)
    }

    /// Removes the directories of instances that were killed while they prepared a
    /// lease.
    fn sweep(&self, now: SystemTime) {
        let parent = match self.directory.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        for path in entries(parent) {
            let name = path.file_name().unwrap_or_default();
            if self.token_of(name).is_none() {
                continue;
            }
            let mut left = entries(&path).peekable();
            let is_left = match left.peek() {
                Some(_) => left.all(|token| is_dead(&token, now)),
                None => is_dead(&path, now),
            };
            if is_left {
                remove(&path);
            }
        }
    }

    pub fn prepared(&self, token: &str) -> PathBuf {
        let mut path = self.directory.clone().into_os_string();
        path.push(format!("-{token}"));
        path.into()
    }

    /// The token in the name of a directory that was prepared to become this lease.
    fn token_of<'n>(&self, name: &'n OsStr) -> Option<&'n str> {
        let own = self.directory.file_name()?.to_str()?;
        let token = name.to_str()?.strip_prefix(own)?.strip_prefix('-')?;
        let is_hex = token.bytes().all(|byte| byte.is_ascii_hexdigit());
        (token.len() == 2 * TOKEN && is_hex).then_some(token)
    }

    /// Releases the lease, if it still belongs to this owner.
    pub fn release(&self, held: Held) {
        if fs::remove_file(held.token).is_ok() {
            let _ = fs::remove_dir(&self.directory);
        }
    }
}

impl fmt::Display for Lease {
    fn fmt(&self, to: &mut fmt::Formatter) -> fmt::Result {
        self.directory.display().fmt(to)
    }
}

/// Sets a token's modification time to the present; fails if the token is gone.
pub fn renew(token: &Path) -> io::Result<()> {
    let mut file = fs::File::options().write(true).open(token)?;
    file.write_all(b"1")?;
    drop(file);
    // The token may have been renamed after it was opened.
    fs::metadata(token).map(drop)
}

/// The paths of the entries of a directory; none if it cannot be read.
pub fn entries(directory: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.path())
}

/// Removes a directory with a token in it; ignores errors.
pub fn remove(prepared: &Path) {
    entries(prepared).for_each(|token| drop(fs::remove_file(token)));
    let _ = fs::remove_dir(prepared);
}

fn is_dead(token: &Path, now: SystemTime) -> bool {
    let renewed = fs::metadata(token).and_then(|found| found.modified());
    renewed.is_ok_and(|renewed| {
        now.duration_since(renewed)
            .is_ok_and(|age| age > DEAD_AFTER)
    })
}
