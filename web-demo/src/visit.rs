//! What the site keeps in a session: the payload, as JSON.

#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};

use crate::secrets;

/// What is known of a visitor.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
pub struct Visit {
    /// How often the start page was shown.
    pub visits: u64,
    /// The secret that every form of this session carries (against CSRF).
    pub token: String,
    /// The browser that logged in, for people.
    #[serde(default)]
    pub browser: String,
    /// When it did, in milliseconds since the epoch.
    #[serde(default)]
    pub since: u64,
    /// The operator's token was shown.
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

    /// What a payload holds; none when this site did not write it.
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
    fn a_visit_comes_back_as_it_was_kept() {
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
