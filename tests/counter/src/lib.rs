#![cfg(target_arch = "wasm32")]

use wasi_sessions::store::sessions::{Outcome, Store};
use wasi_sessions::store::types;
use wstd::http::{Body, Error, Request, Response};

wit_bindgen::generate!({
    path: "wit",
    inline: "
        package my:counter;
        world counter { import wasi-sessions:store/sessions@0.1.0; }
    ",
    generate_all,
});

#[wstd::http_server]
async fn main(request: Request<Body>) -> Result<Response<Body>, Error> {
    let cookies = request
        .headers()
        .get("cookie")
        .and_then(|value| value.to_str().ok());
    let id = cookies.and_then(|cookies| {
        cookies
            .split("; ")
            .find_map(|cookie| cookie.strip_prefix("id="))
    });
    let (id, visits) = visit(id).inspect_err(|error| eprintln!("{error}"))?;
    let cookie = format!("id={id}; HttpOnly; SameSite=Lax; Path=/");
    let answer = Response::builder().header("set-cookie", cookie);
    Ok(answer.body(format!("visit {visits}\n").into())?)
}

/// Counts a visit; the id may be a new one. Two requests at once lose no count:
/// the later one is told what the earlier one wrote, and counts on from that.
fn visit(id: Option<&str>) -> Result<(String, u64), types::Error> {
    let store = Store::open("sessions.db", "")?;
    if let Some(id) = id {
        let mut found = store.get(id)?;
        while let Some(session) = found {
            let visits = String::from_utf8_lossy(&session.data).parse().unwrap_or(0) + 1;
            let data = visits.to_string().into_bytes();
            match store.update(id, &data, None, Some(session.version))? {
                Outcome::Written(_) => return Ok((id.to_owned(), visits)),
                Outcome::Stale(newer) => found = Some(newer),
                Outcome::Gone => found = None,
            }
        }
    }
    Ok((store.create(b"1", None, None)?.id, 1))
}
