#![cfg(target_arch = "wasm32")]

use cookie::Cookie;
use wasi_sessions::store::sessions::Store;
use wasi_sessions::store::types::{self, Outcome};
use wstd::http::{Body, Error, HeaderMap, Request, Response};

wit_bindgen::generate!({
    path: "wit",
    inline: "
        package my:counter;
        world counter { import wasi-sessions:store/sessions@0.2.0; }
    ",
    generate_all,
});

#[wstd::http_server]
async fn main(request: Request<Body>) -> Result<Response<Body>, Error> {
    let ids = ids(request.headers());
    let (id, visits) = visit(&ids).inspect_err(|error| eprintln!("{error}"))?;
    let cookie = format!("id={id}; HttpOnly; SameSite=Lax; Path=/");
    let answer = Response::builder().header("set-cookie", cookie);
    Ok(answer.body(format!("visit {visits}\n").into())?)
}

/// The values of all cookies of our name that can be ids of the store. There can be
/// several: browsers also send cookies that another path or a parent domain has
/// set. Cookies are bytes, and can be in several headers.
fn ids(headers: &HeaderMap) -> Vec<String> {
    let lines = headers.get_all("cookie").iter();
    lines
        .flat_map(|line| Cookie::split_parse(String::from_utf8_lossy(line.as_bytes())))
        .flatten()
        .filter(|cookie| cookie.name() == "id" && cookie.value().len() == 43)
        .map(|cookie| cookie.value().to_owned())
        .take(8)
        .collect()
}

/// Counts a visit in the first session that exists, or in a new one. Two requests
/// at once lose no count (compare-and-swap): the later one gets what the earlier
/// one wrote, and counts on from that.
fn visit(ids: &[String]) -> Result<(String, u64), types::Error> {
    let store = Store::open("sessions.db", "")?;
    for id in ids {
        let mut found = store.get(id)?;
        while let Some(session) = found {
            let visits = String::from_utf8_lossy(&session.data).parse().unwrap_or(0) + 1;
            let data = visits.to_string().into_bytes();
            match store.update(id, &data, None, Some(session.version))? {
                Outcome::Written(_) => return Ok((id.clone(), visits)),
                Outcome::Stale(newer) => found = Some(newer),
                Outcome::Gone => found = None,
            }
        }
    }
    Ok((store.create(b"1", None, None)?.id, 1))
}
