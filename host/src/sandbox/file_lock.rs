//! Locks on a database's file that other programs with SQLite respect.

use std::fs::{File, TryLockError};

/// The mode of a lock.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    /// Shared: other readers may hold it, too.
    Shared,
    /// Exclusive: for one owner.
    Exclusive,
}

pub(crate) use imp::{try_lock, unlock};

/// On Linux the lock is on the bytes that SQLite locks, so that SQLite's shell gets
/// "database is locked". It is an open file description lock, which belongs to the
/// open file and not to the process: a lock of the process would be released whenever it
/// closes another descriptor of the same file, as the component does.
#[cfg(all(
    any(target_os = "linux", target_os = "android"),
    target_pointer_width = "64"
))]
mod imp {
    use std::io;
    use std::os::fd::AsRawFd;

    use super::{File, Kind, TryLockError};

    /// `PENDING_BYTE` of SQLite; `RESERVED_BYTE` and 510 bytes for readers follow.
    const FIRST: libc::off_t = 0x4000_0000;
    const LENGTH: libc::off_t = 512;

    /// Locks the file, or fails at once. Does nothing where the file system has no
    /// such locks.
    pub(crate) fn try_lock(file: &File, kind: Kind) -> Result<(), TryLockError> {
        let kind = match kind {
            Kind::Shared => libc::F_RDLCK,
            Kind::Exclusive => libc::F_WRLCK,
        };
        let Err(error) = set(file, kind) else {
            return Ok(());
        };
        match error.raw_os_error() {
            Some(libc::EAGAIN | libc::EACCES) => Err(TryLockError::WouldBlock),
            Some(libc::EINVAL | libc::ENOLCK | libc::ENOSYS | libc::EOPNOTSUPP) => Ok(()),
            _ => Err(TryLockError::Error(error)),
        }
    }

    pub(crate) fn unlock(file: &File) {
        // If this fails, closing the file releases the lock.
        let _ = set(file, libc::F_UNLCK);
    }

    fn set(file: &File, kind: libc::c_int) -> io::Result<()> {
        let lock = libc::flock {
            l_type: kind as libc::c_short,
            l_whence: libc::SEEK_SET as libc::c_short,
            l_start: FIRST,
            l_len: LENGTH,
            l_pid: 0,
        };
        // SAFETY: the descriptor is open as long as `file`, and the command only
        // reads the lock, which lives until it returns.
        let done = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const lock) };
        match done {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        }
    }
}

/// On other Unix systems the lock excludes other owners that use this crate, but no other
/// programs that use SQLite.
#[cfg(all(
    unix,
    not(all(
        any(target_os = "linux", target_os = "android"),
        target_pointer_width = "64"
    ))
))]
mod imp {
    use super::{File, Kind, TryLockError};

    pub(crate) fn try_lock(file: &File, kind: Kind) -> Result<(), TryLockError> {
        match kind {
            Kind::Shared => file.try_lock_shared(),
            Kind::Exclusive => file.try_lock(),
        }
    }

    pub(crate) fn unlock(file: &File) {
        let _ = file.unlock();
    }
}

/// Without Unix there is no lock: on Windows it would also exclude the component's own
/// descriptor.
#[cfg(not(unix))]
mod imp {
    use super::{File, Kind, TryLockError};

    pub(crate) fn try_lock(_: &File, _: Kind) -> Result<(), TryLockError> {
        Ok(())
    }

    pub(crate) fn unlock(_: &File) {}
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::fs;

    use rusqlite::Connection;

    use super::*;

    #[test]
    fn sqlite_reports_a_locked_database() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.db");
        let native = Connection::open(&path).unwrap();
        native.execute_batch("CREATE TABLE a (b)").unwrap();

        let file = File::options().read(true).write(true).open(&path).unwrap();
        try_lock(&file, Kind::Exclusive).unwrap();
        // Closing another descriptor does not release the lock.
        drop(fs::read(&path).unwrap());
        for statement in ["SELECT * FROM a", "INSERT INTO a VALUES (1)"] {
            let refused = native.execute_batch(statement).unwrap_err();
            let code = refused.sqlite_error_code();
            assert_eq!(code, Some(rusqlite::ErrorCode::DatabaseBusy));
        }
        unlock(&file);
        native.execute_batch("INSERT INTO a VALUES (1)").unwrap();

        native.execute_batch("BEGIN IMMEDIATE").unwrap();
        let refused = try_lock(&file, Kind::Shared);
        assert!(matches!(refused, Err(TryLockError::WouldBlock)));
    }
}
