//! A web component behind the real server, and a minimal HTTP client.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::command::command;
use crate::fixture::Home;

/// `wasi-sessions serve` on a free port; killed on drop.
pub struct Site {
    child: Child,
    /// The address at which it listens.
    pub address: SocketAddr,
    log: Option<JoinHandle<String>>,
}

impl Site {
    /// Serves with the store of this home and these further arguments.
    pub fn start(home: &Home, arguments: &[&str]) -> Self {
        let start = ["serve", "--address", "127.0.0.1:0"];
        Self::spawn(command(home, &[&start, arguments].concat()))
    }

    /// Serves with this command.
    pub fn spawn(mut serve: Command) -> Self {
        let mut child = serve
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut errors = child.stderr.take().unwrap();
        let log = thread::spawn(move || {
            let mut log = String::new();
            errors.read_to_string(&mut log).unwrap();
            log
        });
        let mut url = String::new();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        output.read_line(&mut url).unwrap();
        let Some(address) = url.trim_end().strip_prefix("http://") else {
            panic!("no URL: {}", log.join().unwrap());
        };
        Self {
            child,
            address: address.parse().unwrap(),
            log: Some(log),
        }
    }

    /// The answer to a request without a body.
    pub fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[], b"")
    }

    /// The answer to a request with this body.
    pub fn post(&self, path: &str, body: &[u8]) -> Answer {
        self.ask("POST", path, &[], body)
    }

    /// The answer to a request with these headers.
    pub fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut head = format!(
            "{method} {path} HTTP/1.0\r\nHost: {}\r\nContent-Length: {}\r\n",
            self.address,
            body.len()
        );
        for (name, value) in headers {
            write!(head, "{name}: {value}\r\n").unwrap();
        }
        head.push_str("\r\n");
        Answer::parse(&self.exchange(&[head.as_bytes(), body].concat()))
    }

    /// Sends these bytes; returns all that the server sends until the connection ends.
    pub fn exchange(&self, request: &[u8]) -> Vec<u8> {
        let mut stream = self.connect();
        // Fails if the server answers and closes before it has read everything.
        let _ = stream.write_all(request);
        let mut response = vec![];
        let _ = stream.read_to_end(&mut response);
        response
    }

    /// Opens a connection to the server.
    pub fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).unwrap()
    }

    /// Starts a request, waits until the server begins to read its body of 10 bytes, and
    /// sends the first half.
    pub fn begin(&self, path: &str) -> TcpStream {
        let begun = self.try_begin(path);
        begun.expect("the server begins to read the body")
    }

    /// Like [`begin`](Self::begin); `None` if the server does not begin to read the body.
    pub fn try_begin(&self, path: &str) -> Option<TcpStream> {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Length: 10\r\nConnection: close\r\n\
             Expect: 100-continue\r\n\r\n",
            self.address
        );
        let mut stream = self.connect();
        stream.write_all(head.as_bytes()).unwrap();
        let mut go_on = [0; 25];
        stream.read_exact(&mut go_on).ok()?;
        if &go_on != b"HTTP/1.1 100 Continue\r\n\r\n" {
            return None;
        }
        stream.write_all(b"first").ok()?;
        Some(stream)
    }

    /// The number of the server's sockets: one for each client, and some others.
    pub fn sockets(&self) -> usize {
        let files = fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap();
        let targets = files.filter_map(|file| fs::read_link(file.ok()?.path()).ok());
        targets
            .filter(|target| target.to_string_lossy().starts_with("socket:"))
            .count()
    }

    /// The server's command line, which every user of this machine can read.
    pub fn command_line(&self) -> String {
        fs::read_to_string(format!("/proc/{}/cmdline", self.child.id())).unwrap()
    }

    /// The peak memory of the server, in bytes.
    pub fn most_memory(&self) -> usize {
        let status = format!("/proc/{}/status", self.child.id());
        let status = fs::read_to_string(status).unwrap();
        let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes = most.unwrap().trim_end_matches("kB").trim();
        kilobytes.parse::<usize>().unwrap() << 10
    }

    /// Sends SIGTERM, and waits until the server accepts no more connections.
    pub fn begin_to_stop(&self) {
        self.terminate();
        let started = Instant::now();
        while TcpStream::connect(self.address).is_ok() {
            assert!(started.elapsed() < Duration::from_secs(120));
        }
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        let id = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
    }

    /// Waits until the server has ended; returns its status and its log.
    pub fn ended(mut self) -> (ExitStatus, String) {
        let status = self.child.wait().unwrap();
        let log = self.log.take().unwrap().join().unwrap();
        (status, log)
    }

    /// Sends SIGTERM, and waits until the server has ended; returns its log.
    pub fn stop(self) -> String {
        self.terminate();
        let (status, log) = self.ended();
        assert_eq!(status.code(), Some(0), "{log}");
        log
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        // So that a failing test leaves no process behind; fails if it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A response.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The headers in order, with names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body, which must be UTF-8.
    pub body: String,
}

impl Answer {
    /// Parses a response.
    pub fn parse(response: &[u8]) -> Self {
        let response = String::from_utf8(response.to_vec()).unwrap();
        let Some((head, body)) = response.split_once("\r\n\r\n") else {
            panic!("no response: {response:?}");
        };
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap();
        let headers = lines.map(|line| {
            let (name, value) = line.split_once(": ").unwrap();
            (name.to_ascii_lowercase(), value.to_owned())
        });
        Self {
            status: status.parse().unwrap(),
            headers: headers.collect(),
            body: body.to_owned(),
        }
    }
}
