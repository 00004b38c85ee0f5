//! A database in a server that all tests share.

pub use crate::contract::samples::{Counting, NOW, create, handle, is_live, started};

use crate::engine::{Durability, Engine, Error, Options, Store};
use crate::server::{Server, is_mysql};
use std::collections::BTreeSet;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Instant;

/// The defaults of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setup {
    /// MariaDB's own.
    Ordinary,
    /// All that statements could depend on is otherwise.
    Unusual,
}
pub const SETUPS: [Setup; 2] = [Setup::Ordinary, Setup::Unusual];
pub const SETUP: Setup = SETUPS[0];

/// How many random sequences the model is compared with, in each setup.
pub const CASES: u32 = 48;

/// The last handle in the order of listings, which is that of all bytes.
pub const LAST_HANDLE: &str = "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff";

pub fn counting(_: Setup) -> Counting {
    Counting::Process
}

/// The position of a session in listings.
pub fn position(handle: &str) -> String {
    handle.to_owned()
}

/// The servers of this process; they end with it.
pub static SERVER: LazyLock<Server> = LazyLock::new(|| Server::start(&[]));
static UNUSUAL: LazyLock<Server> = LazyLock::new(|| {
    let of_mariadb = if is_mysql() {
        ""
    } else {
        ",SIMULTANEOUS_ASSIGNMENT"
    };
    let sql_mode = "--sql-mode=ANSI_QUOTES,NO_BACKSLASH_ESCAPES,PAD_CHAR_TO_FULL_LENGTH";
    let server = Server::start(&[
        "--transaction-isolation=SERIALIZABLE",
        &format!("{sql_mode}{of_mariadb}"),
        "--autocommit=0",
        "--default-storage-engine=MyISAM",
        "--character-set-server=latin1",
        "--lower-case-table-names=1",
        "--default-time-zone=+05:30",
        "--innodb-rollback-on-timeout",
        "--log-bin=binary",
        "--server-id=1",
        "--binlog-format=MIXED",
        "--completion-type=CHAIN",
    ]);
    let settings = "SET GLOBAL sql_safe_updates = 1, GLOBAL sql_select_limit = 1";
    server.sql("mysql", settings);
    server
});

/// The port of the server with the ordinary setup.
pub fn server_port() -> u16 {
    SERVER.port
}

/// A database of its own for a store.
pub struct Database {
    /// Its name.
    pub name: String,
    setup: Setup,
    /// When it was made.
    pub since: Instant,
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
        let name = format!("test{}", NEXT.fetch_add(1, Relaxed));
        let mut options = Options {
            durability: Durability::Relaxed,
            // Other tests may have the processors.
            sync_timeout: 120_000,
            ..Options::default()
        };
        change(&mut options);
        let database = Database {
            name,
            setup,
            since: Instant::now(),
            options,
        };
        let create = format!("CREATE DATABASE {}", database.name);
        database.server().sql("mysql", &create);
        database
    }

    /// The server that has it.
    pub fn server(&self) -> &'static Server {
        match self.setup {
            Setup::Ordinary => &SERVER,
            Setup::Unusual => &UNUSUAL,
        }
    }

    /// Its URL.
    pub fn url(&self) -> String {
        let port = self.server().port;
        format!("mysql://tester@127.0.0.1:{port}/{}", self.name)
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

    /// Runs statements in it; returns what they print, a row a line.
    pub fn sql(&self, statements: &str) -> String {
        self.server().sql(&self.name, statements)
    }

    /// The handles of all rows, live or not.
    pub fn rows(&self, _: &mut Store) -> BTreeSet<String> {
        let rows = self.sql("SELECT LOWER(HEX(hash)) FROM Sessions");
        rows.lines().map(str::to_owned).collect()
    }

    /// Makes changes fail, such as `BEFORE DELETE`, of rows that fit the condition.
    pub fn fail(&self, change: &str, condition: &str) {
        let trigger = format!(
            "CREATE TRIGGER harm {change} ON Sessions FOR EACH ROW
             IF {condition} THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'no'; END IF"
        );
        self.server().sql_until(&self.name, "//", &trigger);
    }

    /// Makes the changes possible again.
    pub fn heal(&self) {
        self.sql("DROP TRIGGER harm");
    }

    /// The number that this query finds.
    pub fn number(&self, query: &str) -> i64 {
        self.sql(query).parse().unwrap()
    }
}
