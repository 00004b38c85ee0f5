//! The operations on many sessions: those of `admin`, including collection.

use crate::failure::Failure;
use crate::operations::{self, Operations, hash, unsigned};
use crate::pipeline::{Sending, in_order};
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};
use wasi_sessions_rules::collection::Chunk;
use wasi_sessions_rules::id::IdHash;
use wasi_sessions_rules::stored::signed;
use wasi_sessions_rules::types::{Entry, Page};

impl Operations<'_> {
    /// Ends all sessions of a subject except the one with the hash `except`; returns how many.
    pub async fn end_subject(
        &self,
        subject: &str,
        except: Option<&IdHash>,
    ) -> Result<u64, Failure> {
        let except = except.map(|hash| hash.0.as_slice());
        let params: &[(&(dyn ToSql + Sync), Type)] = &[
            (&self.now(), Type::INT8),
            (&self.tombstone(), Type::INT8),
            (&subject.as_bytes(), Type::BYTEA),
            (&except, Type::BYTEA),
        ];
        self.end_many(&self.statements.end_many(true), params).await
    }

    /// Ends every session; returns how many.
    pub async fn end_all(&self) -> Result<u64, Failure> {
        let params: &[(&(dyn ToSql + Sync), Type)] =
            &[(&self.now(), Type::INT8), (&self.tombstone(), Type::INT8)];
        self.end_many(&self.statements.end_many(false), params)
            .await
    }

    /// Runs a statement that ends many sessions, while nothing else writes to the table; one
    /// round trip. Without the lock, the statement would wait for a rotation in progress, but
    /// not see the session's new row, which is not in its snapshot.
    async fn end_many(
        &self,
        text: &str,
        params: &[(&(dyn ToSql + Sync), Type)],
    ) -> Result<u64, Failure> {
        // A weaker mode would let a batch lock rows that the statement waits for, and then
        // wait for the table: a deadlock.
        let lock = format!(
            "BEGIN; LOCK TABLE {} IN EXCLUSIVE MODE",
            self.statements.table
        );
        let command = |text| async move {
            self.client.batch_execute(text).await?;
            Ok(0)
        };
        let steps: Vec<Sending<'_, Result<u64, Failure>>> = vec![
            Box::pin(command(&lock)),
            Box::pin(async { Ok(self.client.execute_typed(text, params).await?) }),
            Box::pin(command("COMMIT")),
        ];
        let mut ended = 0;
        let mut failed = None;
        for answer in in_order(steps).await {
            match answer {
                Ok(count) => ended += count,
                Err(failure) => failed = failed.or(Some(failure)),
            }
        }
        failed.map_or(Ok(ended), Err)
    }

    /// At most `limit` live sessions, all or one subject's, in the order of their hashes,
    /// after `cursor`. A page ends early, perhaps without entries, once it has read
    /// [`MOST_SCANNED`](crate::statements::MOST_SCANNED) rows.
    pub async fn list(
        &self,
        subject: Option<&str>,
        cursor: Option<&IdHash>,
        limit: u32,
    ) -> Result<Page, Failure> {
        let text = self.statements.list(subject.is_some());
        let cursor = cursor.map_or(&[][..], |hash| hash.0.as_slice());
        let subject = subject.map(str::as_bytes);
        let (now, most) = (self.now(), i64::from(limit) + 1);
        let mut params: Vec<(&(dyn ToSql + Sync), Type)> = vec![
            (&cursor, Type::BYTEA),
            (&now, Type::INT8),
            (&most, Type::INT8),
        ];
        if subject.is_some() {
            params.push((&subject, Type::BYTEA));
        }
        let rows = self.client.query_typed(&text, &params).await?;
        let (mut entries, mut next) = (vec![], None);
        for row in &rows {
            let handle = hash(row, 0)?.handle();
            if row.get::<_, Option<i64>>(6).is_none() {
                next = Some(handle);
            } else if entries.len() == limit as usize {
                next = entries.last().map(|entry: &Entry| entry.handle.clone());
            } else {
                entries.push(Entry {
                    handle,
                    subject: operations::subject(row, 1)?,
                    version: unsigned(row, 2)?,
                    created: unsigned(row, 3)?,
                    updated: unsigned(row, 4)?,
                    expires: unsigned(row, 5)?,
                    size: unsigned(row, 6)?,
                });
            }
        }
        Ok(Page { entries, next })
    }

    /// How many sessions are live, all or one subject's.
    pub async fn count(&self, subject: Option<&str>) -> Result<u64, Failure> {
        let text = self.statements.count(subject.is_some());
        let (now, subject) = (self.now(), subject.map(str::as_bytes));
        let mut params: Vec<(&(dyn ToSql + Sync), Type)> = vec![(&now, Type::INT8)];
        if subject.is_some() {
            params.push((&subject, Type::BYTEA));
        }
        unsigned(&self.client.query_typed_one(&text, &params).await?, 0)
    }

    /// Live rows, expired rows, the size in bytes, and the version of the server.
    pub async fn stats(&self) -> Result<(u64, u64, u64, String), Failure> {
        let text = self.statements.stats();
        let params: &[(&(dyn ToSql + Sync), Type)] = &[(&self.now(), Type::INT8)];
        let row = self.client.query_typed_one(&text, params).await?;
        Ok((
            unsigned(&row, 0)?,
            unsigned(&row, 1)?,
            unsigned(&row, 2)?,
            row.get(3),
        ))
    }

    /// Descriptions of the damage that a query can find in the table.
    pub async fn check(&self) -> Result<Vec<String>, Failure> {
        let rows = self
            .client
            .query_typed(&self.statements.check(), &[])
            .await?;
        let damage = rows.iter().map(|row| {
            let (words, count): (String, i64) = (row.get(0), row.get(1));
            (count, format!("{words}: {count} rows"))
        });
        Ok(damage
            .filter(|(count, _)| *count > 0)
            .map(|(_, words)| words)
            .collect())
    }

    /// Removes and defers at most `most` rows that are due, in one transaction and one round
    /// trip. Skips rows that another transaction has locked. Does not wait for the disk: a
    /// loss of power only brings expired rows back.
    pub async fn collect(&self, most: u64) -> Result<Chunk, Failure> {
        let (now, most) = (self.now(), signed(most));
        let command = |text| async move {
            self.client.batch_execute(text).await?;
            Ok(None)
        };
        let rows = |statement, params: Vec<i64>| async move {
            let params: Vec<&(dyn ToSql + Sync)> = params
                .iter()
                .map(|one| one as &(dyn ToSql + Sync))
                .collect();
            Ok(Some(self.client.query_one(statement, &params).await?))
        };
        let steps: Vec<Sending<'_, Result<Option<Row>, Failure>>> = vec![
            Box::pin(command("BEGIN; SET LOCAL synchronous_commit = off")),
            Box::pin(rows(&self.statements.collect, vec![now, most])),
            Box::pin(rows(&self.statements.any_due, vec![now])),
            Box::pin(command("COMMIT")),
        ];
        let mut answers = vec![];
        let mut failed = None;
        for answer in in_order(steps).await {
            match answer {
                Ok(row) => answers.extend(row),
                Err(failure) => failed = failed.or(Some(failure)),
            }
        }
        match (failed, &answers[..]) {
            (None, [counts, any_due]) => Ok(Chunk {
                removed: unsigned(counts, 0)?,
                deferred: unsigned(counts, 1)?,
                more: any_due.get(0),
            }),
            (failed, _) => Err(failed.unwrap_or(Failure::Raced)),
        }
    }
}
