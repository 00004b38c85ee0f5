//! What a form sends, and whether this site's own page sent it.

use http::header::{CONTENT_TYPE, HOST, ORIGIN};
use http::{HeaderMap, Uri};

/// The longest body of a form, in bytes.
pub const LONGEST_FORM: usize = 8 * 1024;

/// The longest name that somebody may log in with, in characters.
pub const LONGEST_NAME: usize = 64;

/// The fields of a form that was sent.
#[derive(Debug)]
pub struct Form(Vec<(String, String)>);

impl Form {
    /// The fields in `body`; what is no UTF-8 is replaced.
    pub fn parse(body: &[u8]) -> Self {
        Self(form_urlencoded::parse(body).into_owned().collect())
    }

    /// The first field of that name; empty when there is none.
    pub fn field(&self, name: &str) -> &str {
        let mut fields = self.0.iter();
        let field = fields.find(|(key, _)| key == name);
        field.map_or("", |(_, value)| value)
    }
}

/// Whether the body is a form, as browsers send one without files.
pub fn is_form(headers: &HeaderMap) -> bool {
    let kind = headers
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok());
    let kind = kind.and_then(|kind| kind.split(';').next());
    kind.is_some_and(|kind| {
        kind.trim()
            .eq_ignore_ascii_case("application/x-www-form-urlencoded")
    })
}

/// Whether the browser says that a page of another site sent this. One that says
/// nothing may have come from anywhere, which is what the forms' tokens are for.
pub fn is_foreign(uri: &Uri, headers: &HeaderMap) -> bool {
    if let Some(site) = headers.get("sec-fetch-site") {
        return site != "same-origin" && site != "none";
    }
    let Some(origin) = headers.get(ORIGIN) else {
        return false;
    };
    let origin = origin
        .to_str()
        .ok()
        .and_then(|origin| origin.split_once("://"));
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    let host = host.or(uri.authority().map(|authority| authority.as_str()));
    origin.map(|(_, authority)| authority) != host
}

/// The name that somebody logs in with, without the space around it; none when
/// it is empty, too long or has control characters.
pub fn name(text: &str) -> Option<&str> {
    let name = text.trim();
    let length = name.chars().count();
    // A subject of the store has at most 255 bytes.
    let fits = (1..=LONGEST_NAME).contains(&length) && name.len() <= 255;
    (fits && !name.chars().any(char::is_control)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_decoded_and_the_first_of_a_name_counts() {
        let form = Form::parse(b"name=Zo%C3%AB+%26+co&empty=&name=other&bare&bad=%ff%2");
        assert_eq!(form.field("name"), "Zoë & co");
        assert_eq!(form.field("empty"), "");
        assert_eq!(form.field("bare"), "");
        assert_eq!(form.field("missing"), "");
        assert_eq!(form.field("bad"), "\u{fffd}%2");
    }

    #[test]
    fn a_form_says_what_it_is() {
        let is_form = |kind: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, kind.parse().unwrap());
            is_form(&headers)
        };
        assert!(is_form("application/x-www-form-urlencoded"));
        assert!(is_form("Application/X-WWW-Form-URLEncoded; charset=UTF-8"));
        assert!(!is_form("text/plain"));
        assert!(!is_form("multipart/form-data; boundary=x"));
        assert!(!super::is_form(&HeaderMap::new()));
    }

    #[test]
    fn a_browser_tells_where_a_form_comes_from() {
        let uri = Uri::from_static("http://shop.test:8080/login");
        let foreign = |pairs: &[(&'static str, &str)]| {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, "shop.test:8080".parse().unwrap());
            for (name, value) in pairs {
                headers.insert(*name, value.parse().unwrap());
            }
            is_foreign(&uri, &headers)
        };
        assert!(!foreign(&[]));
        assert!(!foreign(&[
            ("sec-fetch-site", "same-origin"),
            ("origin", "null")
        ]));
        assert!(!foreign(&[("sec-fetch-site", "none")]));
        assert!(foreign(&[("sec-fetch-site", "same-site")]));
        assert!(foreign(&[("sec-fetch-site", "cross-site")]));
        assert!(!foreign(&[("origin", "http://shop.test:8080")]));
        assert!(foreign(&[("origin", "http://shop.test")]));
        assert!(foreign(&[("origin", "http://evil.test")]));
        assert!(foreign(&[("origin", "null")]));

        let mut without_host = HeaderMap::new();
        without_host.insert(ORIGIN, "http://shop.test:8080".parse().unwrap());
        assert!(!is_foreign(&uri, &without_host));
    }

    #[test]
    fn a_name_has_1_to_64_characters() {
        assert_eq!(name("  Zoë  "), Some("Zoë"));
        assert_eq!(name(&"é".repeat(64)).map(str::len), Some(128));
        assert_eq!(name(&"x".repeat(65)), None);
        assert_eq!(name(&"😀".repeat(64)), None);
        assert_eq!(name(" \t "), None);
        assert_eq!(name("a\u{0}b"), None);
        assert_eq!(name("a\nb"), None);
    }
}
