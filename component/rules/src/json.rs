//! Payloads that are JSON: reading `cookie.maxAge`, and merge patches.
//!
//! Values that are only copied are never parsed into numbers or maps: they keep
//! their text.

mod cursor;
#[cfg(test)]
mod tests;

use cursor::{Cursor, content};
use indexmap::IndexMap;
use std::borrow::Cow;

/// The `cookie.maxAge` of a payload, in milliseconds and without its fraction;
/// `None` if the payload is not JSON or `maxAge` is not a number of 1 or more.
pub fn cookie_max_age(payload: &[u8]) -> Option<u64> {
    let document = Cursor::over(std::str::from_utf8(payload).ok()?)?;
    let max_age = document.member("cookie")?.member("maxAge")?.value();
    let whole = max_age.parse::<u64>().or_else(|_| {
        // `as` cuts the fraction off, saturates, and makes negatives 0.
        max_age.parse::<f64>().map(|number| number as u64)
    });
    whole.ok().filter(|&milliseconds| milliseconds > 0)
}

/// A merge patch (RFC 7396).
pub struct Patch<'a>(Value<'a>);

impl<'a> Patch<'a> {
    /// Parses a patch; `None` if the text is not JSON.
    pub fn parse(text: &'a str) -> Option<Patch<'a>> {
        let mut cursor = Cursor::over(text)?;
        Some(Patch(read(&mut cursor, Detail::All)))
    }

    /// The patched document; `None` if the document is not JSON. What the patch
    /// does not name keeps its text: the order of members, the digits of
    /// numbers, the escapes in strings.
    ///
    /// Reads each byte of the document once, whatever its nesting.
    pub fn apply(&self, document: &[u8]) -> Option<String> {
        let document = std::str::from_utf8(document).ok()?;
        let mut cursor = Cursor::over(document)?;
        let target = read(&mut cursor, Detail::Below(&self.0));
        // Every member of the result comes from one of the two texts.
        let mut merged = String::with_capacity(target.text.len() + self.0.text.len());
        write_merged(&mut merged, Some(&target), &self.0);
        merged.shrink_to_fit();
        Some(merged)
    }
}

/// A JSON value as it is written and, where a merge looks into it, its members.
struct Value<'a> {
    text: &'a str,
    members: Option<Box<Members<'a>>>,
}

/// The members of an object in their order, by the content of their names; if a
/// name is repeated, the last member counts.
type Members<'a> = IndexMap<Cow<'a, [u8]>, Member<'a>>;

/// A member, with its name as it is written in the text.
struct Member<'a> {
    name: &'a str,
    value: Value<'a>,
}

impl Value<'_> {
    fn is_null(&self) -> bool {
        self.text == "null"
    }
}

/// The objects in which a merge looks for members.
#[derive(Clone, Copy)]
enum Detail<'p> {
    All,
    /// The objects for which this part of a patch is an object, too.
    Below(&'p Value<'p>),
    None,
}

impl<'p> Detail<'p> {
    fn includes_this(self) -> bool {
        match self {
            Detail::All => true,
            Detail::Below(patch) => patch.members.is_some(),
            Detail::None => false,
        }
    }

    fn of_member(self, name: &[u8]) -> Detail<'p> {
        let Detail::Below(patch) = self else {
            return self;
        };
        let member = patch.members.as_ref().and_then(|members| members.get(name));
        member.map_or(Detail::None, |member| Detail::Below(&member.value))
    }
}

/// Reads the value at the cursor.
fn read<'a>(cursor: &mut Cursor<'a>, detail: Detail) -> Value<'a> {
    if !detail.includes_this() || !cursor.is_at_object() {
        let (text, members) = (cursor.value(), None);
        return Value { text, members };
    }
    let mut members = Members::new();
    let text = cursor.object(|cursor, name| {
        let content = content(name);
        let value = read(cursor, detail.of_member(&content));
        members.insert(content, Member { name, value });
    });
    let members = Some(Box::new(members));
    Value { text, members }
}

/// Writes the merged value; a target that is missing or not an object counts as an
/// empty object.
fn write_merged(out: &mut String, target: Option<&Value>, patch: &Value) {
    let Some(new_members) = &patch.members else {
        out.push_str(patch.text);
        return;
    };
    let old_members = target.and_then(|target| target.members.as_ref());
    out.push('{');
    for (name, old) in old_members.iter().flat_map(|members| members.iter()) {
        match new_members.get(name) {
            None => {
                write_name(out, old);
                out.push_str(old.value.text);
            }
            Some(new) if new.value.is_null() => {}
            Some(new) => {
                write_name(out, old);
                write_merged(out, Some(&old.value), &new.value);
            }
        }
    }
    for (name, new) in new_members.iter() {
        let is_old = old_members.is_some_and(|members| members.contains_key(name));
        if !is_old && !new.value.is_null() {
            write_name(out, new);
            write_merged(out, None, &new.value);
        }
    }
    out.push('}');
}

/// Starts the next member of the object that `out` ends in.
fn write_name(out: &mut String, member: &Member) {
    if !out.ends_with('{') {
        out.push(',');
    }
    out.push_str(member.name);
    out.push(':');
}
