//! A PostgreSQL server on the loopback interface, in a temporary directory.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use tempfile::TempDir;

#[path = "programs.rs"]
mod programs;

/// The password of the user `postgres`, who logs in by SCRAM.
pub const PASSWORD: &str = "s3cret, with spaces";

/// The user as which the server runs if the tests run as root, which the server refuses.
const NOBODY: u32 = 65_534;

/// A script that stops the server and removes its directory when its standard input ends, which
/// happens when the process of the tests ends in any way.
const WATCH: &str = r#"
    stop() { kill -INT "$server"; wait "$server"; }
    "$@" </dev/null >"$LOG" 2>&1 & server=$!
    while read -r command; do
        case $command in
            stop) stop; echo stopped ;;
            start) "$@" </dev/null >>"$LOG" 2>&1 & server=$! ;;
        esac
    done
    stop
    rm -rf "$DATA"
"#;

/// A running server.
pub struct Server {
    pub port: u16,
    programs: PathBuf,
    directory: PathBuf,
    watch: Child,
}

impl Server {
    /// Creates a cluster and starts a server with these settings.
    pub fn start(settings: &[&str]) -> Server {
        let programs = programs::directory().expect("PostgreSQL is installed");
        // In memory, if the machine has such a directory.
        let directory = tempfile::tempdir_in("/dev/shm")
            .or_else(|_| tempfile::tempdir())
            .map(TempDir::keep)
            .unwrap();
        let is_root = fs::metadata(&directory).unwrap().uid() == 0;
        if is_root {
            chown(&directory, Some(NOBODY), Some(NOBODY)).unwrap();
        }
        let password = directory.join("password");
        fs::write(&password, PASSWORD).unwrap();
        fs::set_permissions(&password, fs::Permissions::from_mode(0o644)).unwrap();
        let cluster = directory.join("cluster");
        let made = unprivileged(is_root, &programs.join("initdb"))
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
        let port = free_port();
        let server = unprivileged(is_root, &programs.join("postgres"));
        let mut watch = Command::new("sh");
        watch
            .args(["-c", WATCH, "watch"])
            .arg(server.get_program())
            .args(server.get_args())
            .args([
                "-c",
                &format!("port={port}"),
                "-c",
                "listen_addresses=127.0.0.1",
            ])
            .args(["-c", "max_connections=200", "-c", "autovacuum=off"])
            .args(settings.iter().flat_map(|setting| ["-c", setting]))
            .arg(format!("-cunix_socket_directories={}", directory.display()))
            .arg(format!("-D{}", cluster.display()))
            .env("LOG", directory.join("log"))
            .env("DATA", &directory)
            .current_dir(&directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let server = Server {
            port,
            programs,
            directory,
            watch: watch.spawn().unwrap(),
        };
        server.wait();
        server.sql("postgres", "CREATE ROLE tester SUPERUSER LOGIN");
        server
    }

    /// Waits until the server accepts connections.
    fn wait(&self) {
        let mut tries = 0;
        while !self.sql_output("postgres", "SELECT 1").status.success() {
            tries += 1;
            assert!(tries < 3000, "{}", self.log());
        }
    }

    /// Stops the server and ends all connections.
    #[allow(dead_code)]
    pub fn stop(&mut self) {
        writeln!(self.watch.stdin.as_mut().unwrap(), "stop").unwrap();
        let mut line = String::new();
        let output = self.watch.stdout.as_mut().unwrap();
        BufReader::new(output).read_line(&mut line).unwrap();
        assert_eq!(line, "stopped\n");
    }

    /// Starts the stopped server again.
    #[allow(dead_code)]
    pub fn restart(&mut self) {
        writeln!(self.watch.stdin.as_mut().unwrap(), "start").unwrap();
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
        assert!(output.status.success(), "{statements}: {output:?}");
        String::from_utf8(output.stdout)
            .unwrap()
            .trim_end()
            .to_owned()
    }

    fn sql_output(&self, database: &str, statements: &str) -> Output {
        self.psql(database)
            .args(["--command", statements])
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    fn psql(&self, database: &str) -> Command {
        let mut command = Command::new(self.programs.join("psql"));
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
        let mut command = self.psql("postgres");
        let mut psql = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = psql.stdin.as_mut().unwrap();
        writeln!(input, "BEGIN; {statements};\n\\echo done").unwrap();
        let mut line = String::new();
        let output = psql.stdout.as_mut().unwrap();
        BufReader::new(output).read_line(&mut line).unwrap();
        assert_eq!(line, "done\n");
        Session(psql)
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

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.watch.stdin.take());
        self.watch.wait().unwrap();
    }
}

/// A session of the server with an open transaction.
pub struct Session(Child);

impl Drop for Session {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        self.0.wait().unwrap();
    }
}

/// A command that runs a program without the rights of root.
pub fn unprivileged(is_root: bool, program: &Path) -> Command {
    if !is_root {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    let nobody = NOBODY.to_string();
    command
        .args([
            format!("--reuid={nobody}"),
            format!("--regid={nobody}"),
            "--clear-groups".to_owned(),
        ])
        .arg(program);
    command
}

/// Creates a self-signed certificate for `localhost`.
fn certify(is_root: bool, cluster: &Path) {
    let made = unprivileged(is_root, "/usr/bin/openssl".as_ref())
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
        ])
        .args(["-nodes", "-days", "2", "-subj", "/CN=test"])
        .args(["-addext", "subjectAltName=DNS:localhost"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .args(["-keyout", "server.key", "-out", "server.crt"])
        .current_dir(cluster)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
}

/// A port on which nothing listens.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}
