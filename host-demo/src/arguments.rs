//! The command line: what it accepts, and what its help says.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::builder::NonEmptyStringValueParser;
use clap::error::ErrorKind;
use clap::{Arg, ArgGroup, Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::bench::Plan;
use crate::database::Database;
use crate::ending::EXIT_CODES;
use crate::serve::Site;

/// Keeps sessions in SQLite inside a WebAssembly component, from the command line.
///
/// Without a command it tells the store's story on a new database, checks every
/// promise on the way, and ends with a table of what each phase took. A story
/// that is interrupted leaves its temporary directory behind.
///
/// With a command it works on the database in a directory that no other program
/// has open; only `create`, `set` and `restore` make one that is missing. Programs can do
/// more with the crate `wasi-sessions`: update, merge, rotate and clear.
///
/// Every user of a machine can read its command lines. So a command that takes an
/// id accepts `-` for the first line of standard input, and one that takes a
/// payload accepts `-` for all of standard input, or for what is left after the id.
///
/// Compiled code is cached in `$XDG_CACHE_HOME/wasi-sessions`, or else in
/// `~/.cache/wasi-sessions`, but never in the database's directory.
#[derive(Debug, Parser)]
#[command(name = "host-demo", version, after_help = EXIT_CODES)]
pub struct Arguments {
    /// What to do; without it, the story.
    #[command(subcommand)]
    pub command: Option<Task>,
    /// Where the database is.
    #[command(flatten)]
    pub location: Location,
    /// Print JSON, one document a line; moments are milliseconds since 1970, spans are milliseconds,
    /// with a fraction where they were measured
    #[arg(long, global = true)]
    pub json: bool,
    /// How large the story is.
    #[command(flatten)]
    pub scale: Scale,
}

/// Where the database is.
#[derive(Debug, Args)]
pub struct Location {
    /// The database's directory, which every command on a database needs; without it `serve` and
    /// the story make a temporary one. `bench` makes its own in it
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

/// What to do instead of telling the story.
#[derive(Debug, Subcommand)]
pub enum Task {
    #[command(flatten)]
    Command(Command),
    /// Measure the store beside SQLite itself, on the disk of --directory or a temporary one
    Bench(Plan),
    /// Serve a web component whose sessions the store keeps, by default a demo
    ///
    /// Prints the URL once it listens, and a line for each request on standard
    /// error. It ends with SIGINT or SIGTERM, after the requests in flight.
    /// Without --directory the sessions are in a temporary one and end with it.
    Serve(Site),
}

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
    /// Read the sessions whose ids stand on standard input, for `bench`
    #[command(hide = true)]
    ReadSessions {
        /// The database is one of SQLite's own
        #[arg(long)]
        native: bool,
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

/// Parses a whole number that is at least `LEAST`.
pub fn at_least<const LEAST: u64>(text: &str) -> Result<u64, String> {
    let number = text.parse().ok().filter(|number| *number >= LEAST);
    number.ok_or_else(|| format!("it must be a whole number from {LEAST} to {}", u64::MAX))
}

impl Arguments {
    /// The arguments of this process; ends it when they make no sense.
    pub fn parse_or_exit() -> Self {
        Self::read(env::args_os()).unwrap_or_else(|error| error.exit())
    }

    /// The arguments in a line of words, of which the first is the program.
    fn read<Word>(line: impl IntoIterator<Item = Word>) -> Result<Self, clap::Error>
    where
        Word: Into<OsString> + Clone,
    {
        let mut definition = definition();
        let matches = definition.try_get_matches_from_mut(line)?;
        let arguments =
            Self::from_arg_matches(&matches).map_err(|error| error.format(&mut definition))?;
        let name = matches.subcommand_name();
        if let Some(command) = name.and_then(|name| definition.find_subcommand_mut(name)) {
            arguments.check(command)?;
        }
        Ok(arguments)
    }

    /// What clap cannot tell: which options go with a command.
    fn check(&self, command: &mut clap::Command) -> Result<(), clap::Error> {
        let mut refused = |kind, reason| Err(command.error(kind, reason));
        let on_a_database = matches!(self.command, Some(Task::Command(_)));
        if on_a_database && self.location.directory.is_none() {
            refused(ErrorKind::MissingRequiredArgument, NEEDS_DIRECTORY)
        } else if self.scale.sessions.or(self.scale.users).is_some() {
            let reason = "--sessions and --users belong to the story, which has no command";
            refused(ErrorKind::ArgumentConflict, reason)
        } else {
            Ok(())
        }
    }
}

/// What clap is told: as derived, but the usage of each command on a database
/// has `--directory`. Clap takes no required option before *and* after a command.
/// A negative number is passed to the option before it, which reports what is
/// wrong; otherwise clap would take it for an unknown option.
fn definition() -> clap::Command {
    let negative = |option: Arg| {
        let names = option.get_value_names().unwrap_or_default();
        // A span with a unit is not a number for clap.
        let time = names.iter().any(|name| name == "TIME");
        match option.is_positional() {
            true => option,
            false if time => option.allow_hyphen_values(true),
            false => option.allow_negative_numbers(true),
        }
    };
    let mut definition = Arguments::command()
        .mut_args(negative)
        .mut_subcommands(|command| command.mut_args(negative));
    definition.build();
    definition.mut_subcommands(|mut command| {
        if !Command::has_subcommand(command.get_name()) {
            return command;
        }
        let usage = command.render_usage().to_string();
        let usage = usage.replacen("[OPTIONS]", "--directory <DIR> [OPTIONS]", 1);
        command.override_usage(usage.trim_start_matches("Usage: ").to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Arguments, clap::Error> {
        Arguments::read(["host-demo"].into_iter().chain(line.split_whitespace()))
    }

    #[test]
    fn the_definition_is_sound() {
        definition().debug_assert();
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
        let Some(Task::Command(Command::Backup { copy })) = arguments.command else {
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
                let Some(Task::Command(Command::Get { session })) = arguments.command else {
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
            "--sessions 500 bench",
            "bench --sessions 0",
            "bench --only everything",
            "terminate --directory d",
            "terminate x --directory d --subject s",
            "terminate x --directory d --except y",
            "collect --directory d --limit 0",
            "list --directory d --limit 0",
            "set --directory d x --no-such-option",
            "backup --directory d",
            "restore --directory d",
            "restore copy.db",
            "serve --address nowhere",
            "serve --timeout 5",
            "serve --operator-token=",
            "serve --operator-token-file",
            "serve --operator-token t --operator-token-file f",
            "serve --admin",
            "serve --sessions 5",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn an_invalid_number_is_refused_with_the_valid_range() {
        let ttl = "it must be 0 or more, in whole milliseconds";
        let number = "it must be a whole number from 1";
        for (line, words) in [
            ("create --directory d --ttl -5", ttl),
            ("create --directory d --ttl=-5", ttl),
            ("create --directory d --ttl -0.5", ttl),
            ("create --directory d --ttl 1.5", ttl),
            ("create --directory d --ttl soon", ttl),
            ("create --directory d --ttl 18446744073709551616", ttl),
            ("set x --directory d --ttl -5", ttl),
            ("touch x --directory d --ttl -5", ttl),
            ("list --directory d --limit -5", number),
            ("list --directory d --limit 0", number),
            ("collect --directory d --limit -5", "-5 is not in 1.."),
            ("--sessions -5", "-5 is not in 1.."),
            ("--users -5", "-5 is not in 1.."),
            ("bench --rounds -5", "-5 is not in 1.."),
            ("bench --large -5", "-5 is not in 0.."),
            ("bench --milliseconds -5", number),
            ("serve --body-limit -5", "it must be a whole number"),
            (
                "serve --timeout -5",
                "invalid value '-5' for '--timeout <TIME>'",
            ),
            (
                "serve --timeout -5s",
                "invalid value '-5s' for '--timeout <TIME>'",
            ),
        ] {
            let error = parse(line).unwrap_err().to_string();
            assert!(error.contains(words), "{line}: {error}");
            assert!(!error.contains("tip:"), "{line}: {error}");
        }
        parse("create --directory d --subject -5").unwrap();
    }

    #[test]
    fn an_error_shows_how_the_command_is_used() {
        let terminate = "host-demo terminate --directory <DIR> [OPTIONS] <HANDLE|--subject <NAME>>";
        for (line, usage) in [
            ("get x", "host-demo get --directory <DIR> [OPTIONS] <ID>"),
            (
                "get --directory d",
                "host-demo get --directory <DIR> [OPTIONS] <ID>",
            ),
            ("terminate x", terminate),
            ("terminate --directory d", terminate),
            ("terminate --directory d x --subject s", terminate),
            ("terminate --directory d x --except y", terminate),
            ("terminate --directory d --except y", terminate),
            ("bench everything", "host-demo bench [OPTIONS]"),
        ] {
            let error = parse(line).unwrap_err().to_string();
            assert!(error.contains(&format!("Usage: {usage}\n")), "{error}");
        }
    }

    #[test]
    fn an_id_or_a_subject_is_not_empty() {
        for line in [
            vec!["get", ""],
            vec!["set", "", "{}"],
            vec!["create", "{}", "--subject", ""],
            vec!["list", "--subject="],
            vec!["terminate", ""],
            vec!["terminate", "--subject", ""],
            vec!["terminate", "--subject", "s", "--except", ""],
        ] {
            let words = [&["host-demo", "--directory", "d"], &line[..]].concat();
            let error = Arguments::read(words).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{line:?}");
        }
    }
}
