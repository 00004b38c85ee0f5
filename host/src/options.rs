//! The store's options, and their JSON for the component.

use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::{Error, Key, PreviousKey, milliseconds};

/// The maximum length of the options' JSON, in bytes, as in the contract. Checked before
/// parsing, because a parsed tree takes many times the memory of its text.
const LONGEST: usize = 65_536;

/// The options of a store. The defaults are the contract's; a value out of
/// range makes `open` fail with [`Error::InvalidArgument`](crate::Error). Spans of time
/// are rounded up to whole milliseconds; the longest is 2^63 - 1 of them.
///
/// ```
/// use std::time::Duration;
/// use wasi_sessions::Options;
///
/// let options = Options {
///     absolute_lifetime: Some(Duration::from_secs(30 * 24 * 60 * 60)),
///     max_per_subject: Some(10),
///     ..Options::default()
/// };
/// # assert!(options.sync);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Options {
    /// Table that holds the sessions: 1 to 63 ASCII letters, digits and
    /// underscores, no digit first, not `sqlite_…`. Default `Sessions`.
    pub table_name: String,
    /// Name of this store in errors and statistics, 1 to 255 bytes. Default
    /// `Session`.
    pub model_name: String,
    /// Create or migrate the table. If false, a table that is missing or of another version
    /// is an error. Default true.
    pub sync: bool,
    /// How long to wait for a database that another owner has locked: up to an hour,
    /// default 3 seconds. This crate waits so long, when a store is opened or restored, for an
    /// instance with `shared` access. It never waits for another owner that uses this
    /// crate: the lock on the directory refuses the second one at once.
    ///
    /// On a server it bounds each request twice: a request waits at most this long for a
    /// connection, and after that is answered [`Error::Busy`](crate::Error::Busy), without
    /// anything done; and then it takes at most this long, including connecting.
    #[serde(serialize_with = "milliseconds::serialize")]
    pub sync_timeout: Duration,
    /// Requests after which a collection starts; 0 for never. Default 10,000.
    /// Unless it is 0, a store that is idle for some seconds collects, too.
    pub gc_frequency: u64,
    /// Rows that one request may remove during a collection: 1 to 1,000,000, default 100.
    pub gc_step: u64,
    /// The life of a session for which neither a `ttl` nor `cookie.maxAge` is given: at
    /// least a millisecond, default a day.
    #[serde(serialize_with = "milliseconds::serialize")]
    pub browser_session_lifetime: Duration,
    /// The longest life of any session, however often renewed: at least a millisecond.
    /// Default `None`.
    #[serde(serialize_with = "milliseconds::serialize_option")]
    pub absolute_lifetime: Option<Duration>,
    /// A touch that would move the expiry later by less than this writes nothing.
    /// Default a second.
    #[serde(serialize_with = "milliseconds::serialize")]
    pub renewal_step: Duration,
    /// How long late writes to an ended id are refused. Default a minute.
    #[serde(serialize_with = "milliseconds::serialize")]
    pub tombstone: Duration,
    /// Longest payload, in bytes: 1 to 536,870,912, default 1,048,576. See
    /// [`Builder::memory_limit`](crate::Builder::memory_limit) for large ones.
    pub max_data: u64,
    /// Sessions that one subject may have: 1 to 1,000,000. Above that, the sessions that
    /// were created first are ended. Default `None`.
    pub max_per_subject: Option<u64>,
    /// Which writes survive a power failure. Default [`Durability::Full`].
    pub durability: Durability,
    /// Encrypts payloads and subjects in the database. In memory, including the read cache,
    /// they are not encrypted. A wrong or missing key makes `open` fail with
    /// [`Error::InvalidArgument`](crate::Error), which names the option. Default `None`.
    pub key: Option<Key>,
    /// How sessions are encrypted that [`key`](Self::key) has not encrypted yet. Leave it
    /// out once [`collect`](crate::Sessions::collect) has answered that there is no more.
    /// Default `None`: all sessions are encrypted with `key`. If that is so, another value
    /// is ignored.
    pub previous_key: Option<PreviousKey>,
}

