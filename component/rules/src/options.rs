//! The options of a store: their names, defaults and ranges.

use crate::error::Error;
use crate::key::{Key, PreviousKey};
use crate::types::{END_OF_TIME, Milliseconds};
use serde_json::Value;
use std::ops::RangeInclusive;

/// The longest JSON of options, in bytes. The length is checked before anything is
/// parsed, since a parsed tree takes many times the memory of its text.
const LONGEST_OPTIONS: usize = 65_536;

/// The same for an engine with `tlsRoots`: the root certificates of a whole system have 300 kB.
const LONGEST_WITH_ROOTS: usize = 1_048_576;

/// The options as `open` of `wit/sessions.wit` documents them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// `tableName`: the table that holds the sessions; an identifier.
    pub table_name: String,
    /// `modelName`: the name of this store in errors and statistics.
    pub model_name: String,
    /// `sync`: create or migrate the table.
    pub sync: bool,
    /// `syncTimeout`: how long to wait for the lock of a shared database.
    pub sync_timeout: Milliseconds,
    /// `gcFrequency`: requests after which a collection starts; 0 for never.
    pub gc_frequency: u64,
    /// `gcStep`: rows that one request may remove during a collection.
    pub gc_step: u64,
    /// `browserSessionLifetime`: the life of a session without `ttl` or `maxAge`.
    pub browser_session_lifetime: Milliseconds,
    /// `absoluteLifetime`: the longest life from creation on.
    pub absolute_lifetime: Option<Milliseconds>,
    /// `renewalStep`: a touch that gains less than this writes nothing.
    pub renewal_step: Milliseconds,
    /// `tombstone`: for how long late writes to an ended session are refused.
    pub tombstone: Milliseconds,
    /// `maxData`: the longest payload, in bytes.
    pub max_data: u64,
    /// `maxPerSubject`: the most sessions of one subject.
    pub max_per_subject: Option<u64>,
    /// `access`: whether other instances may use the database.
    pub access: Access,
    /// `durability`: what survives a loss of power.
    pub durability: Durability,
    /// `tlsRoots`: root certificates in PEM by which the server's certificate is
    /// verified; `None` for the public ones.
    pub tls_roots: Option<String>,
    /// `key`: seals payloads and subjects; `None` if they are not sealed.
    pub key: Option<Key>,
    /// `previousKey`: what sealed the rows that are not yet sealed with `key`; `None` if
    /// there are no such rows.
    pub previous_key: Option<PreviousKey>,
}

/// Who may use the database while this store has it open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Other instances, too: each locks the database for one transaction.
    Shared,
    /// Only this store: the host holds a lock that guarantees it.
    Exclusive,
}

/// What survives a loss of power.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Every answered write: commits wait for the disk.
    Full,
    /// A consistent database, perhaps without the last writes.
    Relaxed,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            table_name: "Sessions".into(),
            model_name: "Session".into(),
            sync: true,
            sync_timeout: 3000,
            gc_frequency: 10_000,
            gc_step: 100,
            browser_session_lifetime: 86_400_000,
            absolute_lifetime: None,
            renewal_step: 1000,
            tombstone: 60_000,
            max_data: 1_048_576,
            max_per_subject: None,
            access: Access::Shared,
            durability: Durability::Full,
            tls_roots: None,
            key: None,
            previous_key: None,
        }
    }
}

impl Options {
    /// Reads a JSON object; empty text means the defaults. Fails on an unknown name, on
    /// a name in `missing`, the options that the engine does not have, and on a value
    /// out of range. The error names the option.
    pub fn parse(text: &str, missing: &[&str]) -> Result<Options, Error> {
        let mut options = Options::default();
        if text.is_empty() {
            return Ok(options);
        }
        let longest = match missing.contains(&"tlsRoots") {
            true => LONGEST_OPTIONS,
            false => LONGEST_WITH_ROOTS,
        };
        if text.len() > longest {
            return Err(Error::invalid(format!(
                "options: longer than {longest} bytes"
            )));
        }
        let Ok(Value::Object(given)) = serde_json::from_str(text) else {
            return Err(Error::invalid("options: not a JSON object"));
        };
        for (name, value) in given {
            if missing.contains(&&*name) {
                return Err(Error::invalid(format!(
                    "options: this engine has no `{name}`"
                )));
            }
            options.take(&name, &value)?;
        }
        Ok(options)
    }

