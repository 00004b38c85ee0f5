//! The pages. `html!` escapes all values.

#![forbid(unsafe_code)]

use http::StatusCode;
use maud::{DOCTYPE, Markup, html};

use crate::forms::LONGEST_NAME;
use crate::times::{ago, date};

/// The visitor for whom a page is made.
#[derive(Clone, Copy, Default)]
pub struct Viewer<'a> {
    /// The name of the user, if logged in.
    pub user: Option<&'a str>,
    /// The token in the visitor's forms.
    pub token: &'a str,
}

/// A session in the list of a user's sessions.
pub struct Listed {
    /// Its handle, which the button that ends it sends.
    pub handle: String,
    /// The browser that logged in.
    pub browser: String,
    /// The time of the log-in, in milliseconds since the epoch.
    pub since: u64,
    /// When the session was last written.
    pub updated: u64,
    /// Whether it is the session of the viewer.
    pub present: bool,
}

/// The figures of the store on the operator's page.
pub struct Figures {
    /// The engine and its version.
    pub engine: String,
    /// Live sessions.
    pub live: u64,
    /// Rows waiting for collection.
    pub expired: u64,
    /// Rows collected since the store was opened.
    pub collected: u64,
    /// Size of the database, in bytes.
    pub size: u64,
}

/// The start page. `refused` is a name that was refused at log-in.
pub fn home(viewer: Viewer, visits: u64, refused: Option<&str>) -> Markup {
    let times = if visits == 1 { "visit" } else { "visits" };
    let body = html! {
        section .card.centered {
            p .count #visits { (visits) }
            h1 { (times) " from this browser" }
            p .quiet {
                "Counted in your session, which another component keeps. "
                "Load the page again to count on."
            }
        }
        @match viewer.user {
            Some(user) => section .card.row {
                div {
                    h2 { "Hello, " span #user { (user) } }
                    p .quiet { "Your count came along when you logged in." }
                }
                form method="get" action="/account" { button { "Your sessions" } }
            },
            None => (log_in(viewer, refused)),
        }
    };
    layout("Visits", "/", viewer, &body)
}

fn log_in(viewer: Viewer, refused: Option<&str>) -> Markup {
    html! {
        section .card {
            h2 { "Log in" }
            p .quiet { "Any name will do, and there is no password: this is a demonstration." }
            @if refused.is_some() {
                p .alert #name-problem role="alert" {
                    "A name has 1 to " (LONGEST_NAME) " characters."
                }
            }
            form method="post" action="/login" {
                (hidden(viewer))
                label for="name" { "Your name" }
                div .row {
                    input #name name="name" value=(refused.unwrap_or_default()) required
                        maxlength=(LONGEST_NAME) autocomplete="username"
                        aria-invalid=[refused.map(|_| "true")]
                        aria-describedby=[refused.map(|_| "name-problem")];
                    button { "Log in" }
                }
            }
        }
    }
}

/// The page with the sessions of the user who is logged in; `more` says whether there
/// are others that are not shown.
pub fn account(viewer: Viewer, now: u64, sessions: &[Listed], more: bool) -> Markup {
    let body = html! {
        section .card {
            h1 { "Your sessions" }
            p .quiet {
                "Where " (viewer.user.unwrap_or_default()) " is logged in. "
                "End what you do not recognise."
            }
            ul .list #sessions {
                @for session in sessions { li .row { (listed(viewer, now, session)) } }
            }
            @if more { p .notice { "There are more sessions than are shown here." } }
            div .actions {
                @if sessions.len() > 1 {
                    (button(viewer, "/sessions/end-others", Some("danger"), "Log out everywhere else"))
                }
                (button(viewer, "/logout", Some("second"), "Log out"))
            }
        }
    };
    layout("Your sessions", "/account", viewer, &body)
}

fn listed(viewer: Viewer, now: u64, session: &Listed) -> Markup {
    html! {
        div {
            p {
                strong { (session.browser) }
                @if session.present { span .badge { "This browser" } }
            }
            p .quiet {
                "Logged in " (moment(now, session.since))
                ", last visit " (moment(now, session.updated))
            }
        }
        @if !session.present {
            form method="post" action="/sessions/end" {
                (hidden(viewer))
                input type="hidden" name="handle" value=(session.handle);
                button .danger aria-label={ "End the session of " (session.browser) } { "End" }
            }
        }
    }
}

fn moment(now: u64, then: u64) -> Markup {
    let date = date(then);
    html! { time datetime=(date) title=(date) { (ago(now, then)) } }
}

/// The page that asks for the operator's token; `wrong` after a wrong one.
pub fn operator_token(viewer: Viewer, wrong: bool) -> Markup {
    let body = html! {
        section .card {
            h1 { "Operator" }
            @if wrong {
                p .alert #secret-problem role="alert" { "That is not the operator's token." }
            }
            form method="post" action="/operator" {
                (hidden(viewer))
                label for="secret" { "Token" }
                div .row {
                    input #secret name="secret" type="password" required
                        autocomplete="current-password"
                        aria-invalid=[wrong.then_some("true")]
                        aria-describedby=[wrong.then_some("secret-problem")];
                    button { "Continue" }
                }
            }
        }
    };
    layout("Operator", "/operator", viewer, &body)
}