/// Which writes survive a power failure. A killed process loses nothing with either.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Durability {
    /// Every answered write.
    Full,
    /// The database stays consistent, but the last writes may be lost.
    Relaxed,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            table_name: "Sessions".to_owned(),
            model_name: "Session".to_owned(),
            sync: true,
            sync_timeout: Duration::from_secs(3),
            gc_frequency: 10_000,
            gc_step: 100,
            browser_session_lifetime: Duration::from_secs(24 * 60 * 60),
            absolute_lifetime: None,
            renewal_step: Duration::from_secs(1),
            tombstone: Duration::from_secs(60),
            max_data: 1_048_576,
            max_per_subject: None,
            durability: Durability::Full,
            key: None,
            previous_key: None,
        }
    }
}

impl Options {
    /// The options as the contract's JSON, for a host that holds the lock which
    /// `"exclusive"` access asks for.
    pub(crate) fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(&self.exclusive())
    }

    /// The options as the contract's JSON, for a database on a server. It has no key, and
    /// others may write to it.
    pub(crate) fn to_server_json(&self, tls_roots: Option<&str>) -> Result<String, Error> {
        if self.key.is_some() || self.previous_key.is_some() {
            return Err(Error::InvalidArgument(
                "options: `key` and `previousKey` are for a store in a directory".to_owned(),
            ));
        }
        let mut options = self.of_server()?;
        if let Some(roots) = tls_roots {
            options.insert("tlsRoots".to_owned(), roots.into());
        }
        Ok(Value::Object(options).to_string())
    }

    fn of_server(&self) -> Result<Map<String, Value>, Error> {
        let options = serde_json::to_value(self);
        let Ok(Value::Object(mut options)) = options else {
            return Err(Error::Other("the options are no JSON object".to_owned()));
        };
        options.retain(|name, _| !is_secret(name));
        Ok(options)
    }

    /// Checks the options with which a guest opens a store that is open already in a
    /// directory. `given` is the contract's JSON; each option in it must equal the store's.
    pub(crate) fn check(&self, given: &str) -> Result<(), Error> {
        let ours = serde_json::to_value(self.exclusive());
        let ours = ours.map_err(|error| Error::Other(error.to_string()))?;
        check(given, &ours)
    }

    /// Does the same for a store in a database on a server.
    pub(crate) fn check_of_server(&self, given: &str) -> Result<(), Error> {
        check(given, &Value::Object(self.of_server()?))
    }

    fn exclusive(&self) -> Exclusive<'_> {
        Exclusive {
            access: "exclusive",
            options: self,
        }
    }
}

/// Checks that the options `given` are empty or a JSON object, each equal to that in `ours`.
fn check(given: &str, ours: &Value) -> Result<(), Error> {
    let refused = |reason| Err(Error::InvalidArgument(format!("options: {reason}")));
    if given.is_empty() {
        return Ok(());
    }
    if given.len() > LONGEST {
        return refused(format!("longer than {LONGEST} bytes"));
    }
    let Ok(Value::Object(given)) = serde_json::from_str(given) else {
        return refused("not a JSON object".to_owned());
    };
    for (name, value) in given {
        match ours.get(&name) {
            None => return refused(format!("unknown name `{name:.255}`")),
            // Refused even if equal, so that a guest cannot test a guess.
            Some(own) if is_secret(&name) && !(own.is_null() && value.is_null()) => {
                return refused(format!("`{name}` is the host's; leave it out"));
            }
            Some(own) if *own == value => {}
            Some(own) => {
                return refused(format!(
                    "`{name}` is {own} in the store that the host opened; leave it out"
                ));
            }
        }
    }
    Ok(())
}

/// Whether the option of this name holds a key.
fn is_secret(name: &str) -> bool {
    matches!(name, "key" | "previousKey")
}

