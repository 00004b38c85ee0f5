//! Puts the session store, a sandboxed component over SQLite, into an application.
//!
//! A web application keeps its sessions on the server: a payload under an
//! unguessable id, for as long as the user is active. This crate keeps them in
//! a SQLite file that only a WebAssembly component touches, so a defect in C
//! code or in the store's own logic reaches one directory and nothing else. The
//! component does what is easy to get wrong: versions make lost updates visible,
//! a log-out cannot be undone by a request in flight, ids are kept only hashed,
//! and what expired is gone at once and collected in small steps.
//!
//! ```
//! use wasi_sessions::{Builder, Outcome};
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let home = tempfile::tempdir()?;
//!     let sessions = Builder::new(home.path().join("sessions"))
//!         .cache_directory(home.path().join("compiled"))
//!         .open()
//!         .await?;
//!
//!     // A visitor comes, and logs in: the session moves to a new id.
//!     let visitor = sessions.create(r#"{"cart":[]}"#).await?;
//!     let login = sessions.rotate(&visitor.id, Some("alice")).await?;
//!     let id = login.ok_or("the session has expired")?.id;
//!
//!     // A request reads the session and writes it, unless another was faster.
//!     let session = sessions.get(&id).await?.ok_or("not logged in")?;
//!     let cart = r#"{"cart":["book"]}"#;
//!     match sessions.update(&id, cart, None, Some(session.version)).await? {
//!         Outcome::Written(written) => println!("version {}", written.version),
//!         Outcome::Stale(session) => println!("version {} was faster", session.version),
//!         Outcome::Gone => println!("logged out meanwhile"),
//!     }
//!
//!     // Alice logs out everywhere, and no request in flight brings her back.
//!     sessions.terminate_subject("alice", None).await?;
//!     assert_eq!(sessions.set(&id, cart, None).await?, Outcome::Gone);
//!     Ok(())
//! }
//! ```
//!
//! Any executor will do, and so will none: on a plain thread write `.wait()` for
//! `.await`. An [`Answer`] is lazy, and says what becomes of one that is dropped.
//!
//! One thread at a time uses the component: the store's own thread, which serves a bounded
//! queue, or a caller's, while the queue is empty. A task of an async runtime runs only
//! small requests itself that wait for no disk. [`Sessions`] is a handle that is cheap to
//! clone. The directory is locked for one process, and the operating system releases the
//! lock however that process ends. A component that crashes fails the request in flight
//! and is started again before the next one.
//!
//! The component gets the directory, the clocks and randomness, and neither
//! arguments, environment, standard streams nor network. This crate itself reads
//! no arguments or environment, and prints nothing.
//!
//! With the feature `tower-sessions` a [`Sessions`] is a `SessionStore` for axum
//! and other frameworks on tower; `examples/axum.rs` is a program that uses it.
//!
//! The types of answers are generated from the contract. Their
//! `Debug` shows all they hold, ids and payloads included: keep them out of logs.

mod answer;
mod batch;
mod builder;
mod cache;
mod clock;
mod contract;
mod error;
mod linked;
mod milliseconds;
mod options;
mod owner;
mod request;
mod restore;
mod sandbox;
mod sessions;
mod settings;
#[cfg(test)]
mod tests;
#[cfg(feature = "tower-sessions")]
mod tower;
#[cfg(feature = "web")]
pub mod web;

pub use answer::Answer;
pub use batch::{NewSession, Request};
pub use builder::Builder;
pub use contract::types::{
    Collected, Created, Entry, Handle, Outcome, Page, Reply, Session, Statistics, Timestamp,
    Written,
};
pub use error::Error;
pub use linked::{Stores, StoresView, add_admin_to_linker, add_to_linker};
pub use options::{Durability, Options};
pub use sandbox::instance::COMPONENT;
pub use sessions::Sessions;

/// The README's program, compiled as it is there.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
