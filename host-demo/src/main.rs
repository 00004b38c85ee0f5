//! The command line: tells the store's story, or works on a database in a directory.

mod arguments;
mod commands;
mod database;
mod ending;
mod output;
mod story;

use std::process::ExitCode;

use arguments::Arguments;
use output::Output;

fn main() -> ExitCode {
    match run(Arguments::parse_or_exit()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => ending::report(&error),
    }
}

fn run(arguments: Arguments) -> anyhow::Result<()> {
    let mut output = Output::new(arguments.json);
    match arguments.command {
        None => story::tell(&arguments.location, &arguments.scale, &mut output)?,
        Some(command) => commands::run(command, &arguments.location.database()?, &mut output)?,
    }
    Ok(output.flush()?)
}
