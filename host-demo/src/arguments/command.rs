//! The commands on a database in a directory, and their arguments.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::NonEmptyStringValueParser;
use clap::{ArgGroup, Args, Subcommand};

use crate::bench::Layout;
use crate::location::at_least;

/// What to do with the database in a directory.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start a session and print its id
    Create {
        #[command(flatten)]
        payload: Payload,
        /// Whose session it is, 1 to 255 bytes
        #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
        subject: Option<String>,
    },
    /// Print the payload of a session as it was written; with --json, all there is to know
    Get {
        #[command(flatten)]
        session: Id,
    },
    /// Write a session, whether or not it is there
    Set {
        #[command(flatten)]
        session: Id,
        #[command(flatten)]
        payload: Payload,
    },
    /// Renew a session without touching its payload
    Touch {
        #[command(flatten)]
        session: Id,
        #[command(flatten)]
        life: Life,
    },
    /// End a session
    Destroy {
        #[command(flatten)]
        session: Id,
    },
    /// List the live sessions
    List {
        /// Only this subject's
        #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
        subject: Option<String>,
        /// At most so many [default: all]
        #[arg(long, value_name = "N", value_parser = at_least::<1>)]
        limit: Option<u64>,
    },
    /// End the session that a listing names, or all of a subject
    #[command(group = ArgGroup::new("which").required(true).args(["handle", "subject"]))]
    Terminate {
        /// The session's name in `list`
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        handle: Option<String>,
        /// End all sessions of this subject
        #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
        subject: Option<String>,
        // Beside a handle, which rules the subject out, `requires` is void.
        /// ... but the one with this id; `-` for the first line of standard input
        #[arg(
            long,
            value_name = "ID",
            requires = "subject",
            conflicts_with = "handle",
            allow_hyphen_values = true,
            value_parser = NonEmptyStringValueParser::new()
        )]
        except: Option<String>,
    },
    /// Remove what no longer counts, step by step, until nothing is left
    Collect {
        /// Rows to remove at most in one step, for which other requests wait
        #[arg(long, value_name = "N", default_value_t = 1000,
              value_parser = clap::value_parser!(u32).range(1..))]
        limit: u32,
    },
    /// Print figures about the store
    Stats,
    /// Read the whole database and name what is damaged
    Check,
    /// Write a consistent copy of the database
    ///
    /// The copy is written to a folder `.wasi-sessions.backup.…` beside its target,
    /// where it needs the space, and appears under its name when it is complete and
    /// on disk. A killed backup leaves that folder behind. A program backs up a
    /// store that it has open with `Sessions::backup`.
    Backup {
        /// The copy; it must not be there yet
        #[arg(value_name = "COPY")]
        copy: PathBuf,
    },
    /// Replace the database with a backup
    ///
    /// End the program that has the database open first. The copy is checked, and
    /// replaces the database and its write-ahead log in one step, or nothing is
    /// changed. The copy itself stays as it is; beside the database a second one
    /// needs its space for a moment.
    Restore {
        /// A file that `backup` wrote
        #[arg(value_name = "COPY")]
        copy: PathBuf,
    },
    /// Write sessions and print a line for each answer, until killed
    #[command(hide = true)]
    WriteUntilKilled,
    /// Read the sessions whose ids are on standard input, for `bench`
    #[command(hide = true)]
    ReadSessions {
        /// The database is one of SQLite's own
        #[arg(long)]
        native: Option<Layout>,
    },
}

/// The session that a command is about.
#[derive(Debug, Args)]
pub struct Id {
    // One id in 64 starts with a hyphen.
    /// The session's id; `-` for the first line of standard input, which no list of
    /// processes shows
    #[arg(allow_hyphen_values = true, value_parser = NonEmptyStringValueParser::new())]
    pub id: String,
}

/// What to write.
#[derive(Debug, Args)]
pub struct Payload {
    /// The payload; if it is `-` or missing, standard input, after the id if that
    /// comes from there, too
    pub data: Option<OsString>,
    #[command(flatten)]
    pub life: Life,
}

/// How long a session lives.
#[derive(Debug, Args)]
pub struct Life {
    /// Its life from now, in milliseconds; one given earlier is not remembered [default: its
    /// payload's cookie.maxAge, or a day]
    #[arg(long, value_name = "MS", value_parser = milliseconds)]
    pub ttl: Option<u64>,
}

/// Parses a span of time in milliseconds, 0 included.
fn milliseconds(text: &str) -> Result<u64, String> {
    let wrong = |_| {
        format!(
            "it must be 0 or more, in whole milliseconds, up to {}",
            u64::MAX
        )
    };
    text.parse().map_err(wrong)
}
