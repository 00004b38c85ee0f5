//! The command line: demonstrates the store in a story, measures it, serves a web component
//! with it, or works on a database in a directory or on a server.

#![forbid(unsafe_code)]

mod arguments;
mod bench;
mod caller;
mod commands;
mod database;
mod ending;
mod location;
mod memory;
mod output;
mod random;
mod secrets;
mod serve;
mod server;
mod shipped;
mod soak;
mod story;

use std::process::ExitCode;

use arguments::{Arguments, Task};
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
        Some(Task::Bench(plan)) => bench::run(&plan, &arguments.location, &mut output)?,
        Some(Task::Soak(plan)) => soak::run(&plan, &arguments.location, &mut output)?,
        Some(Task::Serve(site)) => serve::run(site, &arguments.location, &mut output)?,
        Some(Task::Component {
            engine,
            output: file,
        }) => shipped::component(engine, &file, &mut output)?,
        Some(Task::Completions { shell }) => {
            shipped::completions(shell, arguments::visible(), &mut output)?;
        }
        Some(Task::Man { command }) => {
            shipped::manual(command.as_deref(), arguments::definition(), &mut output)?;
        }
        Some(Task::Command(command)) => {
            commands::run(command, &arguments.location.place()?, &mut output)?;
        }
    }
    Ok(output.flush()?)
}
