//! Reads ids, tokens and keys from files, standard input and the environment, because every
//! user of the machine can read command lines.

use std::env::{self, VarError};
use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};

use wasi_sessions::{Key, PreviousKey};

use crate::database::Database;
use crate::ending;

/// The environment variable with the operator's token.
const TOKEN: &str = "WASI_SESSIONS_OPERATOR_TOKEN";

/// The environment variables with the key of the database and with the previous key.
const KEY: &str = "WASI_SESSIONS_KEY";
const PREVIOUS_KEY: &str = "WASI_SESSIONS_PREVIOUS_KEY";

/// The longest line that is read, in bytes.
const LONGEST: u64 = 64 * 1024;

/// The id in an argument; for `-` the first line of standard input.
pub fn id(argument: String) -> anyhow::Result<String> {
    if argument != "-" {
        return Ok(argument);
    }
    standard_input("id")
}

/// The operator's token: from the argument, from the file's first line, or else from the
/// environment; `None` if none of them has it.
pub fn operator_token(
    argument: Option<&str>,
    file: Option<&Path>,
) -> anyhow::Result<Option<String>> {
    match argument {
        Some(token) => Ok(Some(token.to_owned())),
        None => from_file_or_environment(file, TOKEN, "token"),
    }
}

/// The key of the database: from the file's first line, or else from the environment.
pub fn key(file: Option<&Path>) -> anyhow::Result<Option<Key>> {
    let text = from_file_or_environment(file, KEY, "key")?;
    text.map(|text| parse_key(&text)).transpose()
}

/// The previous key, read like [`key`]; `none` means that there was no key.
pub fn previous_key(file: Option<&Path>) -> anyhow::Result<Option<PreviousKey>> {
    let text = from_file_or_environment(file, PREVIOUS_KEY, "previous key")?;
    let parse = |text: String| match &*text {
        "none" => Ok(PreviousKey::None),
        text => parse_key(text).map(PreviousKey::Key),
    };
    text.map(parse).transpose()
}

/// Gives a process the keys of its database in the environment, and no others.
pub fn give_keys(process: &mut Command, database: &Database) -> anyhow::Result<()> {
    let key = serde_json::to_value(&database.key)?;
    let previous_key = serde_json::to_value(&database.previous_key)?;
    for (variable, key) in [(KEY, key), (PREVIOUS_KEY, previous_key)] {
        match key.as_str() {
            Some(key) => process.env(variable, key),
            None => process.env_remove(variable),
        };
    }
    Ok(())
}

fn parse_key(text: &str) -> anyhow::Result<Key> {
    Key::from_base64(text).context("a key must be 32 bytes in base64")
}

/// A secret from the file's first line, or else from the environment variable.
fn from_file_or_environment(
    file: Option<&Path>,
    variable: &str,
    what: &str,
) -> anyhow::Result<Option<String>> {
    match file {
        Some(file) if file == Path::new("-") => standard_input(what).map(Some),
        Some(file) => {
            let name = format!("file `{}`", file.display());
            let content = File::open(file).with_context(|| format!("{name} cannot be read"))?;
            first_line(BufReader::new(content), what, &name).map(Some)
        }
        None => match env::var(variable) {
            Ok(secret) if secret.is_empty() => bail!("{variable} is empty"),
            Ok(secret) => Ok(Some(secret)),
            Err(VarError::NotPresent) => Ok(None),
            Err(VarError::NotUnicode(_)) => bail!("{variable} is not UTF-8"),
        },
    }
}

fn standard_input(what: &str) -> anyhow::Result<String> {
    let input = io::stdin();
    if input.is_terminal() {
        ending::say(format_args!("reading the {what} from standard input"));
    }
    first_line(input.lock(), what, "standard input")
}

/// Reads the first line and returns it without its line break; the rest is not consumed. No
/// error shows the content of the line.
fn first_line(input: impl BufRead, what: &str, name: &str) -> anyhow::Result<String> {
    let mut line = Vec::new();
    input
        .take(LONGEST)
        .read_until(b'\n', &mut line)
        .with_context(|| format!("{name} cannot be read"))?;
    if line.len() as u64 == LONGEST {
        bail!("the first line of {name} is too long");
    }
    let line = line.strip_suffix(b"\n").unwrap_or(&line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    match String::from_utf8(line.to_vec()) {
        Ok(line) if line.is_empty() => bail!("the first line of {name} holds no {what}"),
        Ok(line) => Ok(line),
        Err(_) => bail!("the first line of {name} is not UTF-8"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_without_its_break_and_the_rest_is_left() {
        for (content, line, rest) in [
            ("secret", "secret", ""),
            ("secret\n", "secret", ""),
            ("secret\r\n", "secret", ""),
            (" a b \nrest\n", " a b ", "rest\n"),
            ("-\n", "-", ""),
        ] {
            let mut input = content.as_bytes();
            let found = first_line(&mut input, "id", "the test").unwrap();
            assert_eq!((&*found, input), (line, rest.as_bytes()), "{content:?}");
        }
    }

    #[test]
    fn a_line_that_is_not_text_is_refused_without_showing_it() {
        let long = [b'x'; LONGEST as usize];
        for content in [&b""[..], b"\n", b"\r\n", b"\nx", b"S3CR3T\xff\n", &long] {
            let error = first_line(content, "token", "the test").unwrap_err();
            assert!(!format!("{error:#}").contains("S3CR3T"));
        }
    }
}
