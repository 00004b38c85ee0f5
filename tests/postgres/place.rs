//! Stores in a database of one server, which all tests share: each has a table of its own.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use wasi_sessions::{Builder, Database, Options, Sessions};

use super::server::{PASSWORD, Server};
use crate::fixture::{CACHE, compiled_in};

/// The server that the tests share; it ends with their process.
pub static SERVER: LazyLock<Server> = LazyLock::new(|| {
    let server = Server::start(&[]);
    // One test compiles while the others wait, instead of all at once.
    drop(builder(&server).open().wait().unwrap());
    server
});

/// The URL of a server's database, without a password.
pub fn url(server: &Server) -> String {
    format!("postgres://postgres@127.0.0.1:{}/postgres", server.port)
}

/// A server's database.
pub fn database(server: &Server) -> Database {
    Database::new(url(server)).password(PASSWORD)
}

/// A builder for a store in a server's database; all tests share the compiled code.
pub fn builder(server: &Server) -> Builder {
    over(database(server))
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
        sync_timeout: Duration::from_secs(30),
        ..Options::default()
    }
}

/// A store in a table of its own.
pub fn store() -> Sessions {
    open(options())
}

/// A store with these options.
pub fn open(options: Options) -> Sessions {
    builder(&SERVER).options(options).open().wait().unwrap()
}

/// The number of connections with this application name.
pub fn connections(server: &Server, application: &str) -> usize {
    let sql =
        format!("SELECT count(*) FROM pg_stat_activity WHERE application_name = '{application}'");
    server.sql("postgres", &sql).parse().unwrap()
}
