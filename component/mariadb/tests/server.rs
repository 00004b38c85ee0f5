//! A server of MariaDB on the loopback interface, in a temporary directory.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

#[path = "programs.rs"]
mod programs;

use crate::process::{
    Port, Process, Session, certify, client, directory, printed, unprivileged, wait_until,
};

/// The password of the user `guarded`.
pub const PASSWORD: &str = "s3cret, with spaces";

/// Whether the servers are MySQL's instead of MariaDB's.
#[allow(dead_code)]
pub fn is_mysql() -> bool {
    programs::mysqld().is_some()
}

/// The view of the connections of a server, with `id`, `user` and `db`. MySQL's
/// `information_schema.processlist` fails while a statement runs that has bytes that are no text.
#[allow(dead_code)]
pub fn processes() -> &'static str {
    match is_mysql() {
        true => {
            "(SELECT processlist_id AS id, processlist_user AS user, processlist_db AS db
              FROM performance_schema.threads) AS processes"
        }
        false => "information_schema.processlist",
    }
}

/// A running server.
pub struct Server {
    pub port: u16,
    _reserved: Port,
    directory: PathBuf,
    process: Process,
}

impl Server {
    /// Makes a directory and starts a server of it, with these settings. `--ssl` makes a
    /// certificate, without which the server has no TLS.
    pub fn start(settings: &[&str]) -> Server {
        let (directory, is_root) = directory();
        let data = directory.join("data");
        let mysqld = programs::mysqld();
        let mut install = match &mysqld {
            Some(mysqld) => unprivileged(is_root, mysqld),
            None => unprivileged(is_root, programs::INSTALL.as_ref()),
        };
        install.args(match mysqld {
            Some(_) => ["--no-defaults", "--initialize-insecure"].as_slice(),
            None => &[
                "--no-defaults",
                "--auth-root-authentication-method=normal",
                "--skip-test-db",
                "--skip-name-resolve",
            ],
        });
        let at_once = |one: &&&str| one.starts_with("--lower-case-table-names");
        let made = install
            // MySQL has to know this from the start.
            .args(settings.iter().filter(at_once))
            .arg(format!("--datadir={}", data.display()))
            // A server that starts removes temporary files, of other servers, too.
            .env("TMPDIR", &directory)
            .current_dir(&directory)
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        let reserved = Port::reserve();
        let port = reserved.number;
        let program = mysqld.as_deref().unwrap_or(programs::SERVER.as_ref());
        let mut server = unprivileged(is_root, program);
        server
            .args(["--no-defaults", "--bind-address=127.0.0.1"])
            .args(["--skip-name-resolve", "--max-connections=500"])
            .args([
                "--innodb-buffer-pool-size=64M",
                "--loose-innodb-flush-method=fsync",
            ])
            .arg(format!("--datadir={}", data.display()))
            .arg(format!("--tmpdir={}", directory.display()))
            .arg(format!("--socket={}", directory.join("socket").display()))
            .arg(format!("--pid-file={}", directory.join("pid").display()))
            .arg(format!("--port={port}"));
        if mysqld.is_some() {
            // Without another port, certificates of its own and a directory of the system.
            server.args(["--mysqlx=OFF", "--tls-version=", "--secure-file-priv=NULL"]);
        }
        if settings.contains(&"--ssl") {
            certify(is_root, &directory);
            if mysqld.is_some() {
                server.arg("--tls-version=TLSv1.3");
            }
            server
                .arg(format!(
                    "--ssl-cert={}",
                    directory.join("server.crt").display()
                ))
                .arg(format!(
                    "--ssl-key={}",
                    directory.join("server.key").display()
                ));
        }
        server.args(settings.iter().filter(|one| **one != "--ssl"));
        let server = Server {
            port,
            _reserved: reserved,
            process: Process::start(&server, "TERM", &directory),
            directory,
        };
        server.wait();
        server.sql(
            "mysql",
            &format!(
                "CREATE USER tester; GRANT ALL ON *.* TO tester WITH GRANT OPTION;
                 CREATE USER guarded IDENTIFIED BY '{PASSWORD}'; GRANT ALL ON *.* TO guarded;
                 CREATE DATABASE shop"
            ),
        );
        server
    }

    /// Waits until the server accepts connections.
    fn wait(&self) {
        let asks = || self.output("mysql", ";", "SELECT 1").status.success();
        wait_until(asks, || self.log());
    }

    /// Stops the server, and with it all connections.
    #[allow(dead_code)]
    pub fn stop(&mut self) {
        self.process.stop();
    }

    /// Starts the stopped server again.
    #[allow(dead_code)]
    pub fn restart(&mut self) {
        self.process.start_again();
        self.wait();
    }

    /// Runs statements; returns what they print, a row a line.
    pub fn sql(&self, database: &str, statements: &str) -> String {
        self.sql_until(database, ";", statements)
    }

    /// Runs statements that end with a delimiter of their own.
    pub fn sql_until(&self, database: &str, delimiter: &str, statements: &str) -> String {
        let output = self.output(database, delimiter, statements);
        printed(statements, output)
    }

    fn output(&self, database: &str, delimiter: &str, statements: &str) -> Output {
        self.client(database)
            .arg(format!("--delimiter={delimiter}"))
            .args(["--execute", statements])
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    fn client(&self, database: &str) -> Command {
        let mut command = client("mariadb");
        command
            .args(["--no-defaults", "--batch", "--skip-column-names", "--raw"])
            .args(["--unbuffered", "--user=root"])
            .args([
                "--default-character-set=utf8mb4",
                "--init-command=SET autocommit = 1, completion_type = 0, sql_safe_updates = 0,
                 sql_select_limit = 18446744073709551615",
            ])
            .arg(format!(
                "--socket={}",
                self.directory.join("socket").display()
            ))
            .arg(format!("--database={database}"));
        command
    }

    /// Runs statements in a transaction that stays open until the session is dropped.
    #[allow(dead_code)]
    pub fn begin(&self, database: &str, statements: &str) -> Session {
        Session::begin(self.client(database), statements, "SELECT 'done';")
    }

    /// The certificate of a server with `--ssl`, in PEM.
    #[allow(dead_code)]
    pub fn certificate(&self) -> String {
        fs::read_to_string(self.directory.join("server.crt")).unwrap()
    }

    /// What the server logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }
}
