//! Tests of the operator's page of the web demo, and of what all its pages have in common.

use std::time::{Duration, Instant};

use crate::fixture::Home;
use crate::served::Site;
use crate::visitors::{OPERATOR_TOKEN, Visitor, serve};

use super::demo;

#[test]
fn attempts_to_guess_the_operators_token_are_limited() {
    let (_home, site) = demo();
    let mut attacker = Visitor::new(&site);
    attacker.get("/operator");
    let mut tried = 0;
    let refused = loop {
        let answer = attacker.post("/operator", &[("secret", "a guess")]);
        if answer.status != 403 {
            break answer;
        }
        tried += 1;
        assert!(tried < 100);
    };
    assert!(tried >= 10);
    assert_eq!(
        (refused.status, refused.header("retry-after")),
        (429, Some("1"))
    );

    // All visitors share the attempts, so the right token has to wait for a moment, too.
    let mut operator = Visitor::new(&site);
    operator.get("/operator");
    let started = Instant::now();
    loop {
        let answer = operator.post("/operator", &[("secret", OPERATOR_TOKEN)]);
        if answer.leads_to() == (303, Some("/operator")) {
            break;
        }
        assert_eq!(answer.status, 429);
        assert!(started.elapsed() < Duration::from_secs(120));
    }
    // An operator who is logged in needs no attempt.
    attacker.post("/operator", &[("secret", "a guess")]);
    assert!(operator.get("/operator").body.contains("id=\"live\""));
}

#[test]
fn only_an_operator_sees_the_store() {
    let (_home, site) = demo();
    let mut visitor = Visitor::new(&site);
    let page = visitor.get("/operator");
    assert_eq!(page.status, 200);
    assert!(!page.body.contains("id=\"live\""));
    assert_eq!(visitor.post("/operator/collect", &[]).status, 403);
    for wrong in ["", "x", &OPERATOR_TOKEN[1..]] {
        let answer = visitor.post("/operator", &[("secret", wrong)]);
        assert_eq!(answer.status, 403, "{wrong}");
        assert!(answer.body.contains("role=\"alert\""));
    }

    let mut before = visitor.clone();
    let answer = visitor.post("/operator", &[("secret", OPERATOR_TOKEN)]);
    assert_eq!(answer.leads_to(), (303, Some("/operator")));
    assert_ne!(visitor.cookie, before.cookie);
    let page = visitor.get("/operator");
    // The site's counter of attempts is a session, too.
    assert_eq!(page.between("id=\"live\">", "<").as_deref(), Some("2"));
    let answer = visitor.post("/operator/collect", &[]);
    let (status, path) = answer.leads_to();
    assert_eq!((status, path), (303, Some("/operator?removed=0")));
    let page = visitor.get(path.unwrap());
    assert!(page.body.contains("Rows removed: 0."));
    let page = before.get("/operator?again");
    assert_eq!(page.status, 200);
    assert!(!page.body.contains("id=\"live\""));
}

#[test]
fn without_a_token_there_is_no_operators_page() {
    let home = Home::new();
    let site = Site::start(&home, &[]);
    let mut visitor = Visitor::new(&site);
    visitor.get("/");
    assert_eq!(visitor.get("/operator").status, 404);
    for path in ["/operator", "/operator/collect"] {
        assert_eq!(visitor.post(path, &[("secret", "")]).status, 404, "{path}");
    }
}

#[test]
fn unknown_paths_and_invalid_requests_get_the_right_status() {
    let (_home, site) = demo();
    let mut visitor = Visitor::new(&site);
    visitor.get("/");
    for path in ["/nothing", "/account/", "/login.php", "/sessions"] {
        assert_eq!(visitor.get(path).status, 404, "{path}");
    }
    for (method, path, allowed) in [
        ("POST", "/", "GET, HEAD"),
        ("DELETE", "/account", "GET, HEAD"),
        ("GET", "/logout", "POST"),
        ("PUT", "/operator", "GET, HEAD, POST"),
    ] {
        let answer = visitor.send(method, path, "");
        assert_eq!(
            (answer.status, answer.header("allow")),
            (405, Some(allowed)),
            "{method} {path}"
        );
    }
    let mut text = visitor.saying("content-type", "text/plain");
    assert_eq!(text.post("/login", &[("name", "x")]).status, 415);
    let long = visitor.post("/login", &[("name", &"x".repeat(8 * 1024))]);
    assert_eq!(long.status, 413);
    assert_eq!(visitor.post("/login", &[("name", "x")]).status, 303);
}

#[test]
fn every_response_has_a_content_type_and_a_content_security_policy() {
    let (_home, site) = demo();
    let mut visitor = Visitor::new(&site);
    for path in [
        "/",
        "/operator",
        "/account",
        "/nothing",
        "/login",
        "/style.css",
    ] {
        let answer = visitor.get(path);
        for name in [
            "content-type",
            "cache-control",
            "content-security-policy",
            "referrer-policy",
        ] {
            assert!(answer.header(name).is_some(), "{path}: {name}");
        }
        assert_eq!(
            answer.header("x-content-type-options"),
            Some("nosniff"),
            "{path}"
        );
        let kept = if path == "/style.css" {
            "max-age=300"
        } else {
            "no-store"
        };
        assert_eq!(answer.header("cache-control"), Some(kept), "{path}");
    }
}

#[test]
fn a_failure_of_the_store_has_its_own_page() {
    let (home, site) = demo();
    let mut visitor = Visitor::new(&site);
    visitor.get("/");
    let cookie = visitor.cookie.unwrap();
    drop(site);
    home.sabotage("BEFORE UPDATE ON Sessions");
    let site = serve(&home);
    let mut visitor = Visitor::new(&site);
    visitor.cookie = Some(cookie.clone());
    let failed = visitor.get("/");
    assert_eq!(failed.status, 500);
    assert!(failed.body.contains("The sessions cannot be reached."));
    assert!(
        !failed
            .body
            .contains(cookie.strip_prefix("session=").unwrap())
    );
    // Other visitors are served.
    assert_eq!(Visitor::new(&site).get("/").status, 200);
}
