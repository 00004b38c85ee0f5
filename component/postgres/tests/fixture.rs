//! Databases for the tests: each is a schema on a server that all tests share.

pub use crate::contract::samples::{Counting, NOW, create, handle, is_live, started};

use crate::engine::{Durability, Engine, Error, Options, Store};
use crate::server::Server;
use std::collections::BTreeSet;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// The default isolation of transactions: PostgreSQL's own, and that of some compatible
/// databases.
pub type Setup = &'static str;
pub const SETUPS: [Setup; 2] = ["read committed", "serializable"];
pub const SETUP: Setup = SETUPS[0];

/// How many random sequences the model is compared with, in each setup.
pub const CASES: u32 = 48;

/// The last handle in the order of listings, in which bytes are unsigned.
pub const LAST_HANDLE: &str = "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff";

pub fn counting(_: Setup) -> Counting {
    Counting::Process
}

/// The position of a session in listings.
pub fn position(handle: &str) -> String {
    handle.to_owned()
}

/// The server of this process, which ends with the process.
pub static SERVER: LazyLock<Server> = LazyLock::new(|| Server::start(&[]));

/// The port of that server.
pub fn server_port() -> u16 {
    SERVER.port
}

/// A new schema for a store.
pub struct Database {
    /// The name of the schema.
    pub schema: String,
    setup: Setup,
    /// The options with which [`Database::open`] opens a store.
    pub options: Options,
}

/// An open store.
pub type OpenStore = Store;

impl Database {
    /// A database with the default options except the durability.
    pub fn new(setup: Setup) -> Database {
        Database::with(setup, |_| {})
    }

    /// A database with other options.
    pub fn with(setup: Setup, change: impl FnOnce(&mut Options)) -> Database {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        // No name is the beginning of another one, since tests look for it in queries.
        let schema = format!("test{:06}", NEXT.fetch_add(1, Relaxed));
        SERVER.sql("postgres", &format!("CREATE SCHEMA {schema}"));
        let mut options = Options {
            durability: Durability::Relaxed,
            // Longer than the default, since other tests may occupy the processors.
            sync_timeout: 120_000,
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

    /// Opens a store with the database's options.
    pub fn open(&self) -> OpenStore {
        self.open_with(|_| {})
    }

    /// Opens a store with changed options.
    pub fn open_with(&self, change: impl FnOnce(&mut Options)) -> OpenStore {
        self.try_open(change)
            .unwrap_or_else(|error| panic!("{error:?}"))
    }

    /// Tries to open a store with changed options.
    pub fn try_open(&self, change: impl FnOnce(&mut Options)) -> Result<OpenStore, Error> {
        let mut options = self.options.clone();
        change(&mut options);
        Store::open(&self.url(), options, NOW)
    }

    /// Runs statements in the schema; returns their output, one line for each row.
    pub fn sql(&self, statements: &str) -> String {
        let statements = format!("SET search_path = {}; {statements}", self.schema);
        SERVER.sql("postgres", &statements)
    }

    /// The handles of all rows, live or not.
    pub fn rows(&self, _: &mut Store) -> BTreeSet<String> {
        let rows = self.sql(r#"SELECT encode(key, 'hex') FROM "Sessions""#);
        rows.lines().map(str::to_owned).collect()
    }

    /// Makes changes, such as `BEFORE DELETE`, fail for rows that match the condition.
    pub fn fail(&self, change: &str, condition: &str) {
        self.sql(&format!(
            r#"CREATE FUNCTION harm() RETURNS trigger LANGUAGE plpgsql AS
               $$ BEGIN RAISE EXCEPTION 'no'; END $$;
               CREATE TRIGGER harm {change} ON "Sessions" FOR EACH ROW WHEN ({condition})
               EXECUTE FUNCTION harm()"#
        ));
    }

    /// Undoes [`Database::fail`].
    pub fn heal(&self) {
        self.sql(r#"DROP TRIGGER harm ON "Sessions""#);
    }

    /// The number that this query returns.
    pub fn number(&self, query: &str) -> i64 {
        let quoted = query.replace("Sessions", "\"Sessions\"");
        self.sql(&quoted).parse().unwrap()
    }
}
