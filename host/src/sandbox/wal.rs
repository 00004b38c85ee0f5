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

    /// Whether a transaction that writes at most this many pages and bytes of payloads
    /// waits for no disk: it neither restarts the WAL nor ends with a checkpoint.
    pub(crate) fn has_room(&self, pages: u64, bytes: u64) -> bool {
        let (Some(frame), Some(end)) = (self.frame, self.end) else {
            return false;
        };
        // Half of a page may be unused.
        let frames = pages.saturating_add(bytes.saturating_mul(2) / frame);
        end.saturating_add(frames.saturating_mul(frame)) < CHECKPOINT * frame
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
        assert!(!found.has_room(1, 0));
        let mut synced = log(1);
        assert!(synced.has_room(1, 0));
        synced.note_sync();
        assert!(!synced.has_room(1, 0));
        synced.note_write(&[0; FRAME as usize], 32 + FRAME);
        assert!(synced.has_room(1, 0));
    }

    #[test]
    fn a_log_has_room_for_less_than_a_thousand_pages() {
        assert!(log(1).has_room(998, 0));
        assert!(!log(1).has_room(999, 0));
        assert!(log(900).has_room(99, 0));
        assert!(!log(900).has_room(100, 0));
        assert!(log(900).has_room(50, 49 * FRAME / 2));
        assert!(!log(900).has_room(50, 50 * FRAME / 2));
        assert!(!log(1).has_room(u64::MAX, u64::MAX));
    }

    #[test]
    fn a_log_that_begins_anew_has_room_again() {
        let mut wal = log(999);
        assert!(!wal.has_room(1, 0));
        wal.note_write(&log_header(1024), 0);
        wal.note_write(&[0; 1048], 32);
        assert!(wal.has_room(997, 0));
        assert!(!wal.has_room(999, 0));
    }

    fn log_header(page: u32) -> [u8; 32] {
        let mut header = [0; 32];
        header[PAGE_SIZE].copy_from_slice(&page.to_be_bytes());
        header
    }
}
