//! What each route does: answers a request with the help of the store.

use std::env;

use http::header::USER_AGENT;
use http::{Method, Request, StatusCode};

use crate::answers::{self, Answer};
use crate::forms::{self, Form};
use crate::pages::{self, Viewer};
use crate::routes::Route;
use crate::session::{Current, Error, Sessions};
use crate::{browser, cookies, secrets, times};

/// Why a request is not carried out.
enum Refused {
    /// The visitor is not logged in, and is redirected to the start page.
    NotLoggedIn,
    /// The session of a form had ended before the form was sent.
    SessionEnded,
    /// The form does not come from a page that this visitor was shown.
    Foreign,
    /// The same form was sent before, by the first click of a double click. Redirects to
    /// the page to which the first answer led.
    Done(&'static str),
    NotFound,
    Store(Error),
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}

/// Answers a request with its complete body.
pub fn answer(request: Request<Vec<u8>>, route: Route) -> Answer {
    let page: fn(&Site) -> Result<Answer, Refused> = match route {
        Route::Style => return answers::style(),
        Route::Home => Site::home,
        Route::LogIn => Site::log_in,
        Route::LogOut => Site::log_out,
        Route::Account => Site::account,
        Route::End => Site::end,
        Route::EndOthers => Site::end_others,
        Route::Operator => Site::operator,
        Route::OperatorToken => Site::operator_token,
        Route::Collect => Site::collect,
    };
    let (uri, headers) = (request.uri(), request.headers());
    let secure = cookies::is_secure(uri, headers);
    let foreign = request.method() == Method::POST && forms::is_foreign(uri, headers, secure);
    let answer = match foreign {
        true => Err(Refused::Foreign),
        false => Site::open(request, secure).and_then(|site| page(&site)),
    };
    answer.unwrap_or_else(|refused| match refused {
        Refused::NotLoggedIn => answers::see_other("/"),
        Refused::SessionEnded => answers::refused(
            StatusCode::FORBIDDEN,
            "Your session had ended before you sent the form: a new one lives for 15 minutes, \
             and for a day from your second request on. Nothing was done. Please start again.",
        ),
        Refused::Foreign => answers::refused(
            StatusCode::FORBIDDEN,
            "This form is not from a page that you were shown, or your session has ended \
             since, or your browser keeps no cookies. Nothing was done.",
        ),
        Refused::Done(path) => answers::see_other(path),
        Refused::NotFound => answers::not_found(),
        Refused::Store(error) => failed(&error, route, secure),
    })
}

/// The answer when the store failed. A log-out still removes the cookie.
fn failed(error: &Error, route: Route, secure: bool) -> Answer {
    // No error of the store carries an id or a payload.
    eprintln!("the session store failed: {error}");
    match (route, error) {
        (Route::LogOut, _) => answers::logged_out_here_only(&cookies::without_id(secure)),
        (_, Error::Busy) => answers::busy(),
        _ => {
            let words = "The sessions cannot be reached. Please try again.";
            answers::refused(StatusCode::INTERNAL_SERVER_ERROR, words)
        }
    }
}

/// One request and the store.
struct Site {
    request: Request<Vec<u8>>,
    sessions: Sessions,
    /// The ids in the request's cookies.
    ids: Vec<String>,
    secure: bool,
}

impl Site {
    fn open(request: Request<Vec<u8>>, secure: bool) -> Result<Self, Refused> {
        Ok(Self {
            sessions: Sessions::open()?,
            ids: cookies::ids(request.headers(), secure),
            secure,
            request,
        })
    }

    /// The start page. This is the only `GET` that changes a session: it counts the visit.
    /// A foreign page that makes a browser count a visit does no harm.
    fn home(&self) -> Result<Answer, Refused> {
        let page = |viewer: Viewer, visits| {
            let page = pages::home(viewer, visits, None);
            answers::page(StatusCode::OK, page)
        };
        let counted = match self.shows_a_page() {
            true => self.first(|id| self.sessions.count_visit(id))?,
            false => self.current()?,
        };
        match counted {
            Some(current) => Ok(page(viewer(&current), current.visit.visits)),
            None => self.start(1, |viewer| page(viewer, 1)),
        }
    }

