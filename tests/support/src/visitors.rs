//! The web demo behind the real server, and visitors of it.

use crate::fixture::Home;
use crate::served::{Answer, Site};

/// The operator's token.
pub const OPERATOR_TOKEN: &str = "a token for the operator";

/// Serves the demo on the store of this home.
pub fn serve(home: &Home) -> Site {
    Site::start(home, &["--operator-token", OPERATOR_TOKEN])
}

/// A simulated browser, which keeps the cookie, and sends the token of the last page with a
/// form.
#[derive(Clone)]
pub struct Visitor<'a> {
    site: &'a Site,
    /// The cookie, as `name=value`.
    pub cookie: Option<String>,
    /// The token in the forms of the last page.
    pub token: String,
    headers: Vec<(&'static str, String)>,
}

impl<'a> Visitor<'a> {
    /// A new visitor, without a cookie.
    pub fn new(site: &'a Site) -> Self {
        Self {
            site,
            cookie: None,
            token: String::new(),
            headers: vec![],
        }
    }

    /// A visitor who has logged in.
    pub fn logged_in(site: &'a Site, name: &str) -> Self {
        let mut visitor = Self::new(site);
        visitor.get("/");
        let answer = visitor.post("/login", &[("name", name)]);
        assert_eq!(answer.leads_to(), (303, Some("/account")));
        visitor
    }

    /// The same browser with another header.
    pub fn saying(&self, name: &'static str, value: &str) -> Self {
        let mut visitor = self.clone();
        visitor.headers.push((name, value.to_owned()));
        visitor
    }

    /// The same browser with the cookie `cookie`.
    pub fn bringing(&self, cookie: &Option<String>) -> Self {
        let mut visitor = self.clone();
        visitor.cookie = cookie.clone();
        visitor
    }

    /// Loads a page.
    pub fn get(&mut self, path: &str) -> Answer {
        self.send("GET", path, "")
    }

    /// Sends a form with these fields and the token.
    pub fn post(&mut self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let token = [("token", self.token.as_str())];
        let fields = fields.iter().chain(&token);
        let form: Vec<String> = fields
            .map(|(name, value)| format!("{name}={}", percent_encoded(value)))
            .collect();
        self.send("POST", path, &form.join("&"))
    }

    /// Sends a request.
    pub fn send(&mut self, method: &str, path: &str, body: &str) -> Answer {
        let mut headers: Vec<(&str, &str)> = vec![];
        if method == "POST" {
            headers.push(("content-type", "application/x-www-form-urlencoded"));
        }
        for (name, value) in &self.headers {
            // A header set by the test replaces the usual one.
            headers.retain(|(usual, _)| usual != name);
            headers.push((name, value));
        }
        if let Some(cookie) = &self.cookie {
            headers.push(("cookie", cookie));
        }
        let answer = self.site.ask(method, path, &headers, body.as_bytes());
        if let Some(cookie) = answer.header("set-cookie") {
            let (cookie, _) = cookie.split_once(';').unwrap();
            self.cookie = Some(cookie.to_owned());
        }
        if let Some(token) = answer.value_of("token") {
            self.token = token;
        }
        answer
    }
}

fn percent_encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

impl Answer {
    /// The first header with this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        let (_, value) = headers.find(|(key, _)| key == name)?;
        Some(value)
    }

    /// The status, and the page to load next.
    pub fn leads_to(&self) -> (u16, Option<&str>) {
        (self.status, self.header("location"))
    }

    /// The number of sessions that the page lists.
    pub fn sessions(&self) -> usize {
        self.body.matches("<li ").count()
    }

    /// The number on the page of visits.
    pub fn visits(&self) -> u64 {
        let number = self
            .between("id=\"visits\">", "<")
            .expect("a count is shown");
        number.parse().unwrap()
    }

    /// The value of the first field with this name.
    pub fn value_of(&self, field: &str) -> Option<String> {
        self.between(&format!("name=\"{field}\" value=\""), "\"")
    }

    /// The text of the page between the first `start` and the next `end`.
    pub fn between(&self, start: &str, end: &str) -> Option<String> {
        let (_, rest) = self.body.split_once(start)?;
        let (found, _) = rest.split_once(end)?;
        Some(found.to_owned())
    }
}
