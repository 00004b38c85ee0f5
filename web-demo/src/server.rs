//! The entry: one request in, one answer out.

use http_body_util::{BodyExt, LengthLimitError, Limited};
use wstd::http::{Body, Error, Method, Request, Response, StatusCode};

use crate::answers::{self, Answer};
use crate::routes::{self, NoRoute};
use crate::{forms, site};

#[wstd::http_server]
async fn main(request: Request<Body>) -> Result<Response<Body>, Error> {
    let without_body = request.method() == Method::HEAD;
    let (parts, body) = answer(request).await?.into_parts();
    let body = if without_body { String::new() } else { body };
    Ok(Response::from_parts(parts, body.into()))
}

async fn answer(request: Request<Body>) -> Result<Answer, Error> {
    let route = match routes::route(request.method(), request.uri().path()) {
        Ok(route) => route,
        Err(NoRoute::NotFound) => return Ok(answers::not_found()),
        Err(NoRoute::MethodNotAllowed(allowed)) => {
            return Ok(answers::method_not_allowed(allowed));
        }
    };
    let (parts, body) = request.into_parts();
    let mut form = vec![];
    if parts.method == Method::POST {
        if !forms::is_form(&parts.headers) {
            let words = "Only forms can be sent to this address.";
            return Ok(answers::refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, words));
        }
        let body = Limited::new(body.into_boxed_body(), forms::LONGEST_FORM);
        form = match body.collect().await {
            Ok(body) => body.to_bytes().into(),
            Err(error) if error.is::<LengthLimitError>() => {
                let words = "This form is too long.";
                return Ok(answers::refused(StatusCode::PAYLOAD_TOO_LARGE, words));
            }
            Err(error) => return Err(Error::from_boxed(error)),
        };
    }
    Ok(site::answer(Request::from_parts(parts, form), route))
}
