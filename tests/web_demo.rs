//! Tests of the web demo: its functions, and attacks on it.

use std::thread;

use crate::fixture::{Home, listed};
use crate::served::{Answer, Site};
use crate::visitors::{OPERATOR_TOKEN, Visitor, serve};

mod accounts;
mod operator;

/// An id that is not in the store.
const INVENTED: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// The demo on a new store.
fn demo() -> (Home, Site) {
    let home = Home::new();
    let site = serve(&home);
    (home, site)
}

#[test]
fn the_first_visit_starts_a_session_and_later_ones_are_counted_in_it() {
    let (_home, site) = demo();
    let mut visitor = Visitor::new(&site);
    let first = visitor.get("/");
    assert_eq!((first.status, first.visits()), (200, 1));
    let cookie = first.header("set-cookie").unwrap();
    let (pair, attributes) = cookie.split_once("; ").unwrap();
    assert_eq!(pair.len(), "session=".len() + 43);
    assert_eq!(attributes, "Path=/; HttpOnly; SameSite=Lax");

    let second = visitor.get("/");
    assert_eq!((second.visits(), second.header("set-cookie")), (2, None));
    assert_eq!(Visitor::new(&site).get("/").visits(), 1);
}

#[test]
fn parallel_clicks_lose_no_count() {
    let (_home, site) = demo();
    let mut visitor = Visitor::new(&site);
    visitor.get("/");
    thread::scope(|scope| {
        for _ in 0..8 {
            let mut tab = visitor.clone();
            scope.spawn(move || {
                for _ in 0..10 {
                    assert_eq!(tab.get("/").status, 200);
                }
            });
        }
    });
    assert_eq!(visitor.get("/").visits(), 82);
}

