//! Estimates how much can be written before SQLite's next checkpoint, from the component's
//! writes and syncs.

/// The component's `wal_autocheckpoint` with relaxed durability: a transaction after which the
/// write-ahead log (WAL) has at least this many frames ends with a checkpoint. With full
/// durability it is lower, but then every write waits for the disk anyway.
const CHECKPOINT: u64 = 1000;

/// The length of a frame's header, in bytes; a page follows.
const FRAME_HEADER: u64 = 24;

/// The bytes of the WAL's header that hold the page size.
const PAGE_SIZE: std::ops::Range<usize> = 8..12;

/// What is known about the WAL. At first that is nothing, because a WAL that existed before
/// the database was opened may already be long.
#[derive(Debug, Default)]
pub(crate) struct Wal {
    /// The length of a frame, in bytes; `None` until a header is written.
    frame: Option<u64>,
    /// The end of the last frame, in bytes. `None` after a sync, which may belong to a
    /// checkpoint: the first write after that restarts the WAL, and syncs its header.
    end: Option<u64>,
    /// An upper bound on the length of the database's file, in bytes.
    database: u64,
}

impl Wal {
    /// Records a write to the WAL.
    pub(crate) fn note_write(&mut self, data: &[u8], offset: u64) {
        if offset == 0 {
            let page = data.get(PAGE_SIZE).and_then(|size| size.try_into().ok());
            self.frame = page.map(|size| FRAME_HEADER + u64::from(u32::from_be_bytes(size)));
            self.end = None;
        }
        let end = offset.saturating_add(data.len() as u64);
        self.end = Some(self.end.map_or(end, |before| before.max(end)));
    }

    /// Records a sync of any file.
    pub(crate) fn note_sync(&mut self) {
        self.end = None;
    }

    /// Records that the database's file is at least this long, in bytes.
    pub(crate) fn note_database(&mut self, length: u64) {
        self.database = self.database.max(length);
    }

    /// Whether a transaction neither restarts the WAL nor ends with a checkpoint, so that it
    /// does not wait for the disk. It may write `pages` pages and `bytes` bytes of payloads,
    /// and free `freed` bytes of stored payloads.
    pub(crate) fn has_room(&self, pages: u64, bytes: u64, freed: u64) -> bool {
        let (Some(frame), Some(end)) = (self.frame, self.end) else {
            return false;
        };
        // Payloads are counted twice: half of a page may be unused; or, with `auto_vacuum`,
        // each page may have its entry on another page of the pointer map.
        let frames = pages
            .saturating_add(bytes.saturating_mul(2) / frame)
            .saturating_add(self.pages_to_free(freed, frame - FRAME_HEADER));
        end.saturating_add(frames.saturating_mul(frame)) < CHECKPOINT * frame
    }

    /// The maximum number of pages that are written to free so many bytes. A freed page is
    /// not written itself. It becomes an entry of the free list, which fills page by page;
    /// and with `auto_vacuum` its entry in the pointer map changes. Each page of the map
    /// describes the pages that follow it, so scattered freed pages may change as many pages
    /// of the map.
    fn pages_to_free(&self, bytes: u64, page: u64) -> u64 {
        // An entry takes four bytes in the free list and five in the pointer map.
        let (listed, mapped) = ((page / 4).saturating_sub(8).max(1), (page / 5).max(1));
        let freed = bytes / page.max(1) + u64::from(bytes > 0);
        let map = self.database / page.max(1) / mapped + 1;
        // The WAL may hold up to `CHECKPOINT` further pages, beyond the end of the file.
        let map = map + CHECKPOINT / mapped + 1;
        freed / listed + freed.min(map)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: u64 = 4096 + 24;

    /// A WAL with a header and this many frames written.
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
    fn a_log_that_was_found_or_just_synced_has_no_room() {
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
    fn a_log_has_room_for_less_pages_than_cause_a_checkpoint() {
        assert!(log(1).has_room(CHECKPOINT - 2, 0, 0));
        assert!(!log(1).has_room(CHECKPOINT - 1, 0, 0));
        let almost_full = || log(CHECKPOINT - 100);
        assert!(almost_full().has_room(99, 0, 0));
        assert!(!almost_full().has_room(100, 0, 0));
        assert!(almost_full().has_room(50, 49 * FRAME / 2, 0));
        assert!(!almost_full().has_room(50, 50 * FRAME / 2, 0));
        assert!(!log(1).has_room(u64::MAX, u64::MAX, u64::MAX));
    }

    #[test]
    fn freed_pages_take_room_for_the_pages_that_record_them() {
        const PAGE: u64 = 4096;
        let room = |database: u64, freed: u64| {
            let mut wal = log(1);
            wal.note_database(database);
            (0..CHECKPOINT)
                .rev()
                .find(|pages| wal.has_room(*pages, 0, freed))
                .unwrap()
        };
        let all = room(0, 0);
        assert_eq!(all, CHECKPOINT - 2);
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
    fn a_restarted_log_has_room_again() {
        let mut wal = log(CHECKPOINT - 1);
        assert!(!wal.has_room(1, 0, 0));
        wal.note_write(&log_header(1024), 0);
        wal.note_write(&[0; 1048], 32);
        assert!(wal.has_room(CHECKPOINT - 3, 0, 0));
        assert!(!wal.has_room(CHECKPOINT - 1, 0, 0));
    }

    fn log_header(page: u32) -> [u8; 32] {
        let mut header = [0; 32];
        header[PAGE_SIZE].copy_from_slice(&page.to_be_bytes());
        header
    }
}
