//! The command line: what it accepts, and what its help says.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::database::Database;
use crate::ending::EXIT_CODES;

/// Keeps sessions in SQLite inside a WebAssembly component, from the command line.
///
/// Without a command it tells the store's story on a new database, checks every
/// promise on the way, and ends with a table of what each phase took. With one
/// it works on the database in a directory; only `create` and `set` make one
/// that is missing.
#[derive(Debug, Parser)]
#[command(name = "host-demo", version, after_help = EXIT_CODES)]
pub struct Arguments {
    /// What to do; without it, the story.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Where the database is.
    #[command(flatten)]
    pub location: Location,
    /// Print JSON: one document a line, times in milliseconds since 1970
    #[arg(long, global = true)]
    pub json: bool,
    /// How large the story is.
    #[command(flatten)]
    pub scale: Scale,
}

/// Where the database is.
#[derive(Debug, Args)]
pub struct Location {
    /// Directory of the database; required by commands, by default a temporary one for the story
    #[arg(long, global = true, value_name = "DIR")]
    pub directory: Option<PathBuf>,
    /// The database's file in the directory
    #[arg(
        long,
        global = true,
        value_name = "NAME",
        default_value = "sessions.db"
    )]
    pub file: String,
    /// The table that holds the sessions
    #[arg(long, global = true, value_name = "NAME", default_value = "Sessions")]
    pub table: String,
}

impl Location {
    /// The database in the directory that was given.
    pub fn database(&self) -> anyhow::Result<Database> {
        let directory = self.directory.as_ref().context(NEEDS_DIRECTORY)?;
        Ok(self.database_in(directory))
    }

    /// The database in another directory.
    pub fn database_in(&self, directory: &Path) -> Database {
        Database {
            directory: directory.to_owned(),
            file: self.file.clone(),
            table: self.table.clone(),
        }
    }
}

const NEEDS_DIRECTORY: &str = "a command needs --directory <DIR>";

/// How large the story is.
#[derive(Debug, Args)]
#[command(next_help_heading = "Story")]
pub struct Scale {
    /// Sessions to create [default: 10000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    sessions: Option<u32>,
    /// Users to whom they belong [default: 500]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    users: Option<u32>,
}

impl Scale {
    /// How many sessions are created.
    pub fn sessions(&self) -> u32 {
        self.sessions.unwrap_or(10_000)
    }

    /// To how many users they belong.
    pub fn users(&self) -> u32 {
        self.users.unwrap_or(500)
    }
}

/// What to do with the database in a directory.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start a session and print its id
    Create {
        #[command(flatten)]
        payload: Payload,
        /// Whose session it is, 1 to 255 bytes
        #[arg(long, value_name = "NAME")]
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
        #[arg(long, value_name = "NAME")]
        subject: Option<String>,
        /// At most so many
        #[arg(long, value_name = "N")]
        limit: Option<u64>,
    },
    /// End the session that a listing names, or all of a subject
    Terminate {
        /// The session's name in `list`
        #[arg(required_unless_present = "subject", conflicts_with = "subject")]
        handle: Option<String>,
        /// End all sessions of this subject
        #[arg(long, value_name = "NAME")]
        subject: Option<String>,
        /// ... but the one with this id
        #[arg(
            long,
            value_name = "ID",
            requires = "subject",
            conflicts_with = "handle",
            allow_hyphen_values = true
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
    Backup {
        /// The copy; it must not be there yet
        #[arg(value_name = "FILE")]
        copy: PathBuf,
    },
    /// Write sessions and print a line for each answer, until killed
    #[command(hide = true)]
    WriteUntilKilled,
}

/// The session that a command is about.
#[derive(Debug, Args)]
pub struct Id {
    // One id in 64 starts with a hyphen.
    /// The session's id
    #[arg(allow_hyphen_values = true)]
    pub id: String,
}

/// What to write.
#[derive(Debug, Args)]
pub struct Payload {
    /// The payload; standard input when it is `-` or not given
    pub data: Option<OsString>,
    #[command(flatten)]
    pub life: Life,
}

/// How long a session lives.
#[derive(Debug, Args)]
pub struct Life {
    /// Its life from now, in milliseconds [default: its payload's cookie.maxAge, or a day]
    #[arg(long, value_name = "MS")]
    pub ttl: Option<u64>,
}

impl Arguments {
    /// The arguments of this process; ends it when they make no sense.
    pub fn parse_or_exit() -> Self {
        let arguments = Self::parse();
        arguments.check().unwrap_or_else(|error| error.exit());
        arguments
    }

    /// What clap cannot tell: which options go with a command.
    fn check(&self) -> Result<(), clap::Error> {
        let refused = |kind, reason| Err(Self::command().error(kind, reason));
        if self.command.is_none() {
            Ok(())
        } else if self.location.directory.is_none() {
            refused(ErrorKind::MissingRequiredArgument, NEEDS_DIRECTORY)
        } else if self.scale.sessions.or(self.scale.users).is_some() {
            let reason = "--sessions and --users belong to the story, which has no command";
            refused(ErrorKind::ArgumentConflict, reason)
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Arguments, clap::Error> {
        let words = ["host-demo"].into_iter().chain(line.split_whitespace());
        let arguments = Arguments::try_parse_from(words)?;
        arguments.check()?;
        Ok(arguments)
    }

    #[test]
    fn the_definition_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn global_options_stand_before_or_after_the_command() {
        for line in [
            "--directory d --json get x",
            "get --directory d x --json",
            "get x --json --directory d",
        ] {
            let arguments = parse(line).unwrap();
            assert!(arguments.json, "{line}");
            assert_eq!(arguments.location.directory, Some("d".into()), "{line}");
        }
    }

    #[test]
    fn no_argument_of_a_command_is_taken_for_a_global_option() {
        let arguments = parse("backup copy.db --directory d --file f --table t").unwrap();
        assert_eq!(arguments.location.file, "f");
        let Some(Command::Backup { copy }) = arguments.command else {
            panic!("{:?}", arguments.command);
        };
        assert_eq!(copy, Path::new("copy.db"));
    }

    #[test]
    fn an_id_may_start_with_a_hyphen() {
        for id in ["-", "-h3", "-V-", "--x", "-json"] {
            for line in [
                format!("get {id} --directory d --json"),
                format!("--json --directory d get {id}"),
            ] {
                let arguments = parse(&line).unwrap();
                let Some(Command::Get { session }) = arguments.command else {
                    panic!("{line}");
                };
                assert_eq!(session.id, id, "{line}");
                assert!(arguments.json, "{line}");
            }
            parse(&format!(
                "terminate --directory d --subject s --except {id}"
            ))
            .unwrap();
        }
    }

    #[test]
    fn options_that_do_not_go_together_are_refused() {
        for line in [
            "get x",
            "get --directory d",
            "--sessions 5 --directory d get x",
            "--users 5 --directory d stats",
            "--sessions 0",
            "terminate --directory d",
            "terminate x --directory d --subject s",
            "terminate x --directory d --except y",
            "collect --directory d --limit 0",
            "set --directory d x --no-such-option",
            "backup --directory d",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
