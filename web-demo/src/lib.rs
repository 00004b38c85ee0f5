//! A small web site in one component: it counts visits, lets people log in, and shows
//! them their sessions, which another component keeps.
//!
//! A visitor without a session gets one that lives for 15 minutes; from the second
//! request on it lives for a day. So the sessions of crawlers, which keep no cookie, end
//! soon. A request that shows no page (a `HEAD`, an image) starts no session.
//!
//! `session.rs` has all calls of `wasi-sessions:store`, and is the example to start from.
//! It, `site.rs` and `server.rs`, which answer requests, compile for WebAssembly only.
//! The other modules use neither the store nor the server.

pub mod answers;
pub mod browser;
pub mod cookies;
pub mod forms;
pub mod pages;
pub mod routes;
pub mod secrets;
#[cfg(target_arch = "wasm32")]
mod server;
#[cfg(target_arch = "wasm32")]
mod session;
#[cfg(target_arch = "wasm32")]
mod site;
pub mod throttle;
pub mod times;
pub mod visit;
