//! A server that tests start, which runs no longer than they do.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::net::TcpSocket;

/// The user that the server runs as if the tests run as root: servers refuse that.
pub const NOBODY: u32 = 65_534;

/// The most time in which a server starts.
const STARTING: Duration = Duration::from_secs(300);

/// Ends the server and removes its directory when its standard input ends, which it does
/// with the process of the tests, however that ends.
const WATCH: &str = r#"
    stop() { kill "-$SIGNAL" "$server"; wait "$server"; }
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

/// A running server, which ends when it is dropped.
pub struct Process(Child);

impl Process {
    /// Starts a program, which `signal` stops. It writes to the file `log` in its directory,
    /// which is removed after it.
    pub fn start(program: &Command, signal: &str, directory: &Path) -> Process {
        let mut watch = Command::new("sh");
        watch
            .args(["-c", WATCH, "watch"])
            .arg(program.get_program())
            .args(program.get_args())
            .env("SIGNAL", signal)
            .env("LOG", directory.join("log"))
            .env("DATA", directory)
            .current_dir(directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        Process(watch.spawn().unwrap())
    }

    /// Stops the server.
    #[allow(dead_code)]
    pub fn stop(&mut self) {
        writeln!(self.0.stdin.as_mut().unwrap(), "stop").unwrap();
        let mut line = String::new();
        let output = self.0.stdout.as_mut().unwrap();
        BufReader::new(output).read_line(&mut line).unwrap();
        assert_eq!(line, "stopped\n");
    }

    /// Starts the stopped server again.
    #[allow(dead_code)]
    pub fn start_again(&mut self) {
        writeln!(self.0.stdin.as_mut().unwrap(), "start").unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        self.0.wait().unwrap();
    }
}

/// Whether a file system has room for the servers of all tests. In memory, a container often has
/// 64 MiB.
fn has_room(directory: &Path) -> bool {
    const NEEDED: u64 = 3 << 30;
    let free = Command::new("df")
        .args(["--output=avail", "--block-size=1"])
        .arg(directory)
        .output();
    free.is_ok_and(|free| {
        let text = String::from_utf8_lossy(&free.stdout).into_owned();
        let bytes = text
            .lines()
            .last()
            .and_then(|line| line.trim().parse().ok());
        bytes.is_some_and(|bytes: u64| bytes > NEEDED)
    })
}

/// A directory for a server, in memory where the machine offers that, and whether the tests
/// run as root.
pub fn directory() -> (PathBuf, bool) {
    let memory = Path::new("/dev/shm");
    let directory = match has_room(memory) {
        true => tempfile::tempdir_in(memory),
        false => tempfile::tempdir(),
    };
    let directory = directory.map(TempDir::keep).unwrap();
    let is_root = fs::metadata(&directory).unwrap().uid() == 0;
    if is_root {
        chown(&directory, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    (directory, is_root)
}

/// A program that is run without the rights of root.
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

/// A port of the loopback interface on which nothing listens before a server is given it: no
/// other program gets it from the system while this exists.
pub struct Port {
    pub number: u16,
    _socket: TcpSocket,
}

impl Port {
    pub fn reserve() -> Port {
        let socket = TcpSocket::new_v4().unwrap();
        // Servers set this option, too: then both can be bound to the port.
        socket.set_reuseaddr(true).unwrap();
        socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
        Port {
            number: socket.local_addr().unwrap().port(),
            _socket: socket,
        }
    }
}

/// Waits until the server is ready.
pub fn wait_until(is_ready: impl Fn() -> bool, log: impl Fn() -> String) {
    let started = Instant::now();
    while !is_ready() {
        assert!(started.elapsed() < STARTING, "{}", log());
    }
}

/// Makes a certificate for `localhost`, which it leads to itself: `server.crt` and
/// `server.key` in the directory.
pub fn certify(is_root: bool, directory: &Path) {
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
        .current_dir(directory)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
}

/// A client of a server, without the settings in this process's environment that would change
/// how it connects.
pub fn client(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for (name, _) in env::vars_os() {
        let name = name.to_string_lossy();
        if ["PG", "MYSQL", "MARIADB"]
            .iter()
            .any(|start| name.starts_with(start))
        {
            command.env_remove(&*name);
        }
    }
    command
}

/// What a client printed that ran these statements, without the last line break.
pub fn printed(statements: &str, output: Output) -> String {
    assert!(output.status.success(), "{statements}: {output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.trim_end().to_owned()
}

/// A session of a server with an open transaction, which ends when this is dropped.
pub struct Session(Child);

impl Session {
    /// Runs statements in a transaction, with a client that reads them from its standard
    /// input. `echo` is the command by which the client prints `done`.
    #[allow(dead_code)]
    pub fn begin(mut client: Command, statements: &str, echo: &str) -> Session {
        let mut client = client
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = client.stdin.as_mut().unwrap();
        writeln!(input, "BEGIN; {statements};\n{echo}").unwrap();
        let mut line = String::new();
        let output = client.stdout.as_mut().unwrap();
        BufReader::new(output).read_line(&mut line).unwrap();
        assert_eq!(line, "done\n");
        Session(client)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        self.0.wait().unwrap();
    }
}
