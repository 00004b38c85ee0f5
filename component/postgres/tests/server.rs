//! A PostgreSQL server on the loopback interface, in a temporary directory.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

#[path = "programs.rs"]
pub mod programs;

use crate::process::{
    NOBODY, Port, Process, Session, certify, client, directory, printed, unprivileged, wait_until,
};

/// The password of the user `postgres`, who logs in by SCRAM.
pub const PASSWORD: &str = "s3cret, with spaces";

/// A running server.
pub struct Server {
    pub port: u16,
    _reserved: Port,
    programs: PathBuf,
    directory: PathBuf,
    process: Process,
}

impl Server {
    /// Creates a cluster and starts a server with these settings.
    pub fn start(settings: &[&str]) -> Server {
        let programs = programs::directory().expect("PostgreSQL is installed");
        let postgres = programs::postgres().unwrap_or_else(|| programs.join("postgres"));
        let (directory, is_root) = directory();
        let password = directory.join("password");
        fs::write(&password, PASSWORD).unwrap();
        fs::set_permissions(&password, fs::Permissions::from_mode(0o644)).unwrap();
        let cluster = directory.join("cluster");
        let made = unprivileged(is_root, &postgres.with_file_name("initdb"))
            .args([
                "--no-sync",
                "--username=postgres",
                "--encoding=UTF8",
                "--locale=C",
            ])
            .args(["--auth-local=trust", "--auth-host=scram-sha-256"])
            .arg(format!("--pwfile={}", password.display()))
            .arg(format!("--pgdata={}", cluster.display()))
            .current_dir(&directory)
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        // Tests that open many connections log in without a password.
        fs::write(
            cluster.join("pg_hba.conf"),
            "host all postgres 127.0.0.1/32 scram-sha-256\nhost all all 127.0.0.1/32 trust\n\
             local all all trust\n",
        )
        .unwrap();
        if settings.contains(&"ssl=on") {
            certify(is_root, &cluster);
        }
        let reserved = Port::reserve();
        let port = reserved.number;
        let mut server = unprivileged(is_root, &postgres);
        server
            .args([
                "-c",
                &format!("port={port}"),
                "-c",
                "listen_addresses=127.0.0.1",
            ])
            .args(["-c", "max_connections=500", "-c", "autovacuum=off"])
            .args(settings.iter().flat_map(|setting| ["-c", setting]))
            .arg(format!("-cunix_socket_directories={}", directory.display()))
            .arg(format!("-D{}", cluster.display()));
        let server = Server {
            port,
            _reserved: reserved,
            programs,
            process: Process::start(&server, "INT", &directory),
            directory,
        };
        server.wait();
        server.sql("postgres", "CREATE ROLE tester SUPERUSER LOGIN");
        server
    }

    /// Waits until the server accepts connections.
    fn wait(&self) {
        let asks = || self.sql_output("postgres", "SELECT 1").status.success();
        wait_until(asks, || self.log());
    }

    /// Stops the server and ends all connections.
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

    /// The user as which the server runs, if it is not the user of the tests.
    #[allow(dead_code)]
    pub fn user(&self) -> Option<u32> {
        let owner = fs::metadata(&self.directory).unwrap().uid();
        (owner == NOBODY).then_some(owner)
    }

    /// Runs statements; returns their output, one line for each row.
    pub fn sql(&self, database: &str, statements: &str) -> String {
        let output = self.sql_output(database, statements);
        printed(statements, output)
    }

    fn sql_output(&self, database: &str, statements: &str) -> Output {
        self.psql(database)
            .args(["--command", statements])
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    fn psql(&self, database: &str) -> Command {
        let mut command = client(self.programs.join("psql"));
        command
            .args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align"])
            .args(["--set=ON_ERROR_STOP=1", "--username=postgres", "--host"])
            .arg(&self.directory)
            .arg(format!("--port={}", self.port))
            .arg(format!("--dbname={database}"))
            .env("PGOPTIONS", "-c default_transaction_read_only=off");
        command
    }

    /// Runs statements in a transaction that stays open until the session is dropped.
    #[allow(dead_code)]
    pub fn begin(&self, statements: &str) -> Session {
        Session::begin(self.psql("postgres"), statements, "\\echo done")
    }

    /// The same through a pooler at this port.
    #[allow(dead_code)]
    pub fn begin_through(&self, port: u16, statements: &str) -> Session {
        let mut command = client(self.programs.join("psql"));
        command
            .args(["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1"])
            .args(["--tuples-only", "--output=/dev/null"])
            .args(["--username=tester", "--host=127.0.0.1", "--dbname=postgres"])
            .arg(format!("--port={port}"));
        Session::begin(command, statements, "\\echo done")
    }

    /// The certificate of a server with `ssl=on`, in PEM.
    #[allow(dead_code)]
    pub fn certificate(&self) -> String {
        fs::read_to_string(self.directory.join("cluster/server.crt")).unwrap()
    }

    /// The server's log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }
}
