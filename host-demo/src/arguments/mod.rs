//! The definition of the command line, with its help.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Arg, Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use clap_complete::Shell;

use crate::bench::Plan;
use crate::ending::EXIT_CODES;
use crate::location::{Location, NEEDS_PLACE};
use crate::serve::Site;
use crate::shipped::Engine;
use crate::soak;

mod command;
#[cfg(test)]
mod tests;

pub use command::Command;

/// The program.
const NAME: &str = "wasi-sessions";

/// Keeps sessions in SQLite inside a WebAssembly component, from the command line.
///
/// Without a command it runs a story: a demonstration on a new database that checks every
/// promise of the store, and ends with a table of the time that each phase took. A story
/// that is interrupted leaves its temporary directory behind.
///
/// With a command it works on the database in a directory, which no other program may have
/// open, or with --store on a database on a server, which many programs can share. Only
/// `create`, `set` and `restore` create a missing database. Programs can do
/// more with the crate `wasi-sessions`: update, merge, rotate and clear.
///
/// Every user of a machine can read its command lines. So a command that takes an
/// id accepts `-` for the first line of standard input, and a command that takes a
/// payload accepts `-` for all of standard input, or for the rest of it after the id.
///
/// Compiled code is cached in `$XDG_CACHE_HOME/wasi-sessions`, or else in
/// `~/.cache/wasi-sessions`, but never in the database's directory.
#[derive(Debug, Parser)]
#[command(name = NAME, version, after_help = EXIT_CODES)]
pub struct Arguments {
    /// What to do; without it, the story.
    #[command(subcommand)]
    pub command: Option<Task>,
    /// The location of the database.
    #[command(flatten)]
    pub location: Location,
    /// Print JSON, one document on each line; moments are milliseconds since 1970, spans are
    /// milliseconds, with a fraction if they were measured
    #[arg(long, global = true)]
    pub json: bool,
    /// The size of the story.
    #[command(flatten)]
    pub scale: Scale,
}

/// The size of the story.
#[derive(Debug, Args)]
#[command(next_help_heading = "Story")]
pub struct Scale {
    /// Sessions to create [default: 10000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    sessions: Option<u32>,
    /// Users to whom the sessions belong [default: 500]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    users: Option<u32>,
}

impl Scale {
    /// The number of sessions to create.
    pub fn sessions(&self) -> u32 {
        self.sessions.unwrap_or(10_000)
    }

    /// The number of users to whom they belong.
    pub fn users(&self) -> u32 {
        self.users.unwrap_or(500)
    }
}

/// What to do instead of the story.
#[derive(Debug, Subcommand)]
pub enum Task {
    #[command(flatten)]
    Command(Command),
    /// Measure the store and SQLite itself, on the disk of --directory or a temporary one
    ///
    /// With --store, measures the store and tokio-postgres with prepared statements, which has
    /// up to 32 connections, in a PostgreSQL database without TLS. The tables are in a schema
    /// `wasi_sessions_bench_…`, which is created and, at the end, dropped; a bench that is
    /// interrupted leaves it behind.
    Bench(Plan),
    /// Load the store with many operations for minutes, and compare the answers with a model
    ///
    /// Threads and tasks ask at the same time, while the clock moves, expired sessions
    /// are collected, copies are made and restored, and the store is closed and opened
    /// again. A line is printed now and then. The soak fails at the first answer that is
    /// not as expected, and at its end if memory, database or WAL have grown
    /// meanwhile. It works in a temporary directory, made in --directory if that is given.
    Soak(soak::Plan),
    /// Serve a web component whose sessions the store keeps, by default a demo
    ///
    /// Prints the URL once it listens, and a line for each request on standard
    /// error. Ends on SIGINT or SIGTERM, after the requests in flight. Without
    /// --directory and --store the sessions are in a temporary directory, which is removed
    /// at the end.
    Serve(Site),
    /// Write the store's component to a file, for tools such as wac, jco and wkg
    ///
    /// The file appears under its name when it is complete and durable. An existing
    /// file is not replaced.
    Component {
        /// What the component keeps sessions in
        #[arg(long, value_enum, default_value_t)]
        engine: Engine,
        /// The file to write
        #[arg(long, short, value_name = "FILE")]
        output: PathBuf,
    },
    /// Print a script that completes this command line in a shell
    Completions {
        /// The shell for which the script is
        shell: Shell,
    },
    /// Print the manual page, in roff
    Man {
        /// The command whose page is printed [default: the program's]
        #[arg(value_parser = name_of_a_command)]
        command: Option<String>,
    },
}

