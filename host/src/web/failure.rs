//! Why a request has no response of the component, and what its client gets instead.

use http_body_util::{BodyExt, Full};
use hyper::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;

/// Why a component has no response to a request, or not all of it.
#[derive(Debug)]
pub(super) enum Failure {
    /// The request does not say what it is for, or contradicts itself.
    Malformed,
    /// Its method is one that only proxies have.
    NotImplemented,
    /// Its body is longer than the limit.
    TooLarge,
    /// Its body ended too early, or is no body.
    Cut,
    /// Its body did not come in time.
    Late,
    /// No instance was free in time.
    Busy,
    /// The instance trapped; says how.
    Trapped(String),
    /// The instance took too long.
    TimedOut,
    /// The server stops.
    Stopped,
    /// The instance ended without a response.
    Silent,
    /// The instance responded with an error of its own.
    Refused,
    /// The instance responded with an interim status, which is no response.
    Interim,
}

impl Failure {
    fn status(&self) -> StatusCode {
        match self {
            Self::Malformed | Self::Cut => StatusCode::BAD_REQUEST,
            Self::NotImplemented => StatusCode::NOT_IMPLEMENTED,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Late => StatusCode::REQUEST_TIMEOUT,
            Self::Busy | Self::Stopped => StatusCode::SERVICE_UNAVAILABLE,
            Self::TimedOut => StatusCode::GATEWAY_TIMEOUT,
            Self::Trapped(_) | Self::Silent | Self::Refused | Self::Interim => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
        }
    }

    /// What the log says beside the status, where that is about the component.
    pub(super) fn reason(&self) -> Option<&str> {
        let reason = match self {
            Self::Trapped(reason) => reason,
            Self::TimedOut => "the component took too long",
            Self::Silent => "the component ended without a response",
            Self::Refused => "the component responded with an error",
            Self::Interim => "the component responded with a status below 200",
            Self::Malformed
            | Self::NotImplemented
            | Self::TooLarge
            | Self::Cut
            | Self::Late
            | Self::Busy
            | Self::Stopped => return None,
        };
        Some(reason)
    }

    /// A response in plain words, after which the connection is closed where
    /// something of the request may be left unread.
    pub(super) fn response(&self) -> Response<HyperOutgoingBody> {
        let status = self.status();
        let words = format!("{status}\n");
        let body = Full::from(words).map_err(|never| match never {});
        let mut response = Response::new(body.boxed_unsync());
        *response.status_mut() = status;
        let headers = response.headers_mut();
        let text = HeaderValue::from_static("text/plain; charset=utf-8");
        headers.insert(CONTENT_TYPE, text);
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        response
    }
}
