//! Sessions under new ids, of `create` and `rotate`, and the limit of their subjects.

use crate::failure::Failure;
use crate::link::column;
use crate::operations::{Head, Operations, bytes};
use mysql_async::params;
use wasi_sessions_rules::id::{self, IdHash};
use wasi_sessions_rules::rules::check_subject;
use wasi_sessions_rules::stored::signed;
use wasi_sessions_rules::types::{CreateRequest, Created, Milliseconds, Request, RotateRequest};

impl Operations<'_> {
    /// The subject whose sessions the request may end, because it has too many; `None` for one
    /// that will be refused.
    pub fn limited_subject<'r>(&self, request: &'r Request) -> Option<&'r str> {
        self.rules.options.max_per_subject?;
        match request {
            Request::Create(CreateRequest { subject, .. })
            | Request::Rotate(RotateRequest { subject, .. }) => subject
                .as_deref()
                .filter(|subject| check_subject(Some(subject)).is_ok()),
            _ => None,
        }
    }

    /// Starts a session under a new id. What its subject then has beyond `maxPerSubject` is
    /// ended, for which this must be part of a transaction with the lock of the subject.
    pub async fn create(
        &mut self,
        data: &[u8],
        ttl: Option<Milliseconds>,
        subject: Option<&str>,
    ) -> Result<Created, Failure> {
        self.check_data(data)?;
        check_subject(subject)?;
        let (id, hash) = id::fresh()?;
        let session = self.rules.start(data, ttl, subject);
        let params = params! {
            "hash" => bytes(&hash),
            "now" => self.now(),
            "until" => signed(session.expires),
            "subject" => subject.map(str::as_bytes),
            "data" => data,
        };
        self.link.write(&self.statements.insert, params).await?;
        if let Some((subject, others)) = self.rules.limit(subject, session.expires) {
            self.end_oldest(subject, &hash, others).await?;
        }
        Ok(Created {
            id,
            version: 1,
            expires: session.expires,
        })
    }

    /// Moves the session to a new id and, if a subject is given, binds it. Part of a
    /// transaction, in which the subject is locked if it has a limit.
    pub async fn rotate(
        &mut self,
        id: &str,
        subject: Option<&str>,
    ) -> Result<Option<Created>, Failure> {
        check_subject(subject)?;
        let Some(old) = IdHash::of(id) else {
            return Ok(None);
        };
        let (id, new) = id::fresh()?;
        let statements = self.statements;
        let found = self.head(&statements.lock_head, &old).await?;
        let Some(Head::Live { version, expires }) = found else {
            return Ok(None);
        };
        let bound = u64::from(subject.is_some());
        let params = params! {
            "hash" => bytes(&old),
            "new" => bytes(&new),
            "now" => self.now(),
            "bound" => bound,
            "subject" => subject.map(str::as_bytes),
        };
        self.link.write(&self.statements.copy, params).await?;
        self.end(&old).await?;
        if let Some((subject, others)) = self.rules.limit(subject, expires) {
            self.end_oldest(subject, &new, others).await?;
        }
        Ok(Some(Created {
            id,
            version: version + bound,
            expires,
        }))
    }

    /// Ends what a subject has beside the newest session and `others` more. Fails as
    /// [`Failure::Raced`] if the subject has more all the same: a session that was to end was
    /// rotated meanwhile, without the subject's lock, and its new row was not there before.
    async fn end_oldest(
        &mut self,
        subject: &str,
        newest: &IdHash,
        others: u64,
    ) -> Result<(), Failure> {
        let params = params! {
            "hash" => bytes(newest),
            "subject" => subject.as_bytes(),
            "others" => others,
            "now" => self.now(),
            "tombstone" => self.tombstone(),
        };
        self.link.write(&self.statements.end_oldest, params).await?;
        let params = params! {
            "hash" => bytes(newest),
            "subject" => subject.as_bytes(),
            "others" => others,
            "now" => self.now(),
        };
        let row = self.link.row(&self.statements.exceeds, params).await?;
        match row.map_or(Ok(false), |mut row| column(&mut row, 0))? {
            true => Err(Failure::Raced),
            false => Ok(()),
        }
    }
}
