//! The payload of a session, as JSON.

#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};

use crate::secrets;

/// The payload: what the site stores about a visitor.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
pub struct Visit {
    /// How often the start page was shown.
    pub visits: u64,
    /// The secret in every form of this session (against CSRF).
    pub token: String,
    /// A readable name of the browser that logged in.
    #[serde(default)]
    pub browser: String,
    /// The time of the log-in, in milliseconds since the epoch.
    #[serde(default)]
    pub since: u64,
    /// Whether the operator's token was accepted.
    #[serde(default)]
    pub operator: bool,
}

impl Visit {
    /// A visitor who has seen the start page this often.
    pub fn new(visits: u64) -> Self {
        Self {
            visits,
            token: secrets::token(),
            browser: String::new(),
            since: 0,
            operator: false,
        }
    }

    /// Parses a payload; `None` when this site did not write it.
    pub fn parse(data: &[u8]) -> Option<Self> {
        serde_json::from_slice(data).ok()
    }

    /// The payload.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("text and numbers are JSON")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_visit_is_read_as_it_was_written() {
        let visit = Visit {
            browser: "Firefox on Linux".to_owned(),
            since: 1,
            ..Visit::new(7)
        };
        assert_eq!(Visit::parse(&visit.to_json()), Some(visit));
    }

    #[test]
    fn a_foreign_payload_is_none() {
        for data in ["", "{}", "[]", r#"{"visits":-1,"token":"t"}"#] {
            assert_eq!(Visit::parse(data.as_bytes()), None, "{data}");
        }
    }
}
