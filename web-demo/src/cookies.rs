//! The cookie that carries a session's id.
//!
//! Over https it is `Secure` and its name has the prefix `__Host-`, so that no other
//! host and no plain connection can set it.

#![forbid(unsafe_code)]

use cookie::Cookie;
use http::header::COOKIE;
use http::{HeaderMap, Uri};

/// The most ids of one request that are looked up.
pub const MOST_IDS: usize = 8;

/// Whether the visitor uses https, by the request's URI or the first value of
/// `X-Forwarded-Proto`, which the proxy nearest to the visitor has set. A client that
/// forges that header only makes its own cookie stricter.
pub fn is_secure(uri: &Uri, headers: &HeaderMap) -> bool {
    let forwarded = headers.get("x-forwarded-proto");
    let forwarded = forwarded.and_then(|schemes| schemes.to_str().ok());
    let nearest = forwarded.and_then(|schemes| schemes.split(',').next());
    uri.scheme_str() == Some("https")
        || nearest.is_some_and(|scheme| scheme.trim().eq_ignore_ascii_case("https"))
}

/// The ids in the request, at most [`MOST_IDS`]: the values of our cookie that have the
/// form of the store's ids, 43 characters of base64url. They need not be ids of sessions.
///
/// There can be several, since a browser also sends cookies of this name that were set
/// for a parent domain or another path, often before ours. Other cookies need not be
/// UTF-8, and cookies can be in several headers.
pub fn ids(headers: &HeaderMap, secure: bool) -> Vec<String> {
    let lines = headers.get_all(COOKIE).into_iter();
    lines
        .flat_map(|line| Cookie::split_parse(String::from_utf8_lossy(line.as_bytes())))
        .flatten()
        .filter(|cookie| cookie.name() == name(secure) && is_id(cookie.value()))
        .map(|cookie| cookie.value().to_owned())
        .take(MOST_IDS)
        .collect()
}

fn is_id(value: &str) -> bool {
    let possible = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    value.len() == 43 && value.bytes().all(possible)
}

/// The value of `Set-Cookie` that sets this id until the browser is closed.
pub fn with_id(id: &str, secure: bool) -> String {
    format!("{}={id}; {}", name(secure), attributes(secure))
}

/// The value of `Set-Cookie` that removes the id.
pub fn without_id(secure: bool) -> String {
    format!("{}=; Max-Age=0; {}", name(secure), attributes(secure))
}

fn name(secure: bool) -> &'static str {
    if secure { "__Host-session" } else { "session" }
}

fn attributes(secure: bool) -> &'static str {
    if secure {
        "Path=/; HttpOnly; SameSite=Lax; Secure"
    } else {
        "Path=/; HttpOnly; SameSite=Lax"
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const ID: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA-_";

    const OTHER: &str = "BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB";

    fn brought(lines: &[&[u8]], secure: bool) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(COOKIE, HeaderValue::from_bytes(line).unwrap());
        }
        ids(&headers, secure)
    }

    #[test]
    fn the_id_is_found_among_other_cookies() {
        for cookies in [
            format!("theme=dark; session={ID}; mysession=x"),
            format!("theme=dark;session={ID};mysession=x"),
            format!("theme=dark ;\tsession={ID} ; ; =x; mysession"),
            format!("theme=\"a=b, c\"; session={ID}"),
            format!("session = {ID}"),
        ] {
            assert_eq!(brought(&[cookies.as_bytes()], false), [ID], "{cookies}");
        }
        let plain = format!("session={ID}");
        let prefixed = format!("__Host-session={OTHER}");
        let both = format!("{plain}; {prefixed}");
        assert_eq!(brought(&[both.as_bytes()], false), [ID]);
        assert_eq!(brought(&[both.as_bytes()], true), [OTHER]);
    }

    #[test]
    fn cookies_that_are_not_utf_8_do_not_hide_the_id() {
        let own = format!("; session={ID}");
        for other in [
            &b"name=Zo\xeb"[..],
            b"name=Zo\xc3\xab",
            b"\xff",
            b"\x80=\xfe",
        ] {
            let line = [other, own.as_bytes()].concat();
            assert_eq!(brought(&[&line], false), [ID], "{other:?}");
            let own = own.as_bytes();
            assert_eq!(brought(&[other, &own[2..]], false), [ID], "{other:?}");
        }
    }

    #[test]
    fn at_most_8_cookies_that_can_be_ids_count() {
        let line = format!("session=old; session={OTHER}; session=; session={ID}");
        assert_eq!(brought(&[line.as_bytes()], false), [OTHER, ID]);
        let (first, second) = (format!("session={OTHER}"), format!("session={ID}"));
        let lines = [first.as_bytes(), b"theme=dark", second.as_bytes()];
        assert_eq!(brought(&lines, false), [OTHER, ID]);
        let many = vec![first.as_str(); 2 * MOST_IDS].join("; ");
        assert_eq!(brought(&[many.as_bytes()], false).len(), MOST_IDS);
    }

    #[test]
    fn a_value_without_the_form_of_an_id_is_ignored() {
        let long = format!("session={ID}A");
        let foreign = format!("session={}", ID.replace('-', "+"));
        let quoted = format!("session=\"{ID}\"");
        for cookies in [
            "",
            "session",
            "session=",
            "session=abc",
            &long,
            &foreign,
            &quoted,
        ] {
            let none: [&str; 0] = [];
            assert_eq!(brought(&[cookies.as_bytes()], false), none, "{cookies}");
        }
        assert!(ids(&HeaderMap::new(), false).is_empty());
    }

    #[test]
    fn a_cookie_is_set_and_removed_under_one_name() {
        let plain = format!("session={ID}; Path=/; HttpOnly; SameSite=Lax");
        assert_eq!(with_id(ID, false), plain);
        let secure = format!("__Host-session={ID}; Path=/; HttpOnly; SameSite=Lax; Secure");
        assert_eq!(with_id(ID, true), secure);
        assert_eq!(
            without_id(false),
            "session=; Max-Age=0; Path=/; HttpOnly; SameSite=Lax"
        );
        assert!(without_id(true).starts_with("__Host-session=; Max-Age=0; "));
    }

    #[test]
    fn the_request_or_a_proxy_says_whether_https_is_used() {
        let (plain, https) = (
            Uri::from_static("http://a/"),
            Uri::from_static("https://a/"),
        );
        let mut headers = HeaderMap::new();
        assert!(!is_secure(&plain, &headers));
        assert!(is_secure(&https, &headers));
        for (forwarded, secure) in [
            ("https", true),
            ("HTTPS", true),
            (" https ", true),
            ("https,http", true),
            ("Https , http", true),
            ("http", false),
            ("http, https", false),
            ("httpsx", false),
            ("", false),
            (",https", false),
        ] {
            headers.insert("x-forwarded-proto", forwarded.parse().unwrap());
            assert_eq!(is_secure(&plain, &headers), secure, "{forwarded}");
            assert!(is_secure(&https, &headers), "{forwarded}");
        }
    }
}
