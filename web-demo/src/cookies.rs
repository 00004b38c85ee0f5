//! The cookie that carries a session's id, and nothing else.
//!
//! Behind https it is `Secure` and its name has the prefix `__Host-`, so that no
//! other host and no plain connection can have set it.

use http::header::COOKIE;
use http::{HeaderMap, Uri};

/// Whether the visitor came over https: the request says so, or a proxy in front
/// does in `X-Forwarded-Proto`, where the one nearest to the visitor comes first.
/// Anybody can send that header; all that comes of it is a stricter cookie for
/// whoever did.
pub fn is_secure(uri: &Uri, headers: &HeaderMap) -> bool {
    let forwarded = headers.get("x-forwarded-proto");
    let forwarded = forwarded.and_then(|schemes| schemes.to_str().ok());
    let nearest = forwarded.and_then(|schemes| schemes.split(',').next());
    uri.scheme_str() == Some("https")
        || nearest.is_some_and(|scheme| scheme.trim().eq_ignore_ascii_case("https"))
}

/// The id that the visitor brings, when it can be one of the store's: 43
/// characters of base64url. It may still be the id of no session.
pub fn id(headers: &HeaderMap, secure: bool) -> Option<&str> {
    let name = name(secure);
    let cookies = headers.get_all(COOKIE).into_iter();
    let mut pairs = cookies
        .filter_map(|cookies| cookies.to_str().ok())
        .flat_map(|cookies| cookies.split(';'))
        .filter_map(|cookie| cookie.trim().split_once('='));
    let (_, id) = pairs.find(|(key, _)| *key == name)?;
    let possible = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (id.len() == 43 && id.bytes().all(possible)).then_some(id)
}

/// The value of `Set-Cookie` that gives the visitor this id until the browser is
/// closed.
pub fn with_id(id: &str, secure: bool) -> String {
    format!("{}={id}; {}", name(secure), attributes(secure))
}

/// The value of `Set-Cookie` that takes the id away.
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
    use super::*;

    const ID: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA-_";

    fn brought(cookies: &str, secure: bool) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.insert(COOKIE, cookies.parse().unwrap());
        id(&headers, secure).map(str::to_owned)
    }

    #[test]
    fn the_id_is_found_among_other_cookies() {
        let cookies = format!("theme=dark; session={ID}; mysession=x");
        assert_eq!(brought(&cookies, false).as_deref(), Some(ID));
        assert_eq!(brought(&format!("session={ID}"), true), None);
        assert_eq!(brought(&format!("__Host-session={ID}"), false), None);
        let cookies = format!("session=; __Host-session={ID}");
        assert_eq!(brought(&cookies, true).as_deref(), Some(ID));
    }

    #[test]
    fn what_cannot_be_an_id_is_none() {
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
            assert_eq!(brought(cookies, false), None, "{cookies}");
        }
        assert_eq!(id(&HeaderMap::new(), false), None);
    }

    #[test]
    fn a_cookie_is_given_and_taken_away_under_one_name() {
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
    fn https_is_what_the_request_or_a_proxy_says() {
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
