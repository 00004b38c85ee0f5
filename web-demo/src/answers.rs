//! The responses, with the headers that they share.

#![forbid(unsafe_code)]

use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION,
    REFERRER_POLICY, RETRY_AFTER, SET_COOKIE, X_CONTENT_TYPE_OPTIONS,
};
use http::{Response, StatusCode};
use maud::Markup;

use crate::pages;

/// The response to a visitor's request.
pub type Answer = Response<String>;

/// Pages load only this site's stylesheet, and forms are sent only to this site.
const POLICY: &str = "default-src 'none'; style-src 'self'; img-src data:; form-action 'self'; \
                      frame-ancestors 'none'; base-uri 'none'";

/// A page of HTML.
pub fn page(status: StatusCode, markup: Markup) -> Answer {
    answer(status, "text/html; charset=utf-8", markup.into_string())
}

/// The stylesheet, which browsers may cache.
pub fn style() -> Answer {
    let style = include_str!("style.css").to_owned();
    let style = answer(StatusCode::OK, "text/css; charset=utf-8", style);
    with(
        style,
        CACHE_CONTROL,
        HeaderValue::from_static("max-age=300"),
    )
}

/// Redirects the visitor to another page of this site.
pub fn see_other(path: &str) -> Answer {
    let answer = answer(
        StatusCode::SEE_OTHER,
        "text/plain; charset=utf-8",
        String::new(),
    );
    with(answer, LOCATION, value(path))
}

/// A page that says why the request was refused.
pub fn refused(status: StatusCode, words: &str) -> Answer {
    page(status, pages::refusal(status, words))
}

/// The answer for an unknown path.
pub fn not_found() -> Answer {
    refused(StatusCode::NOT_FOUND, "There is nothing at this address.")
}

/// The answer for a method that the path does not have; `allowed` is the value of `Allow`.
pub fn method_not_allowed(allowed: &'static str) -> Answer {
    let words = "This address does not do that.";
    let answer = refused(StatusCode::METHOD_NOT_ALLOWED, words);
    with(answer, ALLOW, HeaderValue::from_static(allowed))
}

/// The answer while another owner holds the store.
pub fn busy() -> Answer {
    let words = "Too much is going on at once. Please try again.";
    let answer = refused(StatusCode::SERVICE_UNAVAILABLE, words);
    with(answer, RETRY_AFTER, HeaderValue::from_static("1"))
}

/// The answer when no try of the operator's token is left.
pub fn too_many_tries() -> Answer {
    let words = "The token was tried too often, here or elsewhere. It was not checked: \
                 please try again in a moment.";
    let answer = refused(StatusCode::TOO_MANY_REQUESTS, words);
    with(answer, RETRY_AFTER, HeaderValue::from_static("1"))
}

/// The answer when the session could not be ended: removes only the cookie.
pub fn logged_out_here_only(cookie: &str) -> Answer {
    let words = "This browser has forgotten your session, but the session itself could not be \
                 ended: it goes on until it expires, for anyone who has a copy of its cookie. \
                 To end it, log in again and end it in the list of your sessions.";
    let answer = refused(StatusCode::INTERNAL_SERVER_ERROR, words);
    with_cookie(answer, cookie)
}

/// Adds `Set-Cookie` with this value to the answer.
pub fn with_cookie(answer: Answer, cookie: &str) -> Answer {
    with(answer, SET_COOKIE, value(cookie))
}

fn answer(status: StatusCode, kind: &'static str, body: String) -> Answer {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    for (name, text) in [
        (CONTENT_TYPE, kind),
        (CACHE_CONTROL, "no-store"),
        (CONTENT_SECURITY_POLICY, POLICY),
        (REFERRER_POLICY, "same-origin"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ] {
        answer = with(answer, name, HeaderValue::from_static(text));
    }
    answer
}

fn with(mut answer: Answer, name: HeaderName, value: HeaderValue) -> Answer {
    answer.headers_mut().insert(name, value);
    answer
}

/// The value of a header that this site has composed.
fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("paths and cookies of this site are ASCII")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_says_what_it_is_and_what_it_may_load() {
        for answer in [
            see_other("/account"),
            not_found(),
            method_not_allowed("POST"),
            busy(),
            too_many_tries(),
            logged_out_here_only("session="),
            style(),
        ] {
            for name in [
                CONTENT_TYPE,
                CACHE_CONTROL,
                CONTENT_SECURITY_POLICY,
                REFERRER_POLICY,
                X_CONTENT_TYPE_OPTIONS,
            ] {
                assert!(answer.headers().contains_key(&name), "{name}");
            }
        }
        assert_eq!(not_found().headers()[CACHE_CONTROL], "no-store");
    }
}
