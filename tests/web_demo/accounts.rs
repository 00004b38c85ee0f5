//! Tests of accounts in the web demo: names, forms, the list of sessions, and logging out.

use std::time::Duration;

use crate::fixture::{Home, listed};
use crate::visitors::{Visitor, serve};

use super::{INVENTED, demo};

#[test]
fn a_name_has_1_to_64_characters() {
    let (_home, site) = demo();
    let mut visitor = Visitor::new(&site);
    visitor.get("/");
    for name in ["", "   ", "a\nb", &"x".repeat(65), &"😀".repeat(64)] {
        let answer = visitor.post("/login", &[("name", name)]);
        assert_eq!(answer.status, 400, "{name}");
        assert!(answer.body.contains("role=\"alert\""), "{name}");
    }
    let answer = visitor.post("/login", &[("name", &"é".repeat(64))]);
    assert_eq!(answer.leads_to(), (303, Some("/account")));
}

#[test]
fn a_log_in_that_the_store_refuses_leaves_no_session() {
    let home = Home::new();
    let sessions = home.open();
    // There is no room for the browser's name.
    let mut full = r#"{"visits":1,"token":"token","more":""#.to_owned();
    let room = sessions.options().max_data as usize - full.len() - 2;
    full += &"x".repeat(room);
    full += "\"}";
    let life = Duration::from_secs(100 * 365 * 86_400);
    sessions.set(INVENTED, full, Some(life)).wait().unwrap();
    drop(sessions);

    let site = serve(&home);
    let mut visitor = Visitor::new(&site).bringing(&Some(format!("session={INVENTED}")));
    visitor.token = "token".to_owned();
    let answer = visitor.post("/login", &[("name", "alice")]);
    assert_eq!(answer.status, 500, "{}", answer.body);
    drop(site);
    assert!(listed(&home.open(), None).is_empty());
}

#[test]
fn a_hostile_name_and_browser_are_only_text() {
    let (_home, site) = demo();
    let hostile = "\"><script>alert(1)</script>";
    let escaped = "&quot;&gt;&lt;script&gt;alert(1)&lt;/script&gt;";
    let mut visitor = Visitor::new(&site).saying("user-agent", hostile);
    visitor.get("/");
    visitor.post("/login", &[("name", hostile)]);
    for path in ["/", "/account"] {
        let page = visitor.get(path);
        assert!(page.body.contains(escaped), "{}", page.body);
        assert!(!page.body.contains("<script"), "{}", page.body);
    }
    let account = visitor.get("/account");
    let strong = account.between("<strong>", "</strong>");
    assert_eq!(strong.as_deref(), Some(escaped));
}

#[test]
fn a_form_that_was_not_shown_to_this_visitor_is_refused() {
    let (_home, site) = demo();
    let mut alice = Visitor::logged_in(&site, "alice");
    alice.get("/account");
    let mut mallory = Visitor::new(&site);
    mallory.get("/");
    let forms = [
        "/login",
        "/logout",
        "/sessions/end",
        "/sessions/end-others",
        "/operator",
    ];
    let refused = |visitor: &Visitor, done: &str, case: &str| {
        for path in forms.iter().chain(&["/operator/collect"]) {
            // Skipped, because this was done already; see the tests of second clicks.
            if *path == done {
                continue;
            }
            let answer = visitor
                .clone()
                .post(path, &[("name", "x"), ("handle", "x")]);
            assert_eq!(answer.status, 403, "{case}: {path}");
            assert_eq!(answer.header("set-cookie"), None, "{case}: {path}");
        }
    };
    let with_token = |token: &str| {
        let mut visitor = alice.clone();
        visitor.token = token.to_owned();
        visitor
    };
    refused(&Visitor::new(&site), "/logout", "without a session");
    for (token, case) in [
        ("", "without a token"),
        (mallory.token.as_str(), "with another user's token"),
        (&alice.token[1..], "with a part of the token"),
    ] {
        refused(&with_token(token), "/login", case);
        let mut stranger = Visitor::new(&site).bringing(&mallory.cookie);
        stranger.token = token.replace(&mallory.token, "");
        refused(&stranger, "/logout", case);
    }
    let https = format!("https://{}", site.address);
    for (name, value) in [
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
        ("origin", "http://evil.test"),
        ("origin", "null"),
        ("origin", &https),
    ] {
        refused(&alice.saying(name, value), "", value);
    }
    assert_eq!(alice.get("/account").sessions(), 1);
    let mut own = alice.saying("origin", &format!("HTTP://{}", site.address));
    assert_eq!(
        own.post("/sessions/end", &[]).leads_to(),
        (303, Some("/account"))
    );

    let mut own = alice.saying("sec-fetch-site", "same-origin");
    assert_eq!(own.post("/logout", &[]).leads_to(), (303, Some("/")));
}

