//! The files that one instance of the component has open, and the state of its WAL as far
//! as the host knows it.

use std::fs::File;
use std::ptr;
use std::sync::{Arc, Weak};

use crate::sandbox::wal::Wal;

/// The files that one instance has open.
pub(crate) struct GuestFiles {
    file_name: String,
    log_name: String,
    /// The permissions of files that the component creates.
    #[cfg_attr(not(unix), expect(dead_code))]
    mode: u32,
    database: Weak<File>,
    log: Weak<File>,
    /// What is known about the write-ahead log.
    pub(crate) wal: Wal,
    /// Whether a write or a sync has failed since the database was opened; the component
    /// may then reopen it at the next request.
    has_failed: bool,
    /// The descriptor of [`GuestFiles::BACKUP`] in the component's table.
    backup: Option<u32>,
}

impl GuestFiles {
    /// The path of the component's second directory: the store's own directory, read-only,
    /// or during a backup the one to which the copy is written.
    pub(crate) const BACKUP: &str = "/.wasi-sessions.backup";

    pub(crate) fn new(file_name: &str, mode: u32) -> Self {
        Self {
            file_name: file_name.to_owned(),
            log_name: format!("{file_name}-wal"),
            mode,
            database: Weak::new(),
            log: Weak::new(),
            wal: Wal::default(),
            has_failed: false,
            backup: None,
        }
    }

    /// Whether the component opened the database through the functions that the host
    /// replaces.
    pub(crate) fn are_in_effect(&self) -> bool {
        self.backup.is_some() && self.database.strong_count() > 0
    }

    /// The database's file that the component has open.
    pub(crate) fn database(&self) -> Option<Arc<File>> {
        self.database.upgrade()
    }

    /// The WAL that the component has open.
    pub(crate) fn log(&self) -> Option<Arc<File>> {
        self.log.upgrade()
    }

    /// Whether the component has the database open and will not reopen it.
    pub(crate) fn are_sound(&self) -> bool {
        self.database.strong_count() > 0 && !self.has_failed
    }

    /// The permissions of files that the component creates.
    #[cfg(unix)]
    pub(crate) fn mode(&self) -> u32 {
        self.mode
    }

    /// The descriptor of [`GuestFiles::BACKUP`] in the component's table.
    pub(crate) fn backup(&self) -> Option<u32> {
        self.backup
    }

    /// Records the descriptor of [`GuestFiles::BACKUP`].
    pub(crate) fn note_backup(&mut self, descriptor: Option<u32>) {
        self.backup = descriptor;
    }

    /// Records a write to a file before it is done.
    pub(crate) fn note_write(&mut self, file: &Arc<File>, data: &[u8], offset: u64) {
        if ptr::eq(Arc::as_ptr(file), self.log.as_ptr()) {
            self.wal.note_write(data, offset);
        } else if ptr::eq(Arc::as_ptr(file), self.database.as_ptr()) {
            self.wal
                .note_database(offset.saturating_add(data.len() as u64));
        }
    }

    /// Records whether a write succeeded.
    pub(crate) fn note_written(&mut self, well: bool) {
        self.has_failed |= !well;
    }

    /// Records a sync of any file, and whether it succeeded.
    pub(crate) fn note_sync(&mut self, well: bool) {
        #[cfg(test)]
        SYNCS.set(SYNCS.get() + 1);
        self.wal.note_sync();
        self.has_failed |= !well;
    }

    /// Records that a file was opened. Of the database and of the WAL, the first open file
    /// is SQLite's; other code of the component opens them only for a moment.
    pub(crate) fn note_open(&mut self, name: &str, file: &Arc<File>) {
        let known = if name == self.file_name {
            if self.database.strong_count() == 0 {
                self.has_failed = false;
            }
            // If the length is unknown, the file counts as long.
            let length = file.metadata().map_or(u64::MAX, |file| file.len());
            self.wal.note_database(length);
            &mut self.database
        } else if name == self.log_name {
            &mut self.log
        } else {
            return;
        };
        if known.strong_count() == 0 {
            *known = Arc::downgrade(file);
        }
    }
}

#[cfg(test)]
thread_local! {
    /// The number of syncs on this thread, of any store.
    pub(crate) static SYNCS: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}
