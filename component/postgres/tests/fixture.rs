//! A schema in a database of a server that all tests share.

pub use crate::contract::samples::{create, handle, is_live, started};

use crate::engine::{Durability, Engine, Error, Options, Store};
use crate::server::Server;
use std::collections::BTreeSet;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// The moment at which most tests happen.
pub const NOW: u64 = 1_700_000_000_000;

/// The default isolation of transactions: PostgreSQL's own, and that of databases which
/// speak its language.
pub type Setup = &'static str;
pub const SETUPS: [Setup; 2] = ["read committed", "serializable"];
pub const SETUP: Setup = SETUPS[0];

/// How many random sequences the model is compared with, in each setup.
pub const CASES: u32 = 48;

/// The last handle in the order of listings, which is that of all bytes.
pub const LAST_HANDLE: &str = "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff";

/// What counts requests towards a collection.
#[derive(Clone, Copy, PartialEq, Eq)]
#[allow(dead_code)]
pub enum Counting {
    /// The open store does.
    Store,
    /// The database does, of the requests that write.
    Database,
    /// The process does, as long as it keeps the connection.
    Process,
}

pub fn counting(_: Setup) -> Counting {
    Counting::Process
}

/// The position of a session in listings.
pub fn position(handle: &str) -> String {
    handle.to_owned()
}

/// The server of this process; it ends with it.
pub static SERVER: LazyLock<Server> = LazyLock::new(|| Server::start(&[]));

/// A schema of its own for a store.
pub struct Database {
    /// Its name.
    pub schema: String,
    setup: Setup,
    /// How [`Database::open`] opens it.
    pub options: Options,
}

/// An open store.
pub type OpenStore = Store;

impl Database {
    /// One with the default options but for the durability.
    pub fn new(setup: Setup) -> Database {
        Database::with(setup, |_| {})
    }

    /// One with other options.
    pub fn with(setup: Setup, change: impl FnOnce(&mut Options)) -> Database {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let schema = format!("test{}", NEXT.fetch_add(1, Relaxed));
        SERVER.sql("postgres", &format!("CREATE SCHEMA {schema}"));
        let mut options = Options {
            durability: Durability::Relaxed,
            // Other tests may have the processors.
            sync_timeout: 30_000,
            ..Options::default()
        };
        change(&mut options);
        Database {
            schema,
            setup,
            options,
        }
    }

    /// The URL of the schema.
    pub fn url(&self) -> String {
        let isolation = self.setup.replace(' ', "\\ ");
        let options = format!(
            "-c search_path={} -c default_transaction_isolation={isolation}",
            self.schema
        );
        let encoded: String = options
            .bytes()
            .map(|byte| match byte.is_ascii_alphanumeric() {
                true => char::from(byte).to_string(),
                false => format!("%{byte:02X}"),
            })
            .collect();
        let port = SERVER.port;
        format!("postgres://tester@127.0.0.1:{port}/postgres?options={encoded}")
    }

    /// Opens it with its options.
    pub fn open(&self) -> OpenStore {
        self.open_with(|_| {})
    }

    /// Opens it with its options changed.
    pub fn open_with(&self, change: impl FnOnce(&mut Options)) -> OpenStore {
        self.try_open(change)
            .unwrap_or_else(|error| panic!("{error:?}"))
    }

    /// Opens it with its options changed, or says why it cannot.
    pub fn try_open(&self, change: impl FnOnce(&mut Options)) -> Result<OpenStore, Error> {
        let mut options = self.options.clone();
        change(&mut options);
        Store::open(&self.url(), options, NOW)
    }

    /// Runs statements in the schema; returns what they print, a row a line.
    pub fn sql(&self, statements: &str) -> String {
        let statements = format!("SET search_path = {}; {statements}", self.schema);
        SERVER.sql("postgres", &statements)
    }

    /// The handles of all rows, live or not.
    pub fn rows(&self, _: &mut Store) -> BTreeSet<String> {
        let rows = self.sql(r#"SELECT encode(key, 'hex') FROM "Sessions""#);
        rows.lines().map(str::to_owned).collect()
    }

    /// Makes changes fail, such as `BEFORE DELETE`, of rows that fit the condition.
    pub fn fail(&self, change: &str, condition: &str) {
        self.sql(&format!(
            r#"CREATE FUNCTION harm() RETURNS trigger LANGUAGE plpgsql AS
               $$ BEGIN RAISE EXCEPTION 'no'; END $$;
               CREATE TRIGGER harm {change} ON "Sessions" FOR EACH ROW WHEN ({condition})
               EXECUTE FUNCTION harm()"#
        ));
    }

    /// Makes the changes possible again.
    pub fn heal(&self) {
        self.sql(r#"DROP TRIGGER harm ON "Sessions""#);
    }

    /// The number that this query finds.
    pub fn number(&self, query: &str) -> i64 {
        let quoted = query.replace("Sessions", "\"Sessions\"");
        self.sql(&quoted).parse().unwrap()
    }
}