    fn log_in(&self) -> Result<Answer, Refused> {
        const DONE: &str = "/account";
        let (current, form) =
            self.form_once(DONE, "/account?late", |current| current.user.is_some())?;
        if current.user.is_some() {
            return Ok(answers::see_other(DONE));
        }
        let Some(name) = forms::name(form.field("name")) else {
            let refused = Some(form.field("name"));
            let page = pages::home(viewer(&current), current.visit.visits, refused);
            return Ok(answers::page(StatusCode::BAD_REQUEST, page));
        };
        let user_agent = self.request.headers().get(USER_AGENT);
        let user_agent =
            user_agent.map_or("".into(), |text| String::from_utf8_lossy(text.as_bytes()));
        let browser = browser::name(&user_agent);
        let id = self.sessions.log_in(&current.id, name, &browser)?;
        Ok(self.give(&id.ok_or(Refused::Done(DONE))?, answers::see_other(DONE)))
    }

    fn log_out(&self) -> Result<Answer, Refused> {
        const DONE: &str = "/";
        if self.ids.is_empty() {
            return Err(Refused::Done(DONE));
        }
        let (current, _) = self.form_once(DONE, DONE, |current| !may_log_out(current))?;
        self.sessions.log_out(&current.id)?;
        let cookie = cookies::without_id(self.secure);
        Ok(answers::with_cookie(answers::see_other(DONE), &cookie))
    }

    fn account(&self) -> Result<Answer, Refused> {
        let not_logged_in = || match self.is_late() {
            true => Refused::SessionEnded,
            false => Refused::NotLoggedIn,
        };
        let current = self.current()?.ok_or_else(not_logged_in)?;
        let user = current.user.as_deref().ok_or_else(not_logged_in)?;
        let (sessions, more) = self.sessions.list(user)?;
        let mut listed: Vec<pages::Listed> = sessions
            .into_iter()
            .map(|session| pages::Listed {
                handle: session.handle,
                // No two sessions have the same token.
                present: secrets::same(&session.visit.token, &current.visit.token),
                browser: session.visit.browser,
                since: session.visit.since,
                updated: session.updated,
            })
            .collect();
        listed.sort_by_key(|session| (!session.present, u64::MAX - session.since));
        let page = pages::account(viewer(&current), times::now(), &listed, more);
        Ok(answers::page(StatusCode::OK, page))
    }

    /// Ends a session of the user. Redirects to the list whether or not there was such a
    /// session, so that it discloses nothing about other users' sessions.
    fn end(&self) -> Result<Answer, Refused> {
        let (current, form) = self.form()?;
        let user = current.user.as_deref().ok_or(Refused::NotLoggedIn)?;
        self.sessions.end(user, form.field("handle"))?;
        Ok(answers::see_other("/account"))
    }

    fn end_others(&self) -> Result<Answer, Refused> {
        let (current, _) = self.form()?;
        let user = current.user.as_deref().ok_or(Refused::NotLoggedIn)?;
        self.sessions.end_others(user, &current.id)?;
        Ok(answers::see_other("/account"))
    }

    fn operator(&self) -> Result<Answer, Refused> {
        operator_secret()?;
        let current = self.current()?;
        if self.is_late()
            && !current
                .as_ref()
                .is_some_and(|current| current.visit.operator)
        {
            return Err(Refused::SessionEnded);
        }
        let Some(current) = current else {
            // The form needs a token, and so a session.
            return self.start(0, |viewer| {
                let page = pages::operator_token(viewer, false);
                answers::page(StatusCode::OK, page)
            });
        };
        let page = if current.visit.operator {
            let statistics = self.sessions.statistics()?;
            let figures = pages::Figures {
                engine: statistics.engine,
                live: statistics.live,
                expired: statistics.expired,
                collected: statistics.collected,
                size: statistics.size,
            };
            pages::operator(viewer(&current), &figures, self.removed())
        } else {
            pages::operator_token(viewer(&current), false)
        };
        Ok(answers::page(StatusCode::OK, page))
    }

    /// Makes a visitor who sends the token an operator, until the session ends or the
    /// operator logs out.
    fn operator_token(&self) -> Result<Answer, Refused> {
        const DONE: &str = "/operator";
        let secret = operator_secret()?;
        let (current, form) =
            self.form_once(DONE, "/operator?late", |current| current.visit.operator)?;
        if !self.sessions.take_try()? {
            return Ok(answers::too_many_tries());
        }
        if !secrets::same(form.field("secret"), &secret) {
            let page = pages::operator_token(viewer(&current), true);
            return Ok(answers::page(StatusCode::FORBIDDEN, page));
        }
        let id = self.sessions.make_operator(&current.id)?;
        Ok(self.give(&id.ok_or(Refused::Done(DONE))?, answers::see_other(DONE)))
    }