#[test]
fn head_is_get_without_the_page() {
    let (_home, site) = demo();
    let mut visitor = Visitor::new(&site);
    let head = visitor.send("HEAD", "/", "");
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert_eq!(
        head.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    // HEAD counts no visit, because it shows no page.
    assert_eq!(head.header("set-cookie"), None);
    assert_eq!(visitor.get("/").visits(), 1);
    assert_eq!(visitor.send("HEAD", "/", "").status, 200);
    assert_eq!(visitor.get("/").visits(), 2);
}

#[test]
fn a_visitor_who_comes_once_leaves_a_short_lived_session() {
    let (home, site) = demo();
    for path in ["/", "/operator"] {
        let mut other = Visitor::new(&site).saying("sec-fetch-dest", "image");
        assert_eq!(other.get(path).status, 200);
        assert_eq!(other.send("HEAD", path, "").status, 200);
        assert_eq!(other.cookie, None, "{path}");
    }
    Visitor::new(&site).get("/");
    Visitor::new(&site).get("/operator");
    let lives = |home: &Home| {
        let entries = listed(&home.open(), None);
        let lives = entries.iter().map(|entry| entry.expires - entry.created);
        lives.collect::<Vec<u64>>()
    };
    drop(site);
    assert_eq!(lives(&home), [15 * 60_000; 2]);

    for (path, again) in [("/", "/"), ("/operator", "/operator"), ("/", "/account")] {
        let home = Home::new();
        let site = serve(&home);
        let mut visitor = Visitor::new(&site);
        visitor.get(path);
        visitor.get(again);
        drop(site);
        let [life] = lives(&home).try_into().unwrap();
        assert!(life >= 86_400_000, "{path} {again}");
    }
}

#[test]
fn cookies_that_others_have_set_do_not_hide_the_session() {
    let (_home, site) = demo();
    let mut visitor = Visitor::new(&site);
    visitor.get("/");
    let own = visitor.cookie.clone().unwrap();
    let invented = format!("session={INVENTED}");
    let mut visits = 2;
    for cookies in [
        vec![format!("theme=dark;{own};x").into_bytes()],
        vec![[b"name=Zo\xeb; ", own.as_bytes()].concat()],
        vec![format!("name=Zoë; {own}").into_bytes()],
        vec![format!("session=old; {invented}; {own}").into_bytes()],
        vec![format!("{own}; {invented}").into_bytes()],
        vec![
            b"a=\xff".to_vec(),
            invented.clone().into(),
            own.clone().into(),
        ],
    ] {
        let mut request = format!("GET / HTTP/1.0\r\nHost: {}\r\n", site.address).into_bytes();
        for line in &cookies {
            request.extend([b"Cookie: ", &line[..], b"\r\n"].concat());
        }
        request.extend(b"\r\n");
        let answer = Answer::parse(&site.exchange(&request));
        assert_eq!(answer.status, 200, "{cookies:?}");
        assert_eq!(answer.visits(), visits, "{cookies:?}");
        assert_eq!(answer.header("set-cookie"), None, "{cookies:?}");
        visits += 1;
    }

    // Too many cookies do, because the look-ups for one request are bounded.
    visitor.cookie = Some(format!("{}{own}", format!("{invented}; ").repeat(8)));
    assert_eq!(visitor.get("/").leads_to(), (303, Some("/?again")));

    // Logging in and out works with them, too.
    visitor.cookie = Some(format!("{invented}; {own}"));
    assert_eq!(visitor.get("/").visits(), visits);
    let answer = visitor.post("/login", &[("name", "alice")]);
    assert_eq!(answer.leads_to(), (303, Some("/account")));
    let own = visitor.cookie.clone().unwrap();
    visitor.cookie = Some(format!("{invented}; {own}"));
    assert_eq!(visitor.get("/account").sessions(), 1);
    assert_eq!(visitor.post("/logout", &[]).leads_to(), (303, Some("/")));
    visitor.cookie = Some(own);
    assert_eq!(visitor.get("/account").leads_to(), (303, Some("/")));
}

#[test]
fn behind_https_the_cookie_is_of_this_host_and_secure() {
    let (_home, site) = demo();
    let mut visitor = Visitor::new(&site).saying("x-forwarded-proto", "https");
    let first = visitor.get("/");
    let cookie = first.header("set-cookie").unwrap();
    assert!(cookie.starts_with("__Host-session="), "{cookie}");
    assert!(
        cookie.ends_with("; Path=/; HttpOnly; SameSite=Lax; Secure"),
        "{cookie}"
    );
    assert_eq!(visitor.get("/").visits(), 2);
}

#[test]
fn an_id_from_a_visitor_is_never_used_for_a_new_session() {
    let (home, site) = demo();
    for brought in [
        INVENTED,
        "abc",
        "",
        &"A".repeat(4096),
        "AAAA'; DROP TABLE Sessions; --",
    ] {
        let mut visitor = Visitor::new(&site);
        visitor.cookie = Some(format!("session={brought}"));
        let answer = visitor.get("/?again");
        assert_eq!(answer.visits(), 1, "{brought}");
        assert_ne!(visitor.cookie, Some(format!("session={brought}")));
        assert_eq!(visitor.get("/").visits(), 2, "{brought}");
    }
    drop(site);
    let sessions = home.open();
    assert_eq!(sessions.get(INVENTED).wait().unwrap(), None);
    assert_eq!(sessions.count_sessions(None).wait().unwrap(), 5);
}

#[test]
fn logging_in_moves_to_a_new_id_and_keeps_the_count() {
    let (_home, site) = demo();
    let mut visitor = Visitor::new(&site);
    visitor.get("/");
    let mut before = visitor.clone();
    let answer = visitor.post("/login", &[("name", "  Zoë  ")]);
    assert_eq!(answer.leads_to(), (303, Some("/account")));
    assert_ne!(visitor.cookie, before.cookie);

    let page = visitor.get("/");
    assert_eq!(page.visits(), 2);
    assert_eq!(page.between("id=\"user\">", "<").as_deref(), Some("Zoë"));
    // The old id is invalid.
    before.post("/login", &[("name", "Mallory")]);
    assert_eq!(visitor.get("/account").sessions(), 1);
    assert_eq!(before.get("/account").leads_to(), (303, Some("/")));
    assert_eq!(before.get("/?again").visits(), 1);
}

/// A second click can reach the site in three ways: with the old cookie and token, with the
/// new cookie and the old token, or at the same time as the first click.
#[test]
fn a_second_click_on_log_in_leads_where_the_first_did() {
    let (home, site) = demo();
    let mut visitor = Visitor::new(&site);
    visitor.get("/");
    let shown = visitor.clone();
    visitor.post("/login", &[("name", "alice")]);

    let early = shown.clone();
    let late = shown.bringing(&visitor.cookie);
    for (second, name, path) in [
        (&early, "alice", "/account?late"),
        (&late, "alice", "/account"),
        (&late, "bob", "/account"),
    ] {
        let answer = second.clone().post("/login", &[("name", name)]);
        assert_eq!(answer.leads_to(), (303, Some(path)));
        assert_eq!(answer.header("set-cookie"), None);
        assert_eq!(visitor.get(path).sessions(), 1);
    }

    let mut carol = Visitor::new(&site);
    carol.get("/");
    let clicks = thread::scope(|scope| {
        let clicks: Vec<_> = (0..8)
            .map(|_| {
                let mut click = carol.clone();
                scope.spawn(move || click.post("/login", &[("name", "carol")]))
            })
            .collect();
        clicks
            .into_iter()
            .map(|click| click.join().unwrap())
            .collect::<Vec<_>>()
    });
    assert!(
        clicks
            .iter()
            .all(|click| matches!(click.leads_to(), (303, Some("/account" | "/account?late"))))
    );
    let given = clicks
        .iter()
        .filter(|click| click.header("set-cookie").is_some());
    assert_eq!(given.count(), 1);
    drop(site);
    let sessions = home.open();
    assert_eq!(listed(&sessions, Some("carol")).len(), 1);
    assert!(listed(&sessions, Some("bob")).is_empty());
}

#[test]
fn a_second_click_on_log_out_leads_where_the_first_did() {
    let (_home, site) = demo();
    let mut alice = Visitor::logged_in(&site, "alice");
    alice.get("/account");
    let shown = alice.clone();
    assert_eq!(alice.post("/logout", &[]).leads_to(), (303, Some("/")));

    let without = shown.bringing(&None);
    let mut next = Visitor::new(&site);
    next.get("/");
    let renewed = shown.bringing(&next.cookie);
    for mut second in [shown.clone(), without, renewed] {
        let answer = second.post("/logout", &[]);
        assert_eq!(answer.leads_to(), (303, Some("/")));
        // A newer session is not ended.
        assert_eq!(answer.header("set-cookie"), None);
    }
    assert_eq!(next.get("/").visits(), 2);

    // The old page does not log out a user who has logged in again since.
    let again = Visitor::logged_in(&site, "alice");
    let mut old = shown.bringing(&again.cookie);
    assert_eq!(old.post("/logout", &[]).status, 403);
    assert_eq!(again.clone().get("/account").sessions(), 1);
}

#[test]
fn a_second_click_on_the_operators_form_leads_where_the_first_did() {
    let (_home, site) = demo();
    let mut visitor = Visitor::new(&site);
    visitor.get("/operator");
    let shown = visitor.clone();
    visitor.post("/operator", &[("secret", OPERATOR_TOKEN)]);
    let late = shown.bringing(&visitor.cookie);
    for (mut second, path) in [(shown, "/operator?late"), (late, "/operator")] {
        let answer = second.post("/operator", &[("secret", OPERATOR_TOKEN)]);
        assert_eq!(answer.leads_to(), (303, Some(path)));
        assert_eq!(answer.header("set-cookie"), None);
        let page = visitor.get(path);
        assert!(page.between("id=\"live\">", "<").is_some(), "{}", page.body);
    }
}

#[test]
fn a_form_of_a_session_that_has_expired_says_so() {
    let (_home, site) = demo();
    let mut visitor = Visitor::new(&site);
    visitor.get("/");
    // The id of a session that has expired, as after 15 minutes.
    let gone = format!("session={}", "A".repeat(43));
    let mut late = visitor.bringing(&Some(gone));
    for (form, field) in [("/login", "name"), ("/operator", "secret")] {
        let answer = late.post(form, &[(field, "alice")]);
        let (status, path) = answer.leads_to();
        assert_eq!(status, 303, "{form}");
        let page = late.get(path.unwrap());
        assert_eq!(page.status, 403, "{form}");
        assert!(page.body.contains("15 minutes"), "{}", page.body);
    }
}

/// Requests with the old id reach the site after the log-in.
#[test]
fn a_late_request_of_a_tab_does_not_undo_a_log_in() {
    let (_home, site) = demo();
    let mut visitor = Visitor::new(&site);
    visitor.get("/");
    let late = visitor.clone();
    visitor.post("/login", &[("name", "alice")]);

    for (path, again) in [("/", "/?again"), ("/operator", "/operator?again")] {
        let mut tab = late.clone();
        let answer = tab.get(path);
        assert_eq!(answer.leads_to(), (303, Some(again)));
        assert_eq!(answer.header("set-cookie"), None, "{path}");
        // By now the browser has the cookie of the log-in.
        tab.cookie = visitor.cookie.clone();
        let answer = tab.get(again);
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(answer.header("set-cookie"), None, "{path}");
    }
    let page = visitor.get("/");
    assert_eq!(page.visits(), 3);
    assert_eq!(page.between("id=\"user\">", "<").as_deref(), Some("alice"));
}

#[test]
fn a_visitor_with_an_ended_id_gets_a_new_session() {
    let (_home, site) = demo();
    for (path, visits) in [("/?again", 2), ("/operator?again", 1)] {
        let mut visitor = Visitor::new(&site);
        visitor.cookie = Some(format!("session={INVENTED}"));
        let answer = visitor.get(path);
        assert_eq!(answer.status, 200, "{path}");
        assert!(answer.header("set-cookie").is_some(), "{path}");
        assert_eq!(visitor.get("/").visits(), visits, "{path}");
    }
}
