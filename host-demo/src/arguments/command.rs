//! The commands on a database, and their arguments.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::NonEmptyStringValueParser;
use clap::{ArgGroup, Args, Subcommand};
use native_stores::Layout;

use crate::location::at_least;

/// What to do with a database.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start a session and print its id
    Create {
        #[command(flatten)]
        payload: Payload,
        /// The subject (usually a user) of the session, 1 to 255 bytes
        #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
        subject: Option<String>,
    },
    /// Print the payload of a session as it was written; with --json, all its fields
    Get {
        #[command(flatten)]
        session: Id,
    },
    /// Write a session, whether or not it exists
    Set {
        #[command(flatten)]
        session: Id,
        #[command(flatten)]
        payload: Payload,
    },
    /// Renew a session without changing its payload
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
        /// List only sessions of this subject
        #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
        subject: Option<String>,
        /// The maximum number of sessions [default: all]
        #[arg(long, value_name = "N", value_parser = at_least::<1>)]
        limit: Option<u64>,
    },
    /// End a session by its handle, or all sessions of a subject
    #[command(group = ArgGroup::new("which").required(true).args(["handle", "subject"]))]
    Terminate {
        /// The session's handle in `list`
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        handle: Option<String>,
        /// End all sessions of this subject
        #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
        subject: Option<String>,
        // `requires` has no effect with a handle, which excludes a subject.
        /// ... except the one with this id; `-` for the first line of standard input
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
    /// Remove expired sessions and old tombstones, step by step, until nothing is left
    Collect {
        /// The maximum number of rows to remove in one step, for which other requests wait
        #[arg(long, value_name = "N", default_value_t = 1000,
              value_parser = clap::value_parser!(u32).range(1..))]
        limit: u32,
    },
    /// Print statistics of the store
    Stats,
    /// Read the whole database and report damage
    Check,
    /// Write a consistent copy of the database
    ///
    /// The copy is written to a folder `.wasi-sessions.backup.…` beside its target,
    /// and appears under its name when it is complete and durable. A killed backup
    /// leaves that folder behind. A program can back up a store that it has open
    /// with `Sessions::backup`.
    Backup {
        /// The copy; it must not exist yet
        #[arg(value_name = "COPY")]
        copy: PathBuf,
    },
    /// Replace the database with a backup
    ///
    /// First end the program that has the database open. The copy is checked, and
    /// then replaces the database and its write-ahead log in one step, or nothing is
    /// changed. The copy itself is not changed, so the restore needs space for a
    /// second copy in the database's directory.
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
        /// The database is the bench's own SQLite database
        #[arg(long)]
        native: Option<Layout>,
    },
}

/// The session that a command is about.
#[derive(Debug, Args)]
pub struct Id {
    // One id in 64 starts with a hyphen.
    /// The session's id; `-` for the first line of standard input, which does not appear
    /// in the list of processes
    #[arg(allow_hyphen_values = true, value_parser = NonEmptyStringValueParser::new())]
    pub id: String,
}

/// The payload to write, and its life.
#[derive(Debug, Args)]
pub struct Payload {
    /// The payload; if it is `-` or missing, it is read from standard input, after the
    /// id if that is read from there, too
    pub data: Option<OsString>,
    #[command(flatten)]
    pub life: Life,
}

/// How long a session lives.
#[derive(Debug, Args)]
pub struct Life {
    /// The session's life from now, in milliseconds; a life given earlier is not remembered
    /// [default: the payload's cookie.maxAge, or a day]
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