    fn take(&mut self, name: &str, value: &Value) -> Result<(), Error> {
        match name {
            "tableName" => self.table_name = table_name(value)?,
            "modelName" => self.model_name = model_name(value)?,
            "sync" => self.sync = boolean(name, value)?,
            "syncTimeout" => self.sync_timeout = number(name, value, 0..=3_600_000)?,
            "gcFrequency" => self.gc_frequency = number(name, value, 0..=END_OF_TIME)?,
            "gcStep" => self.gc_step = number(name, value, 1..=1_000_000)?,
            "browserSessionLifetime" => {
                self.browser_session_lifetime = number(name, value, 1..=END_OF_TIME)?;
            }
            "absoluteLifetime" => {
                self.absolute_lifetime = number_or_none(name, value, 1..=END_OF_TIME)?;
            }
            "renewalStep" => self.renewal_step = number(name, value, 0..=END_OF_TIME)?,
            "tombstone" => self.tombstone = number(name, value, 0..=END_OF_TIME)?,
            "maxData" => self.max_data = number(name, value, 1..=536_870_912)?,
            "maxPerSubject" => {
                self.max_per_subject = number_or_none(name, value, 1..=1_000_000)?;
            }
            "access" => {
                self.access = one_of(
                    name,
                    value,
                    [("shared", Access::Shared), ("exclusive", Access::Exclusive)],
                )?;
            }
            "durability" => {
                self.durability = one_of(
                    name,
                    value,
                    [("full", Durability::Full), ("relaxed", Durability::Relaxed)],
                )?;
            }
            "tlsRoots" => self.tls_roots = text_or_none(name, value)?,
            "key" => self.key = key(name, value)?,
            "previousKey" => {
                self.previous_key = match value.as_str() {
                    Some("none") => Some(PreviousKey::None),
                    _ => key(name, value)?.map(PreviousKey::Key),
                };
            }
            _ => {
                return Err(Error::invalid(format!(
                    "options: unknown name `{name:.255}`"
                )));
            }
        }
        Ok(())
    }
}

/// Checks a table name, the only text of a caller that becomes part of SQL: an ASCII
/// letter or underscore, then letters, digits and underscores, at most 63 in all, and
/// not one of the names that SQLite reserves.
fn table_name(value: &Value) -> Result<String, Error> {
    let name = value.as_str().unwrap_or_default();
    let is_identifier = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_')
        && name.len() <= 63;
    if !is_identifier || name.to_ascii_lowercase().starts_with("sqlite_") {
        return Err(Error::invalid(
            "options: `tableName` must be 1 to 63 ASCII letters, digits and underscores, \
             not start with a digit, and not start with `sqlite_`",
        ));
    }
    Ok(name.into())
}

fn model_name(value: &Value) -> Result<String, Error> {
    match value.as_str() {
        Some(name) if (1..=255).contains(&name.len()) => Ok(name.into()),
        _ => Err(Error::invalid(
            "options: `modelName` must be text of 1 to 255 bytes",
        )),
    }
}

/// A key in base64. No error repeats the text.
fn key(name: &str, value: &Value) -> Result<Option<Key>, Error> {
    match value.as_str().and_then(Key::from_base64) {
        Some(key) => Ok(Some(key)),
        None if value.is_null() => Ok(None),
        None => Err(Error::invalid(format!(
            "options: `{name}` must be 32 bytes in base64"
        ))),
    }
}

fn boolean(name: &str, value: &Value) -> Result<bool, Error> {
    value
        .as_bool()
        .ok_or_else(|| Error::invalid(format!("options: `{name}` must be true or false")))
}

fn number(name: &str, value: &Value, range: RangeInclusive<u64>) -> Result<u64, Error> {
    match value.as_u64() {
        Some(number) if range.contains(&number) => Ok(number),
        _ => Err(Error::invalid(format!(
            "options: `{name}` must be a whole number from {} to {}",
            range.start(),
            range.end()
        ))),
    }
}

fn number_or_none(
    name: &str,
    value: &Value,
    range: RangeInclusive<u64>,
) -> Result<Option<u64>, Error> {
    if value.is_null() {
        return Ok(None);
    }
    number(name, value, range).map(Some)
}

fn text_or_none(name: &str, value: &Value) -> Result<Option<String>, Error> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text.clone())),
        _ => Err(Error::invalid(format!("options: `{name}` must be text"))),
    }
}

fn one_of<T: Copy>(name: &str, value: &Value, choices: [(&str, T); 2]) -> Result<T, Error> {
    choices
        .iter()
        .find(|(choice, _)| value == choice)
        .map(|&(_, meaning)| meaning)
        .ok_or_else(|| {
            let [(first, _), (second, _)] = choices;
            Error::invalid(format!(
                "options: `{name}` must be \"{first}\" or \"{second}\""
            ))
        })
}

#[cfg(test)]
mod tests;
