//! How much may be written before SQLite's next checkpoint, as far as the host can
//! tell from the writes and syncs of the component.

/// SQLite's `wal_autocheckpoint`: the first transaction after which the write-ahead log
/// (WAL) has this many frames ends with a checkpoint.
const CHECKPOINT: u64 = 1000;

/// The length of a frame's header, which a page follows.
const FRAME_HEADER: u64 = 24;

/// Where the WAL's header has the size of a page.
const PAGE_SIZE: std::ops::Range<usize> = 8..12;

/// What is known about the write-ahead log. At first nothing is, since a log that was
/// found at open may already be long.
#[derive(Debug, Default)]
pub(crate) struct Wal {
    /// The length of a frame, in bytes; `None` before a header was written.
    frame: Option<u64>,
    /// The end of the last frame, in bytes; `None` if the next write may wait for the
    /// disk: the first one after a checkpoint restarts the WAL and syncs its header.
    end: Option<u64>,
    /// The length of the database's file, in bytes; never less than it is.
    database: u64,
}

impl Wal {
    /// Notes a write to the log.
    pub(crate) fn note_write(&mut self, data: &[u8], offset: u64) {
        if offset == 0 {
            let page = data.get(PAGE_SIZE).and_then(|size| size.try_into().ok());
            self.frame = page.map(|size| FRAME_HEADER + u64::from(u32::from_be_bytes(size)));
            self.end = None;
        }
        let end = offset.saturating_add(data.len() as u64);
        self.end = Some(self.end.map_or(end, |before| before.max(end)));
    }

    /// Notes a sync of any file.
    pub(crate) fn note_sync(&mut self) {
        self.end = None;
    }

    /// Notes that the database's file is at least this long, in bytes.
    pub(crate) fn note_database(&mut self, length: u64) {
        self.database = self.database.max(length);
    }

    /// Whether a transaction that writes at most this many pages and bytes of payloads,
    /// and frees at most so many bytes of stored ones, waits for no disk: it neither
    /// restarts the WAL nor ends with a checkpoint.
    pub(crate) fn has_room(&self, pages: u64, bytes: u64, freed: u64) -> bool {
        let (Some(frame), Some(end)) = (self.frame, self.end) else {
            return false;
        };
        // Half of a page may be unused; or, with `auto_vacuum`, each may have its entry
        // on another page of the pointer map.
        let frames = pages
            .saturating_add(bytes.saturating_mul(2) / frame)
            .saturating_add(self.pages_to_free(freed, frame - FRAME_HEADER));
        end.saturating_add(frames.saturating_mul(frame)) < CHECKPOINT * frame
    }

    /// The most pages that are written to free so many bytes. A freed page is not
    /// written itself: it becomes an entry of the free list, which fills page by page,
    /// and with `auto_vacuum` of the pointer map, of which each page describes those
    /// that follow it, so that scattered pages have their entries on as many pages.
    fn pages_to_free(&self, bytes: u64, page: u64) -> u64 {
        // An entry has four bytes in the free list and five in the pointer map.
        let (listed, mapped) = ((page / 4).saturating_sub(8).max(1), (page / 5).max(1));
        let freed = bytes / page.max(1) + u64::from(bytes > 0);
        let map = self.database / page.max(1) / mapped + 1;
        // The WAL may hold as many pages behind the end of the file.
        let map = map + CHECKPOINT / mapped + 1;
        freed / listed + freed.min(map)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: u64 = 4096 + 24;

    /// A log whose header was written, and so many frames.
    fn log(frames: u64) -> Wal {
        let mut header = [0; 32];
        header[PAGE_SIZE].copy_from_slice(&4096_u32.to_be_bytes());
        let mut wal = Wal::default();
        wal.note_write(&header, 0);
        wal.note_sync();
        wal.note_write(&vec![0; (frames * FRAME) as usize], 32);
        wal
    }

    #[test]
    fn nothing_is_known_of_a_log_that_was_found_and_of_one_that_was_synced() {
        let mut found = Wal::default();
        found.note_write(&[0; FRAME as usize], 32);
        assert!(!found.has_room(1, 0, 0));
        let mut synced = log(1);
        assert!(synced.has_room(1, 0, 0));
        synced.note_sync();
        assert!(!synced.has_room(1, 0, 0));
        synced.note_write(&[0; FRAME as usize], 32 + FRAME);
        assert!(synced.has_room(1, 0, 0));
    }

    #[test]
    fn a_log_has_room_for_less_than_a_thousand_pages() {
        assert!(log(1).has_room(998, 0, 0));
        assert!(!log(1).has_room(999, 0, 0));
        assert!(log(900).has_room(99, 0, 0));
        assert!(!log(900).has_room(100, 0, 0));
        assert!(log(900).has_room(50, 49 * FRAME / 2, 0));
        assert!(!log(900).has_room(50, 50 * FRAME / 2, 0));
        assert!(!log(1).has_room(u64::MAX, u64::MAX, u64::MAX));
    }

    #[test]
    fn freed_pages_take_room_for_the_pages_that_record_them() {
        const PAGE: u64 = 4096;
        let room = |database: u64, freed: u64| {
            let mut wal = log(1);
            wal.note_database(database);
            (0..1000)
                .rev()
                .find(|pages| wal.has_room(*pages, 0, freed))
                .unwrap()
        };
        let all = room(0, 0);
        assert_eq!(all, 998);
        // One page of the pointer map describes 819 pages.
        assert_eq!(all - room(PAGE, 1), 1);
        assert_eq!(all - room(PAGE, 1 << 20), 3);
        assert_eq!(all - room(100 * 819 * PAGE, 1 << 20), 103);
        assert_eq!(all - room(u64::MAX, 1 << 20), 257);
        // A page of the free list has 1016 entries.
        assert_eq!(all - room(PAGE, 1017 * PAGE), 4);
        assert!(!log(1).has_room(0, 0, u64::MAX));
    }

    #[test]
    fn a_log_that_begins_anew_has_room_again() {
        let mut wal = log(999);
        assert!(!wal.has_room(1, 0, 0));
        wal.note_write(&log_header(1024), 0);
        wal.note_write(&[0; 1048], 32);
        assert!(wal.has_room(997, 0, 0));
        assert!(!wal.has_room(999, 0, 0));
    }

    fn log_header(page: u32) -> [u8; 32] {
        let mut header = [0; 32];
        header[PAGE_SIZE].copy_from_slice(&page.to_be_bytes());
        header
    }
}
