//! What an engine provides: the functions of the contract, over a database of its
//! kind.

use crate::error::Error;
use crate::options::Options;
use crate::types::{
    Collected, Created, Milliseconds, Outcome, Page, Replies, Request, Session, Statistics,
    Timestamp,
};

/// An open store; dropping it closes the store.
///
/// The functions are those of `wit/` and are documented there. Each is one transaction
/// at `now`, the time of the request. Arguments are checked before anything is written.
/// Every engine has to pass the tests in `component/tests`.
#[allow(missing_docs)]
pub trait Engine: Sized + 'static {
    /// The names of options that this engine does not have.
    const MISSING_OPTIONS: &'static [&'static str];

    /// Opens the store at `location`.
    fn open(location: &str, options: Options, now: Timestamp) -> Result<Self, Error>;

    /// The name of this store in errors and statistics.
    fn name(&self) -> &str;

    /// By how many milliseconds the clock that all users of the database share is ahead
    /// of the host's; negative if it is behind.
    fn clock_offset(&self) -> i64;

    fn create(
        &mut self,
        now: Timestamp,
        data: &[u8],
        ttl: Option<Milliseconds>,
        subject: Option<&str>,
    ) -> Result<Created, Error>;

    fn get(&mut self, now: Timestamp, id: &str) -> Result<Option<Session>, Error>;

    fn set(
        &mut self,
        now: Timestamp,
        id: &str,
        data: &[u8],
        ttl: Option<Milliseconds>,
    ) -> Result<Outcome, Error>;

    fn update(
        &mut self,
        now: Timestamp,
        id: &str,
        data: &[u8],
        ttl: Option<Milliseconds>,
        expected: Option<u64>,
    ) -> Result<Outcome, Error>;

    fn merge(
        &mut self,
        now: Timestamp,
        id: &str,
        patch: &str,
        ttl: Option<Milliseconds>,
    ) -> Result<Option<Session>, Error>;

    fn touch(
        &mut self,
        now: Timestamp,
        id: &str,
        ttl: Option<Milliseconds>,
    ) -> Result<Option<Timestamp>, Error>;

    fn rotate(
        &mut self,
        now: Timestamp,
        id: &str,
        subject: Option<&str>,
    ) -> Result<Option<Created>, Error>;

    fn destroy(&mut self, now: Timestamp, id: &str) -> Result<bool, Error>;

    /// A refused request has its error as its reply; any other failure rolls back the
    /// whole batch.
    fn batch(&mut self, now: Timestamp, requests: &[Request]) -> Result<Replies, Error>;

    fn list_sessions(
        &mut self,
        now: Timestamp,
        subject: Option<&str>,
        cursor: Option<&str>,
        limit: u32,
    ) -> Result<Page, Error>;

    fn count_sessions(&mut self, now: Timestamp, subject: Option<&str>) -> Result<u64, Error>;

    fn inspect(&mut self, now: Timestamp, handle: &str) -> Result<Option<Session>, Error>;

    fn terminate(&mut self, now: Timestamp, handle: &str) -> Result<bool, Error>;

    fn terminate_subject(
        &mut self,
        now: Timestamp,
        subject: &str,
        except: Option<&str>,
    ) -> Result<u64, Error>;

    fn clear(&mut self, now: Timestamp) -> Result<u64, Error>;

    fn collect(&mut self, now: Timestamp, limit: u64) -> Result<Collected, Error>;

    fn stats(&mut self, now: Timestamp) -> Result<Statistics, Error>;

    fn check(&mut self) -> Result<Vec<String>, Error>;

    fn backup(&mut self, location: &str) -> Result<(), Error>;
}
