//! The reasons for which a request has no response from the component, and the
//! response that its client gets instead.

use http_body_util::{BodyExt, Full};
use hyper::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;

/// Why a component has not responded to a request, or not completely.
#[derive(Debug)]
pub(super) enum Failure {
    /// The request's target or host is missing, invalid or ambiguous.
    Malformed,
    /// Its method is `CONNECT`, which only proxies support.
    NotImplemented,
    /// Its body is longer than the limit.
    TooLarge,
    /// Its body was truncated, or is malformed.
    Cut,
    /// Its body did not arrive in time.
    Late,
    /// No instance was free in time.
    Busy,
    /// The instance trapped, for the reason in the text.
    Trapped(String),
    /// The instance took too long.
    TimedOut,
    /// The server is stopping.
    Stopped,
    /// The instance ended without a response.
    Silent,
    /// The instance responded with a `wasi:http` error.
    Refused,
    /// The instance responded with an interim status, which is not a final response.
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

    /// The text for the log, if the component caused the failure.
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

    /// A response in plain text. The connection is closed after it if a part of the
    /// request may be unread.
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