    fn collect(&self) -> Result<Answer, Refused> {
        operator_secret()?;
        let (current, _) = self.form()?;
        if !current.visit.operator {
            return Err(Refused::Foreign);
        }
        let removed = self.sessions.collect()?;
        Ok(answers::see_other(&format!("/operator?removed={removed}")))
    }

    /// Starts a session for a visitor without one, and answers with `page`.
    ///
    /// A browser that sends the id of an ended session may have a newer cookie by now, if
    /// another tab has logged in meanwhile, and a cookie from here would replace that one.
    /// So the browser is redirected once, and then sends its newest cookie.
    ///
    /// A request that shows no page starts no session.
    fn start(&self, visits: u64, page: impl Fn(Viewer) -> Answer) -> Result<Answer, Refused> {
        let uri = self.request.uri();
        if !self.ids.is_empty() && uri.query() != Some("again") {
            return Ok(answers::see_other(&format!("{}?again", uri.path())));
        }
        if !self.shows_a_page() {
            return Ok(page(Viewer::default()));
        }
        let current = self.sessions.start(visits)?;
        Ok(self.give(&current.id, page(viewer(&current))))
    }

    /// The visitor's session and the form. Refuses a form without the token of that
    /// session.
    fn form(&self) -> Result<(Current, Form), Refused> {
        let form = Form::parse(self.request.body());
        let current = self.current()?.ok_or(Refused::Foreign)?;
        match secrets::same(form.field("token"), &current.visit.token) {
            true => Ok((current, form)),
            false => Err(Refused::Foreign),
        }
    }

    /// Like [`form`](Self::form), for a request that changes the id.
    ///
    /// A second click sends the same form again: with the id that the first answer has
    /// replaced, or with the new id and the token of the old page. If `is_done` says that
    /// the session is in the wanted state, redirects to `done`, like the first answer. If
    /// the session is gone, redirects to `late`, the same page with a query, which says so
    /// unless the browser has a newer session by then. A redirect changes nothing, so it
    /// needs no token.
    fn form_once(
        &self,
        done: &'static str,
        late: &'static str,
        is_done: fn(&Current) -> bool,
    ) -> Result<(Current, Form), Refused> {
        let form = Form::parse(self.request.body());
        match self.current()? {
            Some(current) if secrets::same(form.field("token"), &current.visit.token) => {
                Ok((current, form))
            }
            Some(current) if is_done(&current) => Err(Refused::Done(done)),
            None if !self.ids.is_empty() => Err(Refused::Done(late)),
            _ => Err(Refused::Foreign),
        }
    }

    fn current(&self) -> Result<Option<Current>, Refused> {
        self.first(|id| self.sessions.find(id))
    }

    /// The first session that exists among the ids in the request.
    fn first(
        &self,
        find: impl Fn(&str) -> Result<Option<Current>, Error>,
    ) -> Result<Option<Current>, Refused> {
        for id in &self.ids {
            if let Some(current) = find(id)? {
                return Ok(Some(current));
            }
        }
        Ok(None)
    }

    /// Whether a form of an ended session was redirected here.
    fn is_late(&self) -> bool {
        self.request.uri().query() == Some("late")
    }

    fn shows_a_page(&self) -> bool {
        browser::shows_a_page(self.request.method(), self.request.headers())
    }

    /// The number of rows that a collection removed, from the query.
    fn removed(&self) -> Option<u64> {
        let query = self.request.uri().query()?;
        Form::parse(query.as_bytes()).field("removed").parse().ok()
    }

    /// Adds a cookie with a new id to the answer.
    fn give(&self, id: &str, answer: Answer) -> Answer {
        answers::with_cookie(answer, &cookies::with_id(id, self.secure))
    }
}

fn viewer(current: &Current) -> Viewer<'_> {
    Viewer {
        user: current.user.as_deref(),
        token: &current.visit.token,
    }
}

/// Whether the session is that of a user or an operator. Others cannot log out.
fn may_log_out(current: &Current) -> bool {
    current.user.is_some() || current.visit.operator
}

/// The operator's token from the environment; without it there is no operator's page.
fn operator_secret() -> Result<String, Refused> {
    let secret = env::var("OPERATOR_TOKEN").ok();
    secret
        .filter(|secret| !secret.is_empty())
        .ok_or(Refused::NotFound)
}
