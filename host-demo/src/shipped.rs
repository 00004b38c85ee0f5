//! Files that the program contains for other tools: the store's components, shell completions
//! and manual pages.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context, bail};
use clap::{Command, ValueEnum};
use clap_complete::Shell;
use clap_mangen::Man;
use serde_json::json;
use wasi_sessions::{COMPONENT, Database};

use crate::output::{Output, count};

/// What a component keeps sessions in.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub enum Engine {
    /// A file of SQLite
    #[default]
    Sqlite,
    /// A database of PostgreSQL
    Postgres,
    /// A database of MariaDB or MySQL
    Mariadb,
}

impl Engine {
    /// The component; fails if this program was built without it.
    fn component(self) -> Result<&'static [u8], wasi_sessions::Error> {
        match self {
            Engine::Sqlite => Ok(COMPONENT),
            Engine::Postgres => Database::new("postgres://").component(),
            Engine::Mariadb => Database::new("mariadb://").component(),
        }
    }
}

/// Writes the component over an engine to a new file, which appears under its name when it is
/// complete and durable, or not at all.
pub fn component(engine: Engine, file: &Path, output: &mut Output) -> anyhow::Result<()> {
    let component = engine.component()?;
    write_new(file, component)
        .with_context(|| format!("`{}` cannot be written", file.display()))?;
    let (name, size) = (file.display().to_string(), component.len() as u64);
    let human = format!("written to {name}, {}", count(size, "byte"));
    Ok(output.result(json!({ "file": name, "size": size }), human)?)
}

fn write_new(file: &Path, content: &[u8]) -> anyhow::Result<()> {
    if fs::symlink_metadata(file).is_ok() {
        bail!("it already exists and is not replaced");
    }
    let folder = match file.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let mut unfinished = temporary(folder)?;
    unfinished.write_all(content)?;
    unfinished.as_file().sync_all()?;
    unfinished.persist_noclobber(file)?;
    // Only this makes the file's name durable.
    #[cfg(unix)]
    fs::File::open(folder)?.sync_all()?;
    Ok(())
}

/// A temporary file with the usual permissions of a new file.
fn temporary(folder: &Path) -> io::Result<tempfile::NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".wasi-sessions.component.");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    builder.tempfile_in(folder)
}

/// Prints the script that completes this command line in a shell.
pub fn completions(shell: Shell, mut definition: Command, output: &mut Output) -> io::Result<()> {
    // Generated in memory, because the generator panics if it cannot write.
    let mut script = Vec::new();
    let program = definition.get_name().to_owned();
    clap_complete::generate(shell, &mut definition, program, &mut script);
    output.raw(&script)
}

/// Prints the manual page of the program, or of one of its commands.
pub fn manual(
    command: Option<&str>,
    mut definition: Command,
    output: &mut Output,
) -> anyhow::Result<()> {
    let page = match command {
        None => definition,
        Some(name) => definition
            .find_subcommand_mut(name)
            .context("no command has this name")?
            .clone(),
    };
    let mut text = Vec::new();
    let program = concat!("wasi-sessions ", env!("CARGO_PKG_VERSION"));
    Man::new(page).source(program).render(&mut text)?;
    Ok(output.raw(&text)?)
}