/// All of the contract's options, with `access`.
#[derive(Serialize)]
struct Exclusive<'a> {
    access: &'static str,
    #[serde(flatten)]
    options: &'a Options,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Map, json};

    const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";

    /// The table of options in the contract: names with their defaults, `null`
    /// where there is none.
    fn contract() -> Map<String, Value> {
        include_str!("../wit/sessions.wit")
            .lines()
            .filter_map(|line| line.trim().strip_prefix("/// | `"))
            .map(|row| {
                let (name, rest) = row.split_once("` | ").unwrap();
                let (default, _) = rest.split_once(" | ").unwrap();
                let default = match default.trim_matches('`') {
                    "none" => Value::Null,
                    json => serde_json::from_str(json).unwrap(),
                };
                (name.to_owned(), default)
            })
            .collect()
    }

    fn parsed(options: &Options) -> Map<String, Value> {
        serde_json::from_str(&options.to_json().unwrap()).unwrap()
    }

    #[test]
    fn names_and_defaults_are_those_of_the_contract() {
        let mut ours = parsed(&Options::default());
        assert_eq!(
            ours.insert("access".into(), "shared".into()),
            Some("exclusive".into())
        );
        assert_eq!(ours, contract());
    }

    #[test]
    fn options_that_are_given_reach_the_component() {
        let json = parsed(&Options {
            absolute_lifetime: Some(Duration::MAX),
            tombstone: Duration::from_micros(1_001),
            max_per_subject: Some(2),
            durability: Durability::Relaxed,
            key: Key::from_base64(KEY),
            previous_key: Some(PreviousKey::None),
            ..Options::default()
        });
        assert_eq!(json["absoluteLifetime"], u64::MAX);
        assert_eq!(json["tombstone"], 2);
        assert_eq!(json["maxPerSubject"], 2);
        assert_eq!(json["durability"], "relaxed");
        assert_eq!(json["key"], KEY);
        assert_eq!(json["previousKey"], "none");
    }

    #[test]
    fn a_key_is_shown_neither_by_debug_nor_to_a_guest() {
        let options = Options {
            key: Key::from_base64(KEY),
            previous_key: Key::from_base64(KEY).map(PreviousKey::Key),
            ..Options::default()
        };
        assert!(!format!("{options:?}").contains(&KEY[..8]));
        for name in ["key", "previousKey"] {
            for given in [json!(KEY), json!("none"), json!(null), json!(7)] {
                let refused = options.check(&json!({ name: given }).to_string());
                let words = refused.unwrap_err().to_string();
                assert!(
                    words.contains(name) && !words.contains(&KEY[..8]),
                    "{words}"
                );
            }
        }
    }

    #[test]
    fn a_guest_may_give_options_that_equal_the_stores() {
        let options = Options::default();
        for given in ["", "{}", r#"{"gcStep":100,"absoluteLifetime":null}"#] {
            assert_eq!(options.check(given), Ok(()), "{given}");
        }
        assert_eq!(options.check(&options.to_json().unwrap()), Ok(()));
    }

    #[test]
    fn a_guests_option_that_differs_is_refused_by_name() {
        let options = Options::default();
        let refusal = |given: &str| match options.check(given) {
            Err(Error::InvalidArgument(words)) => words,
            other => panic!("{given}: {other:?}"),
        };
        for (name, value) in contract() {
            let other = if value == json!(7) {
                json!(8)
            } else {
                json!(7)
            };
            let words = refusal(&json!({ &name: other }).to_string());
            assert!(words.contains(&format!("`{name}` is ")), "{words}");
        }
        assert!(refusal(r#"{"gcstep":100}"#).contains("unknown name `gcstep`"));
        for given in [" ", "[]", "null", "{", r#"{"gcStep":100}x"#] {
            assert_eq!(refusal(given), "options: not a JSON object", "{given}");
        }
    }

    #[test]
    fn a_guest_is_refused_long_options_before_they_are_parsed() {
        let options = Options::default();
        let fits = format!("{{{}}}", " ".repeat(LONGEST - 2));
        assert_eq!(options.check(&fits), Ok(()));
        let zeroes = format!("[{}0]", "0,".repeat(1 << 20));
        for long in [format!("{fits} "), zeroes, "x".repeat(LONGEST + 1)] {
            let words = "options: longer than 65536 bytes".to_owned();
            assert_eq!(options.check(&long), Err(Error::InvalidArgument(words)));
        }
        let name = "x".repeat(60_000);
        let refused = options.check(&format!(r#"{{"{name}":1}}"#)).unwrap_err();
        assert!(refused.to_string().len() < 400);
    }
}
