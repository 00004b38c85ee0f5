//! The web demo does what it should, and nothing that a stranger would like it to.

use std::thread;
use std::time::{Duration, Instant};

use crate::fixture::{Home, listed};
use crate::served::{Answer, Site};
use crate::visitors::{OPERATOR_TOKEN, Visitor, serve};

/// An id that is none of this store's.
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
    // It counts no visit, because it shows no page.
    assert_eq!(head.header("set-cookie"), None);
    assert_eq!(visitor.get("/").visits(), 1);
    assert_eq!(visitor.send("HEAD", "/", "").status, 200);
    assert_eq!(visitor.get("/").visits(), 2);
}

#[test]
fn a_visitor_who_comes_once_leaves_little_behind() {
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

    // Too many of them do: the look-ups for one request are bounded.
    visitor.cookie = Some(format!("{}{own}", format!("{invented}; ").repeat(8)));
    assert_eq!(visitor.get("/").leads_to(), (303, Some("/?again")));

    // Logging in and out works beside them, too.
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
fn an_id_that_a_visitor_brings_is_never_taken_for_a_new_session() {
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
    // Whoever knows the old id has nothing with it.
    before.post("/login", &[("name", "Mallory")]);
    assert_eq!(visitor.get("/account").sessions(), 1);
    assert_eq!(before.get("/account").leads_to(), (303, Some("/")));
    assert_eq!(before.get("/?again").visits(), 1);
}

/// The three ways in which a second click can reach the site: with the old cookie
/// and token, with the new cookie and the old token, or at the same time as the
/// first.
#[test]
fn a_second_click_on_log_in_leads_where_the_first_did() {
    let (home, site) = demo();
    let mut visitor = Visitor::new(&site);
    visitor.get("/");
    let shown = visitor.clone();
    visitor.post("/login", &[("name", "alice")]);

    let early = shown.clone();
    let late = shown.bringing(&visitor.cookie);
    for (second, name) in [(&early, "alice"), (&late, "alice"), (&late, "bob")] {
        let answer = second.clone().post("/login", &[("name", name)]);
        assert_eq!(answer.leads_to(), (303, Some("/account")));
        assert_eq!(answer.header("set-cookie"), None);
    }
    assert_eq!(visitor.get("/account").sessions(), 1);

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
            .all(|click| click.leads_to() == (303, Some("/account")))
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
        // A newer session is not touched.
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
    for mut second in [shown, late] {
        let answer = second.post("/operator", &[("secret", OPERATOR_TOKEN)]);
        assert_eq!(answer.leads_to(), (303, Some("/operator")));
        assert_eq!(answer.header("set-cookie"), None);
    }
}

/// Its requests with the old id reach the site when the login is done.
#[test]
fn a_tab_that_comes_late_does_not_undo_a_login() {
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
        // The browser has the cookie of the login by now.
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
fn who_comes_again_with_an_ended_id_has_a_new_session() {
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
fn a_form_that_this_visitor_was_not_shown_is_refused() {
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
            // There is nothing to do; see the tests of second clicks.
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
fn nobody_ends_a_session_of_somebody_else() {
    let (home, site) = demo();
    let mut alice = Visitor::logged_in(&site, "alice");
    let mut again = Visitor::logged_in(&site, "alice");
    let handle = alice.get("/account").value_of("handle").unwrap();

    let mut mallory = Visitor::logged_in(&site, "mallory");
    mallory.get("/account");
    for handle in [handle.as_str(), "", "x", &"0".repeat(64)] {
        let answer = mallory.post("/sessions/end", &[("handle", handle)]);
        // The answer is the same as for a missing session, so that it discloses
        // nothing.
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
fn logging_out_everywhere_else_spares_this_browser_and_other_people() {
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
fn logging_out_ends_the_session_and_takes_the_cookie_away() {
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
fn a_failed_log_out_removes_the_cookie_and_says_what_is_left() {
    let (home, site) = demo();
    let mut alice = Visitor::logged_in(&site, "alice");
    alice.get("/account");
    let (cookie, token) = (alice.cookie.clone(), alice.token.clone());
    drop(site);
    home.sabotage("BEFORE UPDATE ON Sessions");
    let site = serve(&home);
    let mut alice = Visitor::new(&site).bringing(&cookie);
    alice.token = token;
    // A failed renewal hides no page.
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

#[test]
fn the_tries_of_the_operators_token_are_limited() {
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

    // The tries are shared by all visitors, and the right token has to wait, too,
    // for a moment.
    let mut operator = Visitor::new(&site);
    operator.get("/operator");
    let started = Instant::now();
    loop {
        let answer = operator.post("/operator", &[("secret", OPERATOR_TOKEN)]);
        if answer.leads_to() == (303, Some("/operator")) {
            break;
        }
        assert_eq!(answer.status, 429);
        assert!(started.elapsed() < Duration::from_secs(20));
    }
    // An operator who is logged in needs no try.
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
    // The site's count of tries is a session, too.
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
fn what_is_not_there_or_not_meant_is_refused_with_the_right_status() {
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
fn every_answer_says_what_it_is_and_what_it_may_load() {
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
fn a_store_that_fails_is_a_page_of_its_own() {
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
    assert!(failed.body.contains("Nothing was done."));
    assert!(
        !failed
            .body
            .contains(cookie.strip_prefix("session=").unwrap())
    );
    // Others are served.
    assert_eq!(Visitor::new(&site).get("/").status, 200);
}
