//! The operations on many sessions: those of `admin`, and collection.

use crate::failure::Failure;
use crate::link::{self, column, hash, unsigned};
use crate::operations::{Operations, bytes};
use mysql_async::{Params, Value, params};
use wasi_sessions_rules::collection::Chunk;
use wasi_sessions_rules::id::IdHash;
use wasi_sessions_rules::rules::{LARGEST_PAGE, check_subject};
use wasi_sessions_rules::stored::signed;
use wasi_sessions_rules::types::{Entry, Page};

/// The most rows that one page of a listing reads, live or not.
const MOST_SCANNED: usize = 10_000;

impl Operations<'_> {
    /// Ends all sessions of a subject but the one with the hash `except`; returns how many.
    pub async fn end_subject(
        &mut self,
        subject: &str,
        except: Option<&IdHash>,
    ) -> Result<u64, Failure> {
        if check_subject(Some(subject)).is_err() {
            return Ok(0);
        }
        let params = params! {
            "subject" => subject.as_bytes(),
            "except" => except.map(bytes),
            "now" => self.now(),
            "tombstone" => self.tombstone(),
        };
        let statements = self.statements;
        self.end_many(&statements.end_subject, params).await
    }

    /// Ends every session; returns how many.
    pub async fn end_all(&mut self) -> Result<u64, Failure> {
        let params = params! { "now" => self.now(), "tombstone" => self.tombstone() };
        let statements = self.statements;
        self.end_many(&statements.end_all, params).await
    }

    /// Runs a statement that ends sessions. Its gap locks make a rotation wait whose new row
    /// it would miss.
    async fn end_many(&mut self, statement: &str, params: Params) -> Result<u64, Failure> {
        self.link.begin_with_gap_locks().await?;
        match self.link.write(statement, params).await {
            Ok(written) => {
                self.link.commit().await?;
                Ok(written.rows)
            }
            Err(failure) => {
                self.link.undo().await;
                Err(failure)
            }
        }
    }

    /// At most `limit` live sessions, all or one subject's, in the order of their hashes,
    /// starting after `cursor`. Fewer, or none, if the page has read too many rows that are
    /// not live.
    pub async fn list(
        &mut self,
        subject: Option<&str>,
        cursor: Option<&IdHash>,
        limit: u32,
    ) -> Result<Page, Failure> {
        let now = self.rules.now;
        let (mut entries, mut scanned) = (vec![], 0);
        if check_subject(subject).is_err() {
            return Ok(Page {
                entries,
                next: None,
            });
        }
        let mut after = cursor.map(bytes).unwrap_or_default().to_vec();
        loop {
            // Reads one more than are wanted, to find out whether others follow.
            let most = (limit as usize + 1 - entries.len())
                .max(scanned.min(LARGEST_PAGE as usize))
                .min(MOST_SCANNED - scanned);
            let mut params: Vec<(&str, Value)> =
                vec![("after", after.into()), ("most", most.into())];
            let statement = match subject {
                None => &self.statements.list,
                Some(subject) => {
                    params.push(("subject", subject.as_bytes().into()));
                    &self.statements.list_subject
                }
            };
            let rows = self.link.rows(statement, params).await?;
            let is_last = rows.len() < most;
            scanned += rows.len();
            let mut last = None;
            for mut row in rows {
                let found = hash(&mut row, 0)?;
                let expires = unsigned(&mut row, 5)?;
                let is_live = expires > now && !column::<bool>(&mut row, 7)?;
                if is_live && entries.len() == limit as usize {
                    let next = entries.last().map(|entry: &Entry| entry.handle.clone());
                    return Ok(Page { entries, next });
                }
                if is_live {
                    entries.push(Entry {
                        handle: found.handle(),
                        subject: link::subject(&mut row, 1)?,
                        version: unsigned(&mut row, 2)?,
                        created: unsigned(&mut row, 3)?,
                        updated: unsigned(&mut row, 4)?,
                        expires,
                        size: unsigned(&mut row, 6)?,
                    });
                }
                last = Some(found);
            }
            match last {
                Some(last) if !is_last && scanned >= MOST_SCANNED => {
                    let next = Some(last.handle());
                    return Ok(Page { entries, next });
                }
                Some(last) if !is_last => after = bytes(&last).to_vec(),
                _ => {
                    return Ok(Page {
                        entries,
                        next: None,
                    });
                }
            }
        }
    }

    /// How many sessions are live, all or one subject's.
    pub async fn count(&mut self, subject: Option<&str>) -> Result<u64, Failure> {
        let (now, statements) = (self.now(), self.statements);
        match subject {
            None => {
                self.number(&statements.count, params! { "now" => now })
                    .await
            }
            Some(_) if check_subject(subject).is_err() => Ok(0),
            Some(subject) => {
                let params = params! { "now" => now, "subject" => subject.as_bytes() };
                self.number(&statements.count_subject, params).await
            }
        }
    }

    /// Live rows, expired rows, and the size in bytes of table and indexes.
    pub async fn stats(&mut self) -> Result<(u64, u64, u64), Failure> {
        let statements = self.statements;
        let now = params! { "now" => self.now() };
        let live = self.number(&statements.count, now.clone()).await?;
        let expired = self.number(&statements.expired, now).await?;
        let size =
            "SELECT CAST(data_length + index_length AS SIGNED) FROM information_schema.tables
                    WHERE table_schema = DATABASE() AND table_name = :table";
        let table = statements.table.trim_matches('`');
        let size = self.number(size, params! { "table" => table }).await?;
        Ok((live, expired, size))
    }

    async fn number(&mut self, text: &str, params: Params) -> Result<u64, Failure> {
        let row = self.link.row(text, params).await?;
        row.map_or(Ok(0), |mut row| unsigned(&mut row, 0))
    }

    /// What is damaged in the table, as far as queries and the storage engine can tell.
    pub async fn check(&mut self) -> Result<Vec<String>, Failure> {
        let mut damage = vec![];
        for mut row in self.link.query(&self.statements.check()).await? {
            let (words, count): (String, u64) = (column(&mut row, 0)?, column(&mut row, 1)?);
            if count > 0 {
                damage.push(format!("{words}: {count} rows"));
            }
        }
        for mut row in self.link.query(&self.statements.check_table()).await? {
            let kind: String = column(&mut row, 2)?;
            let words: String = column(&mut row, 3)?;
            if kind != "status" && kind != "note" {
                damage.push(words);
            }
        }
        Ok(damage)
    }

    /// Removes and defers at most `most` rows that are due, in one transaction. Rows that
    /// another collection has locked are left to it.
    pub async fn collect(&mut self, most: u64) -> Result<Chunk, Failure> {
        self.link.begin().await?;
        let (removed, deferred) = match self.collect_due(most).await {
            Ok(counts) => {
                self.link.commit().await?;
                counts
            }
            Err(failure) => {
                self.link.undo().await;
                return Err(failure);
            }
        };
        let now = params! { "now" => self.now() };
        let statements = self.statements;
        let more = self.number(&statements.any_due, now).await? > 0;
        Ok(Chunk {
            removed,
            deferred,
            more,
        })
    }

    async fn collect_due(&mut self, most: u64) -> Result<(u64, u64), Failure> {
        let params = params! { "now" => self.now(), "most" => signed(most) };
        let (mut expired, mut renewed) = (vec![], vec![]);
        for mut row in self.link.rows(&self.statements.due, params).await? {
            let found = hash(&mut row, 0)?;
            match unsigned(&mut row, 1)? <= self.rules.now {
                true => expired.push(found),
                false => renewed.push(found),
            }
        }
        if !expired.is_empty() {
            let remove = self.statements.remove(&expired);
            self.link.write_unprepared(&remove).await?;
        }
        if !renewed.is_empty() {
            let defer = self.statements.defer(&renewed);
            self.link.write_unprepared(&defer).await?;
        }
        Ok((expired.len() as u64, renewed.len() as u64))
    }
}
