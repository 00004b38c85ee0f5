//! Reads valid JSON from left to right, each byte once. Values are not parsed but
//! returned as their text.

use serde::Deserializer;
use serde::de::{IgnoredAny, Visitor};
use std::borrow::Cow;
use std::fmt;
use std::iter;

/// The deepest nesting that is accepted; deeper JSON counts as invalid.
const DEEPEST: usize = 128;

/// A position in a JSON text.
#[derive(Clone)]
pub struct Cursor<'a> {
    rest: &'a str,
}

impl<'a> Cursor<'a> {
    /// A cursor at the start of a text; `None` when the text is not JSON.
    pub fn over(text: &'a str) -> Option<Self> {
        // serde_json skips values without a limit on their depth.
        if depth(text) > DEEPEST {
            return None;
        }
        serde_json::from_str::<IgnoredAny>(text).ok()?;
        Some(Cursor { rest: text })
    }

    /// Whether an object comes next.
    pub fn is_at_object(&mut self) -> bool {
        self.peek() == Some(b'{')
    }

    /// The text of the next value.
    pub fn value(&mut self) -> &'a str {
        let length = match self.peek() {
            Some(b'"') => string_length(self.rest),
            Some(b'{' | b'[') => container_length(self.rest),
            _ => scalar_length(self.rest),
        };
        self.take(length)
    }

    /// Reads the object that comes next and returns its text. Calls `read` for each
    /// member with the name as it is written and with the cursor at the value,
    /// which `read` must consume.
    pub fn object(&mut self, mut read: impl FnMut(&mut Self, &'a str)) -> &'a str {
        self.peek();
        let start = self.rest;
        while matches!(self.peek(), Some(b'{' | b',')) {
            self.take(1);
            if self.peek() == Some(b'}') {
                break;
            }
            let name = self.value();
            self.peek();
            self.take(1);
            read(self, name);
        }
        self.take(1);
        &start[..start.len() - self.rest.len()]
    }

    /// A cursor at the value of the last member of this name, if an object with
    /// such a member comes next.
    pub fn member(mut self, name: &str) -> Option<Self> {
        let mut found = None;
        if self.is_at_object() {
            self.object(|cursor, written| {
                if *content(written) == *name.as_bytes() {
                    found = Some(cursor.clone());
                }
                cursor.value();
            });
        }
        found
    }

    /// The next byte that is not white space.
    fn peek(&mut self) -> Option<u8> {
        self.rest = self.rest.trim_start_matches(WHITE_SPACE);
        self.rest.bytes().next()
    }

    fn take(&mut self, length: usize) -> &'a str {
        #[cfg(test)]
        super::tests::TAKEN.set(super::tests::TAKEN.get() + length);
        let (taken, rest) = self.rest.split_at(length);
        self.rest = rest;
        taken
    }
}

const WHITE_SPACE: [char; 4] = [' ', '\t', '\n', '\r'];

/// The length of the string that `text` starts with, quotes included.
fn string_length(text: &str) -> usize {
    let mut bytes = text.bytes().enumerate().skip(1);
    while let Some((offset, byte)) = bytes.next() {
        match byte {
            b'"' => return offset + 1,
            b'\\' => drop(bytes.next()),
            _ => {}
        }
    }
    text.len()
}

/// The length of the number, `true`, `false` or `null` that `text` starts with.
fn scalar_length(text: &str) -> usize {
    let end = |c| matches!(c, ',' | ']' | '}') || WHITE_SPACE.contains(&c);
    text.find(end).unwrap_or(text.len())
}

/// The length of the array or object that `text` starts with.
fn container_length(text: &str) -> usize {
    let end = depths(text).find(|&(_, depth)| depth == 0);
    end.map_or(text.len(), |(offset, _)| offset + 1)
}

/// How deep arrays and objects are nested in `text`, if it is JSON.
fn depth(text: &str) -> usize {
    depths(text).map(|(_, depth)| depth).max().unwrap_or(0)
}

/// Each bracket outside of strings: its offset, and the depth after it.
fn depths(text: &str) -> impl Iterator<Item = (usize, usize)> {
    let mut bytes = text.bytes().enumerate();
    let (mut depth, mut in_string) = (0usize, false);
    iter::from_fn(move || {
        loop {
            let (offset, byte) = bytes.next()?;
            match byte {
                b'"' => in_string = !in_string,
                b'\\' if in_string => drop(bytes.next()),
                _ if in_string => {}
                b'{' | b'[' => {
                    depth += 1;
                    return Some((offset, depth));
                }
                b'}' | b']' => {
                    depth = depth.saturating_sub(1);
                    return Some((offset, depth));
                }
                _ => {}
            }
        }
    })
}

/// The content of a name with its escapes resolved, in WTF-8: UTF-8, and the
/// unpaired surrogates that JavaScript allows in strings. Names with different
/// content stay different.
pub fn content(written: &str) -> Cow<'_, [u8]> {
    struct Bytes;

    impl Visitor<'_> for Bytes {
        type Value = Vec<u8>;

        fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
            f.write_str("a string")
        }

        fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
            Ok(bytes.to_vec())
        }
    }

    let bytes = match written.contains('\\') {
        true => serde_json::Deserializer::from_str(written).deserialize_bytes(Bytes),
        false => return Cow::Borrowed(&written.as_bytes()[1..written.len() - 1]),
    };
    Cow::Owned(bytes.expect("the text is JSON"))
}
