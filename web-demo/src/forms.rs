//! The content of a form, and whether a page of this site sent it.

#![forbid(unsafe_code)]

use http::header::{CONTENT_TYPE, HOST, ORIGIN};
use http::uri::Authority;
use http::{HeaderMap, Uri};

/// The longest body of a form, in bytes.
pub const LONGEST_FORM: usize = 8 * 1024;

/// The longest name of a user, in characters.
pub const LONGEST_NAME: usize = 64;

/// The fields of a form that was sent.
#[derive(Debug)]
pub struct Form(Vec<(String, String)>);

impl Form {
    /// Parses the fields in `body`; invalid UTF-8 is replaced.
    pub fn parse(body: &[u8]) -> Self {
        Self(form_urlencoded::parse(body).into_owned().collect())
    }

    /// The value of the first field with this name; empty when there is none.
    pub fn field(&self, name: &str) -> &str {
        let mut fields = self.0.iter();
        let field = fields.find(|(key, _)| key == name);
        field.map_or("", |(_, value)| value)
    }
}

/// Whether the body is a URL-encoded form, as browsers send one without files.
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

/// Whether the headers `Sec-Fetch-Site` or `Origin` say that a page of another site sent
/// this. A request without them may come from anywhere; the forms' tokens protect
/// against that. `secure` is whether this site was reached over https.
pub fn is_foreign(uri: &Uri, headers: &HeaderMap, secure: bool) -> bool {
    if let Some(site) = headers.get("sec-fetch-site") {
        return site != "same-origin" && site != "none";
    }
    let Some(origin) = headers.get(ORIGIN) else {
        return false;
    };
    let sender = origin.to_str().ok().and_then(|origin| {
        let (scheme, authority) = origin.split_once("://")?;
        self::origin(scheme, &authority.parse().ok()?)
    });
    let host = headers
        .get(HOST)
        .and_then(|host| host.to_str().ok()?.parse().ok());
    let host = host.as_ref().or(uri.authority());
    let own = host.and_then(|host| self::origin(if secure { "https" } else { "http" }, host));
    sender.is_none() || sender != own
}

/// The origin: scheme, host and port, normalised so that equal origins compare
/// equal.
fn origin(scheme: &str, authority: &Authority) -> Option<(String, String, u16)> {
    let (scheme, host) = (scheme.to_ascii_lowercase(), authority.host());
    let usual = match scheme.as_str() {
        "http" => 80,
        "https" => 443,
        _ => return None,
    };
    // An authority with a user part is refused: no origin has one.
    let port = match authority.as_str().strip_prefix(host)? {
        "" | ":" => usual,
        port => port.strip_prefix(':')?.parse().ok()?,
    };
    Some((scheme, host.to_ascii_lowercase(), port))
}

/// The name of a user who logs in, trimmed; `None` when it is empty, too long or has
/// control characters.
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
    fn a_form_is_recognised_by_its_content_type() {
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
    fn sec_fetch_site_says_where_a_form_comes_from() {
        for (site, foreign) in [
            ("same-origin", false),
            ("none", false),
            ("same-site", true),
            ("cross-site", true),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("sec-fetch-site", site.parse().unwrap());
            // `Sec-Fetch-Site` is enough.
            headers.insert(ORIGIN, "null".parse().unwrap());
            assert_eq!(
                is_foreign(&Uri::default(), &headers, false),
                foreign,
                "{site}"
            );
        }
        assert!(!is_foreign(&Uri::default(), &HeaderMap::new(), false));
    }

    #[test]
    fn an_origin_is_a_scheme_a_host_and_a_port() {
        for (origin, host, secure, foreign) in [
            ("http://shop.test:8080", "shop.test:8080", false, false),
            ("http://shop.test", "shop.test:8080", false, true),
            ("http://shop.test:8080", "shop.test", false, true),
            ("http://evil.test", "shop.test", false, true),
            ("http://shop.test", "shop.test:80", false, false),
            ("http://shop.test:80", "shop.test", false, false),
            ("https://shop.test", "shop.test:443", true, false),
            ("https://shop.test", "shop.test:80", true, true),
            ("http://shop.test", "shop.test:443", false, true),
            ("http://shop.test", "Shop.TEST", false, false),
            ("HTTP://SHOP.test", "shop.test", false, false),
            ("http://[::1]:8080", "[::1]:8080", false, false),
            ("http://[::1]", "[::1]:80", false, false),
            ("https://shop.test", "shop.test", false, true),
            ("http://shop.test", "shop.test", true, true),
            ("ftp://shop.test", "shop.test", false, true),
            ("http://shop.test@evil.test", "shop.test", false, true),
            ("http://evil.test@shop.test", "shop.test", false, true),
            ("http://shop.test/", "shop.test", false, true),
            ("http://shop.test:99999", "shop.test", false, true),
            ("http://", "shop.test", false, true),
            ("shop.test", "shop.test", false, true),
            ("null", "null", false, true),
            ("", "", false, true),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, host.parse().unwrap());
            headers.insert(ORIGIN, origin.parse().unwrap());
            let found = is_foreign(&Uri::from_static("/login"), &headers, secure);
            assert_eq!(found, foreign, "{origin} at {host}, {secure}");
        }
        // Without a `Host` header the URI has the host.
        let uri = Uri::from_static("http://shop.test:8080/login");
        let mut headers = HeaderMap::new();
        headers.insert(ORIGIN, "http://shop.test:8080".parse().unwrap());
        assert!(!is_foreign(&uri, &headers, false));
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