/// Parses the name of a command that the help shows.
fn name_of_a_command(text: &str) -> Result<String, String> {
    let named = visible().find_subcommand(text).is_some();
    named
        .then(|| text.to_owned())
        .ok_or_else(|| "no command has this name".to_owned())
}

impl Arguments {
    /// The arguments of this process; exits with an error if they are invalid.
    pub fn parse_or_exit() -> Self {
        Self::read(env::args_os()).unwrap_or_else(|error| error.exit())
    }

    /// Parses the words of a command line, of which the first is the program.
    fn read<Word>(line: impl IntoIterator<Item = Word>) -> Result<Self, clap::Error>
    where
        Word: Into<OsString> + Clone,
    {
        let mut definition = definition();
        let matches = definition.try_get_matches_from_mut(line)?;
        let arguments =
            Self::from_arg_matches(&matches).map_err(|error| error.format(&mut definition))?;
        let name = matches.subcommand_name();
        match name.and_then(|name| definition.find_subcommand_mut(name)) {
            Some(command) => arguments.check(command)?,
            None if arguments.location.store.is_some() => {
                let reason = "the story is told in a directory; --store belongs to the commands";
                return Err(definition.error(ErrorKind::ArgumentConflict, reason));
            }
            None => {}
        }
        Ok(arguments)
    }

    /// Checks what clap cannot: which options a command needs or excludes.
    fn check(&self, command: &mut clap::Command) -> Result<(), clap::Error> {
        let mut refused = |kind, reason| Err(command.error(kind, reason));
        let on_a_database = matches!(self.command, Some(Task::Command(_)));
        let location = &self.location;
        if on_a_database && location.directory.is_none() && location.store.is_none() {
            refused(ErrorKind::MissingRequiredArgument, NEEDS_PLACE)
        } else if let Some(reason) = location.contradiction() {
            refused(ErrorKind::ArgumentConflict, reason)
        } else if location.store.is_some() && matches!(self.command, Some(Task::Soak(_))) {
            let reason = "--store belongs to `serve`, `bench` and the commands on a database";
            refused(ErrorKind::ArgumentConflict, reason)
        } else if let Some(Task::Bench(plan)) = &self.command
            && let Some(reason) = plan.contradiction(location.store.is_some())
        {
            refused(ErrorKind::ArgumentConflict, reason)
        } else if self.scale.sessions.or(self.scale.users).is_some() {
            let reason = "--sessions and --users belong to the story, which has no command";
            refused(ErrorKind::ArgumentConflict, reason)
        } else {
            Ok(())
        }
    }
}

/// The derived definition for clap, with two changes. The usage of each command on a database
/// has `--directory` or `--store`, because clap cannot require an option that may come before
/// *or* after a command. And options accept negative numbers, so that the option reports what
/// is wrong; otherwise clap would report an unknown option.
pub fn definition() -> clap::Command {
    let negative = |option: Arg| {
        let names = option.get_value_names().unwrap_or_default();
        // For clap, a time with a unit is not a number.
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
        let place = "<--directory <DIR>|--store <URL>> [OPTIONS]";
        let usage = usage.replacen("[OPTIONS]", place, 1);
        command.override_usage(usage.trim_start_matches("Usage: ").to_owned())
    })
}

/// The definition without its hidden commands, whose names shells would complete.
pub fn visible() -> clap::Command {
    let all = Arguments::command();
    let (arguments, commands) = (all.get_arguments(), all.get_subcommands());
    clap::Command::new(NAME)
        .args(arguments)
        .subcommands(commands.filter(|command| !command.is_hide_set()))
}
