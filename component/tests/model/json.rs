//! The JSON functions that the rules need, implemented by parsing all of the text.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A JSON document. Objects keep the order of their members.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Json {
    Object(IndexMap<String, Json>),
    Other(Value),
}

pub fn parse(text: &[u8]) -> Option<Json> {
    serde_json::from_slice(text).ok()
}

pub fn print(document: &Json) -> Vec<u8> {
    serde_json::to_vec(document).unwrap()
}

/// The algorithm as stated in RFC 7396.
pub fn merge(target: Option<Json>, patch: &Json) -> Json {
    let Json::Object(patch) = patch else {
        return patch.clone();
    };
    let mut result = match target {
        Some(Json::Object(members)) => members,
        _ => IndexMap::new(),
    };
    for (name, value) in patch {
        if *value == Json::Other(Value::Null) {
            result.shift_remove(name);
        } else {
            let merged = merge(result.get(name).cloned(), value);
            result.insert(name.clone(), merged);
        }
    }
    Json::Object(result)
}

/// The `cookie.maxAge` of a payload, if that is a number of 1 or more.
pub fn max_age(payload: &[u8]) -> Option<u64> {
    let payload: Value = serde_json::from_slice(payload).ok()?;
    let number = payload.get("cookie")?.get("maxAge")?.as_f64()?;
    (number >= 1.0).then_some(number as u64)
}
