//! Pages of a listing: the live sessions of a table, without their payloads.

use super::rows::{ENDED, Rows, expires, hash_head, head, join};
use super::statements::unsigned;
use rusqlite::Row;
use wasi_sessions_rules::error::Error;
use wasi_sessions_rules::id::IdHash;
use wasi_sessions_rules::row::is_expired;
use wasi_sessions_rules::types::{Entry, Page, Timestamp};

/// The most rows that one page of a listing reads, live or not.
const MOST_SCANNED: u64 = 10_000;

impl Rows<'_, '_> {
    /// At most `limit` live sessions, all or one subject's, in the order of their hashes,
    /// after `cursor`. A page ends early, perhaps without entries, once it has read
    /// [`MOST_SCANNED`] rows.
    pub fn list(
        &self,
        subject: Option<&str>,
        cursor: Option<&IdHash>,
        limit: u32,
        now: Timestamp,
    ) -> Result<Page, Error> {
        let (mut entries, mut next) = (vec![], None);
        let start = match cursor {
            None => Some(i64::MIN),
            Some(cursor) => hash_head(cursor).checked_add(1),
        };
        let Some(start) = start else {
            return Ok(Page { entries, next });
        };
        let (mut scanned, mut last) = (0, None);
        let read = |row: &Row| {
            let is_live = !is_expired(expires(row)?, now) && !row.get::<_, bool>(ENDED)?;
            if is_live && entries.len() == limit as usize {
                next = entries.last().map(|entry: &Entry| entry.handle.clone());
                return Ok(false);
            }
            if scanned == MOST_SCANNED {
                next = last.as_ref().map(IdHash::handle);
                return Ok(false);
            }
            let hash = join(row.get(5)?, row.get(0)?);
            if is_live {
                entries.push(self.entry(&hash, row)?);
            }
            scanned += 1;
            last = Some(hash);
            Ok(true)
        };
        match subject {
            None => self.0.list.walk([start], read),
            Some(subject) => {
                let forms = self.forms(subject)?;
                self.0.list_subject.walk(&*forms.after(&[&start]), read)
            }
        }?;
        Ok(Page { entries, next })
    }

    /// A listing's entry for a live session.
    fn entry(&self, hash: &IdHash, row: &Row) -> rusqlite::Result<Entry> {
        let head = head(row)?;
        let size = unsigned(row, 8)?;
        let (subject, size) = match &self.0.keys {
            None => (row.get(6)?, size),
            Some(keys) => {
                let subject = row.get_ref(6)?.as_str_or_null()?;
                keys.open_entry(row.get(9)?, subject, size)?
            }
        };
        Ok(Entry {
            handle: hash.handle(),
            subject,
            version: head.version,
            created: head.created,
            updated: unsigned(row, 7)?,
            expires: head.expires,
            size,
        })
    }
}
