//! The name of a browser for lists of sessions, and whether it shows a page.

#![forbid(unsafe_code)]

use http::{HeaderMap, Method};

/// The longest name for an unknown browser, in characters.
const LONGEST: usize = 48;

/// Parts of a `User-Agent`, each with the browser that it indicates. The order matters:
/// most browsers also send the parts of others.
const BROWSERS: [(&str, &str); 7] = [
    ("Edg/", "Edge"),
    ("OPR/", "Opera"),
    ("Firefox/", "Firefox"),
    ("FxiOS/", "Firefox"),
    ("Chrome/", "Chrome"),
    ("CriOS/", "Chrome"),
    ("Safari/", "Safari"),
];

const SYSTEMS: [(&str, &str); 7] = [
    ("Android", "Android"),
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Windows", "Windows"),
    ("Mac OS X", "macOS"),
    ("CrOS", "ChromeOS"),
    ("Linux", "Linux"),
];

/// A short readable name for a browser, from its header `User-Agent`. The header is
/// untrusted, so pages have to escape the name.
pub fn name(user_agent: &str) -> String {
    match (find(&BROWSERS, user_agent), find(&SYSTEMS, user_agent)) {
        (Some(browser), Some(system)) => format!("{browser} on {system}"),
        (Some(browser), None) => browser.to_owned(),
        (None, _) => shorten(user_agent),
    }
}

/// Whether the browser may show the answer as a page: the request is not a `HEAD`, and
/// its `Sec-Fetch-Dest` does not say that it is for something else, such as an image.
pub fn shows_a_page(method: &Method, headers: &HeaderMap) -> bool {
    let purpose = headers.get("sec-fetch-dest");
    method != Method::HEAD && purpose.is_none_or(|purpose| purpose == "document")
}

fn find(names: &[(&str, &'static str)], user_agent: &str) -> Option<&'static str> {
    let mut names = names.iter();
    let (_, name) = names.find(|(part, _)| user_agent.contains(part))?;
    Some(name)
}

fn shorten(user_agent: &str) -> String {
    let shown = user_agent
        .chars()
        .filter(|character| !character.is_control());
    let name: String = shown.take(LONGEST).collect();
    match name.trim() {
        "" => "Unknown browser".to_owned(),
        name => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_browsers_have_names() {
        for (user_agent, expected) in [
            (
                "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
                "Firefox on Linux",
            ),
            (
                "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) \
                 Chrome/140.0.0.0 Safari/537.36 Edg/140.0.0.0",
                "Edge on Windows",
            ),
            (
                "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, \
                 like Gecko) Version/18.0 Safari/605.1.15",
                "Safari on macOS",
            ),
            (
                "Mozilla/5.0 (Linux; Android 15) AppleWebKit/537.36 (KHTML, like Gecko) \
                 Chrome/140.0.0.0 Mobile Safari/537.36",
                "Chrome on Android",
            ),
            (
                "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 \
                 (KHTML, like Gecko) FxiOS/140.0 Mobile/15E148 Safari/605.1.15",
                "Firefox on iPhone",
            ),
        ] {
            assert_eq!(name(user_agent), expected);
        }
    }

    #[test]
    fn a_page_is_loaded_as_a_document_or_without_fetch_metadata() {
        for (method, purpose, shows) in [
            (Method::GET, None, true),
            (Method::GET, Some("document"), true),
            (Method::GET, Some("image"), false),
            (Method::GET, Some("empty"), false),
            (Method::HEAD, None, false),
            (Method::HEAD, Some("document"), false),
        ] {
            let mut headers = HeaderMap::new();
            headers.extend(purpose.map(|purpose| {
                let name = http::HeaderName::from_static("sec-fetch-dest");
                (name, purpose.parse().unwrap())
            }));
            assert_eq!(
                shows_a_page(&method, &headers),
                shows,
                "{method} {purpose:?}"
            );
        }
    }

    #[test]
    fn an_unknown_browser_has_the_start_of_its_user_agent_as_its_name() {
        assert_eq!(name("curl/8.5.0"), "curl/8.5.0");
        assert_eq!(name(&"é".repeat(500)), "é".repeat(48));
        assert_eq!(name("a\u{1}b"), "ab");
        assert_eq!(name(""), "Unknown browser");
        assert_eq!(name("   "), "Unknown browser");
    }
}
