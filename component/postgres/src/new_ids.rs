//! Sessions under new ids, of `create` and `rotate`, and the limit of their subjects.

use crate::failure::Failure;
use crate::operations::{Operations, unsigned};
use crate::pipeline::{Sending, in_order};
use sha2::{Digest, Sha256};
use tokio_postgres::types::{ToSql, Type};
use wasi_sessions_rules::id::{self, IdHash};
use wasi_sessions_rules::rules::check_subject;
use wasi_sessions_rules::stored::signed;
use wasi_sessions_rules::types::{Created, END_OF_TIME, Milliseconds};

impl Operations<'_> {
    /// Creates a session under a new id.
    pub async fn create(
        &self,
        data: &[u8],
        ttl: Option<Milliseconds>,
        subject: Option<&str>,
    ) -> Result<Created, Failure> {
        self.rules.check_data(data)?;
        check_subject(subject)?;
        let (id, hash) = id::fresh()?;
        let session = self.rules.start(data, ttl, subject);
        let insert = async {
            let params: &[&(dyn ToSql + Sync)] = &[
                &hash.0.as_slice(),
                &self.now(),
                &signed(session.expires),
                &subject.map(str::as_bytes),
                &data,
            ];
            Ok(self.client.execute(&self.statements.insert, params).await?)
        };
        match self.rules.limit(subject, session.expires) {
            None => insert.await?,
            Some((subject, others)) => self.within_limit(subject, &hash, others, insert).await?,
        };
        Ok(Created {
            id,
            version: 1,
            expires: session.expires,
        })
    }

    /// Moves the session to a new id and, if a subject is given, binds it.
    pub async fn rotate(
        &self,
        id: &str,
        subject: Option<&str>,
    ) -> Result<Option<Created>, Failure> {
        check_subject(subject)?;
        let Some(old) = IdHash::of(id) else {
            return Ok(None);
        };
        let (id, new) = id::fresh()?;
        let rotate = async {
            let params: &[&(dyn ToSql + Sync)] = &[
                &old.0.as_slice(),
                &self.now(),
                &self.tombstone(),
                &new.0.as_slice(),
                &subject.map(str::as_bytes),
            ];
            Ok(self
                .client
                .query_opt(&self.statements.rotate, params)
                .await?)
        };
        let row = match self.rules.limit(subject, END_OF_TIME) {
            None => rotate.await?,
            Some((subject, others)) => self.within_limit(subject, &new, others, rotate).await?,
        };
        let Some(row) = row else {
            return Ok(None);
        };
        Ok(Some(Created {
            id,
            version: unsigned(&row, 0)?,
            expires: unsigned(&row, 1)?,
        }))
    }

    /// Runs `work`, which binds the session `newest` to a subject, under a lock for the
    /// subject. Then ends the subject's other sessions, except the `others` created last;
    /// fails as [`Failure::Raced`] if one of them was rotated or ended meanwhile. Needs a
    /// transaction; one round trip.
    async fn within_limit<T>(
        &self,
        subject: &str,
        newest: &IdHash,
        others: u64,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let lock = subject_lock(&self.statements.table, subject);
        let limit = self.statements.end_oldest();
        let (newest, others) = (newest.0.as_slice(), signed(others));
        let (now, until, subject) = (self.now(), self.tombstone(), subject.as_bytes());
        let steps: Vec<Sending<'_, Result<Option<T>, Failure>>> = vec![
            Box::pin(async {
                let params: &[(&(dyn ToSql + Sync), Type)] = &[(&lock, Type::INT8)];
                let text = "SELECT pg_advisory_xact_lock($1)";
                self.client.query_typed(text, params).await?;
                Ok(None)
            }),
            Box::pin(async { work.await.map(Some) }),
            Box::pin(async {
                let params: &[(&(dyn ToSql + Sync), Type)] = &[
                    (&subject, Type::BYTEA),
                    (&now, Type::INT8),
                    (&until, Type::INT8),
                    (&newest, Type::BYTEA),
                    (&others, Type::INT8),
                ];
                let rows = self.client.query_typed(&limit, params).await?;
                match rows.iter().all(|row| row.get(0)) {
                    true => Ok(None),
                    false => Err(Failure::Raced),
                }
            }),
        ];
        let mut done = None;
        for step in in_order(steps).await {
            done = step?.or(done);
        }
        done.ok_or(Failure::Raced)
    }
}

/// The number of the advisory lock for a subject of a table. It must never change, since
/// different versions of this component may use one database.
fn subject_lock(table: &str, subject: &str) -> i64 {
    let hash = Sha256::new()
        .chain_update(table)
        .chain_update("\0")
        .chain_update(subject)
        .finalize();
    let (head, _) = hash.split_first_chunk().expect("a hash has 32 bytes");
    i64::from_be_bytes(*head)
}
