//! The end of the program: an error on one line, and an exit code for scripts.

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

use wasi_sessions::Error;

/// The exit codes, for `--help`; 2 is clap's.
pub const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    no: there is no such session (missing, expired or ended), `check` found
       damage, or a promise of the story or the soak did not hold
  2    the command line is wrong
  3    it failed for another reason
  4    the database is in use by another process
  141  the reader of the output has closed it (broken pipe)";

/// A negative answer. It is not a failure, but has its own exit code for scripts.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct No(pub String);

impl No {
    /// There is no such session. Does not contain the id, which must not be in a log.
    pub fn session() -> Self {
        Self("no such session: it is missing, has expired or was ended".to_owned())
    }

    /// The id has a tombstone.
    pub fn ended() -> Self {
        let words = "this id was ended less than a minute ago, so late writes to it are refused";
        Self(words.to_owned())
    }
}

/// Fails with an answer of no unless something holds; `words` say what does not.
pub fn ensure(holds: bool, words: &str) -> anyhow::Result<()> {
    match holds {
        true => Ok(()),
        false => Err(No(words.to_owned()).into()),
    }
}

/// Prints an error to standard error on one line; returns the exit code.
pub fn report(error: &anyhow::Error) -> ExitCode {
    let code = code(error);
    if code != UNREAD {
        // Some messages of SQLite and the operating system have several lines.
        say(format!("{error:#}").replace(['\r', '\n'], " "));
    }
    ExitCode::from(code)
}

/// Prints a line to standard error.
pub fn say(line: impl Display) {
    // An error here cannot be reported anywhere.
    let _ = writeln!(io::stderr(), "wasi-sessions: {line}");
}

/// Reports a new database or table, so that a mistyped name is noticed. Called only on
/// success, because an error is the only line.
pub fn say_if_new(created: Option<String>) {
    if let Some(created) = created {
        say(format_args!("created a new {created}"));
    }
}

/// The exit code that a shell reports for a program killed by SIGPIPE.
const UNREAD: u8 = 141;

fn code(error: &anyhow::Error) -> u8 {
    let unread = |error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe;
    if error.downcast_ref::<No>().is_some() {
        1
    } else if let Some(Error::InUse { .. } | Error::Busy) = error.downcast_ref() {
        4
    } else if error.downcast_ref().is_some_and(unread) {
        UNREAD
    } else {
        3
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_depends_on_the_cause_and_not_on_the_context() {
        let in_use = Error::InUse {
            directory: "d".into(),
        };
        let unread = io::Error::from(io::ErrorKind::BrokenPipe);
        let cases = [
            (anyhow::Error::new(No::session()), 1),
            (anyhow::anyhow!("anything"), 3),
            (Error::StorageFull.into(), 3),
            (Error::Corrupt(String::new()).into(), 3),
            (in_use.into(), 4),
            (Error::Busy.into(), 4),
            (unread.into(), 141),
        ];
        for (error, expected) in cases {
            assert_eq!(code(&error), expected, "{error}");
            assert_eq!(code(&error.context("context")), expected);
        }
    }
}
