//! A connection that runs statements, and knows what is in doubt if it breaks.

use crate::failure::Failure;
use mysql_async::prelude::{FromValue, Queryable};
use mysql_async::{Conn, Params, Row, params};
use wasi_sessions_rules::error::Error;
use wasi_sessions_rules::id::IdHash;
use wasi_sessions_rules::stored;

/// What a packet has beside a payload, in bytes, with room to spare.
const BESIDE_PAYLOAD: u64 = 8192;

/// A connection to a server.
pub struct Link {
    conn: Conn,
    /// The largest packet that the server accepts, in bytes.
    pub largest_packet: u64,
    is_in_transaction: bool,
    /// A transaction or a lock could not be ended: the connection must not be used again.
    is_broken: bool,
    /// A statement was sent that keeps what it writes, a commit for one: whether it was done
    /// is unknown until it is answered.
    is_in_doubt: bool,
}

/// What a statement wrote.
pub struct Written {
    /// The rows that it inserted, removed or changed. A row that `INSERT … ON DUPLICATE KEY
    /// UPDATE` changes counts as two.
    pub rows: u64,
    /// What the statement gave to `LAST_INSERT_ID`; 0 if it did not call it.
    pub id: u64,
}

impl Link {
    pub fn new(conn: Conn) -> Link {
        Link {
            conn,
            largest_packet: 0,
            is_in_transaction: false,
            is_broken: false,
            is_in_doubt: false,
        }
    }

    /// Whether the connection can be used again, as far as it is known here.
    pub fn is_connected(&self) -> bool {
        !self.is_broken && !self.conn.is_disconnected()
    }

    /// Forgets what earlier work left in doubt.
    pub fn start(&mut self) {
        self.is_in_doubt = false;
    }

    /// Whether the work since [`Link::start`] may have been done, if its last statement is
    /// not answered.
    pub fn is_in_doubt(&self) -> bool {
        self.is_in_doubt
    }

    /// Refuses a payload that the server would not accept, before anything is sent.
    pub fn check_data(&self, data: &[u8]) -> Result<(), Error> {
        let limit = self.largest_packet.saturating_sub(BESIDE_PAYLOAD);
        match data.len() as u64 > limit {
            true => Err(Error::TooLarge(limit)),
            false => Ok(()),
        }
    }

    /// Pings the server.
    pub async fn ping(&mut self) -> Result<(), Failure> {
        Ok(self.conn.ping().await?)
    }

    /// Runs statements that are not prepared. A lost answer is not reported as unknown: only
    /// for statements that may run twice.
    pub async fn run(&mut self, text: &str) -> Result<(), Failure> {
        Ok(self.conn.query_drop(text).await?)
    }

    /// The rows of a query that is not prepared.
    pub async fn query(&mut self, text: &str) -> Result<Vec<Row>, Failure> {
        Ok(self.conn.query(text).await?)
    }

    /// The rows of a query.
    pub async fn rows(
        &mut self,
        text: &str,
        params: impl Into<Params> + Send,
    ) -> Result<Vec<Row>, Failure> {
        let params: Params = params.into();
        Ok(self.conn.exec(text, params).await?)
    }

    /// The only row of a query.
    pub async fn row(
        &mut self,
        text: &str,
        params: impl Into<Params> + Send,
    ) -> Result<Option<Row>, Failure> {
        Ok(self.rows(text, params).await?.pop())
    }

    /// Runs a statement that writes.
    pub async fn write(
        &mut self,
        text: &str,
        params: impl Into<Params> + Send,
    ) -> Result<Written, Failure> {
        let params: Params = params.into();
        // Preparing a statement writes nothing, so no outcome can be in doubt.
        let statement = self.conn.prep(text).await?;
        self.is_in_doubt |= !self.is_in_transaction;
        self.conn.exec_drop(&statement, params).await?;
        Ok(self.written())
    }

    /// Runs a statement that writes and is not prepared.
    pub async fn write_unprepared(&mut self, text: &str) -> Result<Written, Failure> {
        self.is_in_doubt |= !self.is_in_transaction;
        self.conn.query_drop(text).await?;
        Ok(self.written())
    }

    fn written(&self) -> Written {
        Written {
            rows: self.conn.affected_rows(),
            id: self.conn.last_insert_id().unwrap_or_default(),
        }
    }

    /// Does work in a transaction: until the commit is sent, nothing of it is kept.
    pub async fn begin(&mut self) -> Result<(), Failure> {
        self.run("START TRANSACTION").await?;
        self.is_in_transaction = true;
        Ok(())
    }

    /// Does work in a transaction that locks the gaps between the rows that it reads, too:
    /// until it ends, no row that it would have found is inserted.
    pub async fn begin_with_gap_locks(&mut self) -> Result<(), Failure> {
        self.run("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; START TRANSACTION")
            .await?;
        self.is_in_transaction = true;
        Ok(())
    }

    /// Ends the transaction.
    pub async fn commit(&mut self) -> Result<(), Failure> {
        self.is_in_transaction = false;
        self.write_unprepared("COMMIT").await?;
        Ok(())
    }

    /// Rolls the transaction back after a failure. A failure of the rollback itself is not
    /// reported, since the first failure is the cause.
    pub async fn undo(&mut self) {
        self.is_in_transaction = false;
        self.is_broken |= self.run("ROLLBACK").await.is_err();
    }

    /// Takes a named lock of this database; waits for at most this many milliseconds. It is
    /// held until [`Link::unlock`], or the end of the connection.
    pub async fn lock(&mut self, kind: &str, thing: &str, wait: u64) -> Result<(), Failure> {
        // Such locks are the server's, and have names of at most 64 characters.
        let text = "SELECT GET_LOCK(CONCAT('wasi-sessions ', LEFT(SHA2(
                      CONCAT(DATABASE(), '/', :kind, '/', :thing), 256), 48)), :seconds)";
        let params = params! {
            "kind" => kind, "thing" => thing, "seconds" => wait.div_ceil(1000),
        };
        let row = self.row(text, params).await?;
        let taken = row.map_or(Ok(None), |mut row| column::<Option<bool>>(&mut row, 0))?;
        match taken {
            Some(true) => Ok(()),
            _ => Err(Error::Busy.into()),
        }
    }

    /// Releases all locks. If that fails, the end of the connection does.
    pub async fn unlock(&mut self) {
        self.is_broken |= self.run("DO RELEASE_ALL_LOCKS()").await.is_err();
    }
}

/// Reads a column.
pub fn column<T: FromValue>(row: &mut Row, index: usize) -> Result<T, Failure> {
    match row.take_opt(index) {
        Some(Ok(value)) => Ok(value),
        Some(Err(_)) | None => {
            Err(Error::Corrupt("a column has a value of another kind".into()).into())
        }
    }
}

/// Reads a number.
pub fn unsigned(row: &mut Row, index: usize) -> Result<u64, Failure> {
    Ok(stored::unsigned(column(row, index)?)?)
}

/// Reads the hash of an id.
pub fn hash(row: &mut Row, index: usize) -> Result<IdHash, Failure> {
    let hash: Vec<u8> = column(row, index)?;
    Ok(stored::hash(&hash)?)
}

/// Reads a subject.
pub fn subject(row: &mut Row, index: usize) -> Result<Option<String>, Failure> {
    Ok(stored::subject(column(row, index)?)?)
}