/// The operator's page; `removed` is the result of a collection just made.
pub fn operator(viewer: Viewer, figures: &Figures, removed: Option<u64>) -> Markup {
    let body = html! {
        section .card {
            h1 { "Operator" }
            p .quiet { (figures.engine) }
            @if let Some(removed) = removed {
                p .notice #removed role="status" { "Rows removed: " (removed) "." }
            }
            dl .figures {
                (figure("live", "Sessions", &figures.live.to_string()))
                (figure("expired", "To be collected", &figures.expired.to_string()))
                (figure("collected", "Collected", &figures.collected.to_string()))
                (figure("size", "Database", &size(figures.size)))
            }
            div .actions {
                (button(viewer, "/operator/collect", None, "Collect"))
                (button(viewer, "/logout", Some("second"), "Log out"))
            }
        }
    };
    layout("Operator", "/operator", viewer, &body)
}

fn figure(id: &str, name: &str, value: &str) -> Markup {
    html! { div { dt { (name) } dd id=(id) { (value) } } }
}

fn size(bytes: u64) -> String {
    match bytes {
        0..1_000_000 => format!("{} kB", bytes.div_ceil(1000)),
        _ => format!("{}.{} MB", bytes / 1_000_000, bytes / 100_000 % 10),
    }
}

/// A page that says why a request was refused.
pub fn refusal(status: StatusCode, words: &str) -> Markup {
    let title = status.canonical_reason().unwrap_or("Refused");
    let body = html! {
        section .card {
            h1 { (title) }
            p { (words) }
            p { a href="/" { "Go to the start page" } }
        }
    };
    layout(title, "", Viewer::default(), &body)
}

/// A form that consists of one button.
fn button(viewer: Viewer, action: &str, class: Option<&str>, label: &str) -> Markup {
    html! {
        form method="post" action=(action) {
            (hidden(viewer))
            button class=[class] { (label) }
        }
    }
}

/// The hidden token that proves that a form is from a page shown to this visitor.
fn hidden(viewer: Viewer) -> Markup {
    html! { input type="hidden" name="token" value=(viewer.token); }
}

fn layout(title: &str, path: &str, viewer: Viewer, body: &Markup) -> Markup {
    let link = |target: &str, label: &str| {
        let current = (path == target).then_some("page");
        html! { a href=(target) aria-current=[current] { (label) } }
    };
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) " · wasi-sessions" }
                link rel="icon" href="data:,";
                link rel="stylesheet" href="/style.css";
            }
            body {
                header {
                    a .brand href="/" { "wasi-sessions" }
                    @if viewer.user.is_some() { (link("/", "Visits")) (link("/account", "Sessions")) }
                }
                main { (body) }
                footer { p { "One WebAssembly component shows this page, another keeps its sessions." } }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: &str = "\"><script>alert('x')</script>&";
    const ESCAPED: &str = "&quot;&gt;&lt;script&gt;alert('x')&lt;/script&gt;&amp;";

    fn hostile() -> Viewer<'static> {
        Viewer {
            user: Some(HOSTILE),
            token: HOSTILE,
        }
    }

    #[test]
    fn everything_in_a_page_is_escaped() {
        let session = |present| Listed {
            handle: HOSTILE.to_owned(),
            browser: HOSTILE.to_owned(),
            since: 0,
            updated: 0,
            present,
        };
        let figures = Figures {
            engine: HOSTILE.to_owned(),
            live: 1,
            expired: 2,
            collected: 3,
            size: 4,
        };
        let stranger = Viewer {
            user: None,
            ..hostile()
        };
        for page in [
            home(hostile(), 1, None),
            home(stranger, 1, Some(HOSTILE)),
            account(hostile(), 0, &[session(true), session(false)], true),
            operator_token(hostile(), true),
            operator(hostile(), &figures, Some(1)),
            refusal(StatusCode::NOT_FOUND, HOSTILE),
        ] {
            let page = page.into_string();
            assert!(page.contains(ESCAPED), "{page}");
            assert!(!page.contains("<script"), "{page}");
            assert!(!page.contains("\"\""), "{page}");
        }
    }

    #[test]
    fn only_other_sessions_have_a_button_to_end_them() {
        let session = |present| Listed {
            handle: "h".to_owned(),
            browser: "b".to_owned(),
            since: 0,
            updated: 0,
            present,
        };
        let buttons = |sessions: &[Listed]| {
            let page = account(hostile(), 0, sessions, false).into_string();
            (
                page.matches("/sessions/end\"").count(),
                page.matches("/sessions/end-others").count(),
            )
        };
        assert_eq!(buttons(&[session(true)]), (0, 0));
        assert_eq!(buttons(&[session(true), session(false)]), (1, 1));
    }

    #[test]
    fn sizes_have_few_digits() {
        assert_eq!(size(0), "0 kB");
        assert_eq!(size(20_480), "21 kB");
        assert_eq!(size(999_999), "1000 kB");
        assert_eq!(size(12_345_678), "12.3 MB");
    }
}