#[test]
fn users_see_their_sessions_and_end_them() {
    let (_home, site) = demo();
    let mut desk = Visitor::logged_in(&site, "alice");
    let mut phone = Visitor::new(&site).saying(
        "user-agent",
        "Mozilla/5.0 (Android 15; Mobile; rv:140.0) Gecko/140.0 Firefox/140.0",
    );
    phone.get("/");
    phone.post("/login", &[("name", "alice")]);

    let page = desk.get("/account");
    assert_eq!(page.sessions(), 2);
    assert_eq!(page.body.matches("This browser").count(), 1);
    assert!(page.body.contains("<strong>Firefox on Android</strong>"));
    let handle = page.value_of("handle").unwrap();
    let answer = desk.post("/sessions/end", &[("handle", &handle)]);
    assert_eq!(answer.leads_to(), (303, Some("/account")));
    assert_eq!(desk.get("/account").sessions(), 1);
    assert_eq!(phone.get("/account").leads_to(), (303, Some("/")));
    assert_eq!(phone.get("/").leads_to(), (303, Some("/?again")));
    assert_eq!(phone.get("/?again").visits(), 1);
    let again = desk.post("/sessions/end", &[("handle", &handle)]);
    assert_eq!(again.leads_to(), (303, Some("/account")));
}

#[test]
fn a_user_cannot_end_a_session_of_another() {
    let (home, site) = demo();
    let mut alice = Visitor::logged_in(&site, "alice");
    let mut again = Visitor::logged_in(&site, "alice");
    let handle = alice.get("/account").value_of("handle").unwrap();

    let mut mallory = Visitor::logged_in(&site, "mallory");
    mallory.get("/account");
    for handle in [handle.as_str(), "", "x", &"0".repeat(64)] {
        let answer = mallory.post("/sessions/end", &[("handle", handle)]);
        // The same answer as for a missing session, so that it reveals nothing.
        assert_eq!(answer.leads_to(), (303, Some("/account")), "{handle}");
    }
    let mut stranger = Visitor::new(&site);
    stranger.get("/");
    let answer = stranger.post("/sessions/end", &[("handle", &handle)]);
    assert_eq!(answer.leads_to(), (303, Some("/")));
    assert_eq!(alice.get("/account").sessions(), 2);
    assert_eq!(again.get("/account").sessions(), 2);
    drop(site);
    assert_eq!(listed(&home.open(), Some("alice")).len(), 2);
}

#[test]
fn logging_out_everywhere_else_does_not_affect_this_browser_and_other_users() {
    let (_home, site) = demo();
    let mut alice = Visitor::logged_in(&site, "alice");
    let mut others: Vec<Visitor> = (0..3).map(|_| Visitor::logged_in(&site, "alice")).collect();
    let mut bob = Visitor::logged_in(&site, "bob");
    alice.get("/account");
    let answer = alice.post("/sessions/end-others", &[]);
    assert_eq!(answer.leads_to(), (303, Some("/account")));
    assert_eq!(alice.get("/account").sessions(), 1);
    assert_eq!(bob.get("/account").sessions(), 1);
    for other in &mut others {
        assert_eq!(other.get("/account").leads_to(), (303, Some("/")));
    }
}

#[test]
fn logging_out_ends_the_session_and_removes_the_cookie() {
    let (home, site) = demo();
    let mut alice = Visitor::logged_in(&site, "alice");
    alice.get("/account");
    let mut thief = alice.clone();
    let answer = alice.post("/logout", &[]);
    assert_eq!(answer.leads_to(), (303, Some("/")));
    let cookie = answer.header("set-cookie").unwrap();
    assert_eq!(
        cookie,
        "session=; Max-Age=0; Path=/; HttpOnly; SameSite=Lax"
    );
    assert_eq!(thief.get("/account").leads_to(), (303, Some("/")));
    drop(site);
    assert!(listed(&home.open(), Some("alice")).is_empty());
}

#[test]
fn a_failed_log_out_removes_the_cookie_and_reports_remaining_sessions() {
    let (home, site) = demo();
    let mut alice = Visitor::logged_in(&site, "alice");
    alice.get("/account");
    let (cookie, token) = (alice.cookie.clone(), alice.token.clone());
    drop(site);
    home.sabotage("BEFORE UPDATE ON Sessions");
    let site = serve(&home);
    let mut alice = Visitor::new(&site).bringing(&cookie);
    alice.token = token;
    // The page is shown even if the session cannot be renewed.
    let mut thief = alice.clone();
    assert_eq!(thief.get("/account").sessions(), 1);
    let answer = alice.post("/logout", &[]);
    assert_eq!(answer.status, 500);
    assert_eq!(alice.cookie.as_deref(), Some("session="));
    assert!(answer.header("set-cookie").unwrap().contains("Max-Age=0"));
    assert!(
        answer.body.contains("could not be ended"),
        "{}",
        answer.body
    );
    assert!(!answer.body.contains("Nothing was done"), "{}", answer.body);
    assert_eq!(thief.get("/account").sessions(), 1);
    let foreign = thief
        .saying("origin", "http://evil.test")
        .post("/logout", &[]);
    assert_eq!((foreign.status, foreign.header("set-cookie")), (403, None));
}
