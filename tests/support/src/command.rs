//! Runs the real command line as a process.

use std::env;
use std::io::{BufRead, BufReader, Lines, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::LazyLock;

use serde_json::Value;

use crate::fixture::{CACHE, Home};

/// The program that is tested, which cargo builds before it runs the tests.
pub static PROGRAM: LazyLock<PathBuf> = LazyLock::new(|| {
    let program = env::var_os("CARGO_BIN_EXE_wasi-sessions");
    program.expect("`cargo test` runs the tests").into()
});

/// The result of a process.
pub struct Ran {
    /// The exit code.
    pub code: i32,
    /// The standard output.
    pub output: String,
    /// The standard error.
    pub errors: String,
}

impl Ran {
    /// The standard output, which must be one JSON document on one line.
    pub fn json(&self) -> Value {
        assert_eq!(self.code, 0, "{}", self.errors);
        assert_eq!(self.output.lines().count(), 1, "{}", self.output);
        serde_json::from_str(&self.output).unwrap()
    }

    /// The only line of the standard output, without its line break.
    pub fn line(&self) -> &str {
        assert_eq!(self.code, 0, "{}", self.errors);
        let line = self.output.strip_suffix('\n').unwrap();
        assert!(!line.contains('\n'), "{line}");
        line
    }

    /// The only line of the standard error; nothing may be on the standard output.
    pub fn error(&self) -> &str {
        assert_eq!(self.output, "");
        let line = self.errors.strip_suffix('\n').unwrap();
        assert!(!line.contains('\n'), "{line}");
        line.strip_prefix("wasi-sessions: ").unwrap()
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().expect("ended by itself"),
            output: String::from_utf8(output.stdout).unwrap(),
            errors: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// The command `wasi-sessions` with these arguments, without a directory.
pub fn bare(arguments: &[&str]) -> Command {
    let mut command = Command::new(&*PROGRAM);
    command
        .args(arguments)
        .env("XDG_CACHE_HOME", &*CACHE)
        .stdin(Stdio::null());
    command
}

/// `wasi-sessions` with these arguments on the store of this home.
pub fn command(home: &Home, arguments: &[&str]) -> Command {
    let mut command = bare(arguments);
    command.arg("--directory").arg(home.path());
    command
}

/// Runs `wasi-sessions` with these arguments on the store of this home.
pub fn run_cli(home: &Home, arguments: &[&str]) -> Ran {
    command(home, arguments).output().unwrap().into()
}

/// Runs `wasi-sessions` with these bytes on its standard input.
pub fn run_cli_reading(home: &Home, arguments: &[&str], input: &[u8]) -> Ran {
    let mut child = command(home, arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Dropping the pipe ends the input.
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap().into()
}

/// A process that writes sessions until it is killed.
pub struct Writer {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Writer {
    /// Starts the process on the store of this home.
    pub fn start(home: &Home) -> Self {
        let mut child = command(home, &["write-until-killed"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// Waits for this many answered writes.
    pub fn answered_lines(&mut self, count: usize) -> Vec<String> {
        let lines: Vec<String> = self
            .lines
            .by_ref()
            .take(count)
            .map(Result::unwrap)
            .collect();
        assert_eq!(lines.len(), count, "the writer ended by itself");
        lines
    }

    /// Kills the process in mid-write; returns the remaining lines.
    pub fn kill(mut self) -> Vec<String> {
        self.end();
        self.lines.by_ref().map(Result::unwrap).collect()
    }

    fn end(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // So that a failing test leaves no process behind; does nothing after `kill`.
        self.end();
    }
}
