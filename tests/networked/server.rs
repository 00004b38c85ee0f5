//! A server of any kind, and stores in its databases: each test has a table or a database of
//! its own.

use std::net::SocketAddr;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use wasi_sessions::{Builder, Database, Options, Sessions};

use crate::fixture::{CACHE, compiled_in};
use crate::process::Session;
use crate::{mariadb, postgres};

/// The servers that the tests share; they end with their process.
pub static MARIADB: LazyLock<Server> =
    LazyLock::new(|| shared(Server::MariaDb(mariadb::Server::start(&[]))));
pub static POSTGRES: LazyLock<Server> =
    LazyLock::new(|| shared(Server::Postgres(postgres::Server::start(&[]))));

/// Opens a store once, so that one test compiles while the others wait, instead of all at once.
fn shared(server: Server) -> Server {
    drop(server.store());
    server
}

/// A running server.
pub enum Server {
    MariaDb(mariadb::Server),
    Postgres(postgres::Server),
}

/// What the tests have to know about a kind of server.
pub struct Kind {
    /// The scheme of the URL of a database.
    pub scheme: &'static str,
    /// A user with a password.
    pub user: &'static str,
    pub password: &'static str,
    /// The environment variable for the password.
    pub variable: &'static str,
    /// The tool that copies a database.
    pub dump: &'static str,
    /// What a server says about a wrong password.
    pub denied: &'static str,
    /// A parameter of a URL that asks for encryption without verification.
    pub unverified: &'static str,
}

impl Server {
    /// Starts another server of the same kind.
    pub fn another(&self) -> Server {
        match self {
            Server::MariaDb(_) => Server::MariaDb(mariadb::Server::start(&[])),
            Server::Postgres(_) => Server::Postgres(postgres::Server::start(&[])),
        }
    }

    pub fn kind(&self) -> &'static Kind {
        match self {
            Server::MariaDb(_) => &Kind {
                scheme: "mariadb",
                user: "guarded",
                password: mariadb::PASSWORD,
                variable: "MYSQL_PWD",
                dump: "mariadb-dump",
                denied: "Access denied",
                unverified: "ssl-mode=PREFERRED",
            },
            Server::Postgres(_) => &Kind {
                scheme: "postgres",
                user: "postgres",
                password: postgres::PASSWORD,
                variable: "PGPASSWORD",
                dump: "pg_dump",
                denied: "password authentication failed",
                unverified: "sslmode=prefer",
            },
        }
    }

    /// The name of the product in statistics.
    pub fn product(&self) -> &'static str {
        match self {
            Server::MariaDb(_) if mariadb::is_mysql() => "MySQL",
            Server::MariaDb(_) => "MariaDB",
            Server::Postgres(_) => "PostgreSQL",
        }
    }

    pub fn address(&self) -> SocketAddr {
        let port = match self {
            Server::MariaDb(server) => server.port,
            Server::Postgres(server) => server.port,
        };
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    /// Stops the server and ends all connections.
    pub fn stop(&mut self) {
        match self {
            Server::MariaDb(server) => server.stop(),
            Server::Postgres(server) => server.stop(),
        }
    }

    /// Starts the stopped server again.
    pub fn restart(&mut self) {
        match self {
            Server::MariaDb(server) => server.restart(),
            Server::Postgres(server) => server.restart(),
        }
    }

    /// The database that exists from the start.
    fn first_database(&self) -> &'static str {
        match self {
            Server::MariaDb(_) => "shop",
            Server::Postgres(_) => "postgres",
        }
    }

    /// Runs statements; returns what they print.
    pub fn sql(&self, statements: &str) -> String {
        match self {
            Server::MariaDb(server) => server.sql(self.first_database(), statements),
            Server::Postgres(server) => server.sql(self.first_database(), statements),
        }
    }

    /// Locks the rows of a table until the session is dropped.
    pub fn lock(&self, table: &str) -> Session {
        let update = format!("UPDATE {table} SET version = version");
        match self {
            Server::MariaDb(server) => server.begin(self.first_database(), &update),
            Server::Postgres(server) => server.begin(&update),
        }
    }

    /// The number of transactions so far that wrote to any table of the server. For PostgreSQL
    /// this call is one, too; MariaDB counts from the first call on.
    pub fn transactions(&self) -> u64 {
        let sql = match self {
            Server::MariaDb(_) => {
                "SET GLOBAL innodb_monitor_enable = 'trx_rw_commits';
                 SELECT count FROM information_schema.innodb_metrics WHERE name = 'trx_rw_commits'"
            }
            Server::Postgres(_) => "SELECT txid_current()",
        };
        self.sql(sql).parse().unwrap()
    }

    /// The URL of the first database, without a password.
    pub fn url(&self) -> String {
        self.url_of(self.first_database())
    }

    fn url_of(&self, database: &str) -> String {
        let Kind { scheme, user, .. } = self.kind();
        format!("{scheme}://{user}@{}/{database}", self.address())
    }

    /// Creates a database; returns its URL, without a password.
    pub fn create(&self, database: &str) -> String {
        self.sql(&format!("CREATE DATABASE {database}"));
        self.url_of(database)
    }

    /// The number of connections to a database.
    pub fn connections(&self, database: &str) -> usize {
        let (view, name) = match self {
            Server::MariaDb(_) => (mariadb::processes(), "db"),
            Server::Postgres(_) => ("pg_stat_activity", "datname"),
        };
        let sql = format!("SELECT count(*) FROM {view} WHERE {name} = '{database}'");
        self.sql(&sql).parse().unwrap()
    }

    /// The first database, with its password.
    pub fn database(&self) -> Database {
        Database::new(self.url()).password(self.kind().password)
    }

    /// A builder for a store in the first database.
    pub fn builder(&self) -> Builder {
        over(self.database())
    }

    /// A store in a table of its own.
    pub fn store(&self) -> Sessions {
        self.open(options())
    }

    /// A store with these options.
    pub fn open(&self, options: Options) -> Sessions {
        self.builder().options(options).open().wait().unwrap()
    }
}

/// A builder for a store in a database; all tests share the compiled code.
pub fn over(database: Database) -> Builder {
    Builder::over(database)
        .cache_directory(compiled_in(&CACHE))
        .options(patient())
}

/// Options with a table that no other test uses.
pub fn options() -> Options {
    static TABLES: AtomicU64 = AtomicU64::new(0);
    Options {
        table_name: format!("t{}", TABLES.fetch_add(1, Ordering::SeqCst)),
        ..patient()
    }
}

/// The defaults, with a longer `sync_timeout` for a busy machine.
fn patient() -> Options {
    Options {
        sync_timeout: Duration::from_secs(120),
        ..Options::default()
    }
}
