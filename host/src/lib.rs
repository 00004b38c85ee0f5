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
#![doc = concat!("```no_run\n", include_str!("../examples/embed.rs"), "```")]
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
//! and other frameworks on tower:
//!
#![cfg_attr(
    feature = "tower-sessions",
    doc = concat!("```no_run\n", include_str!("../examples/axum.rs"), "```")
)]
//!
//! A host of wasmtime's own gives its guests stores that it has open:
//!
#![doc = concat!("```no_run\n", include_str!("../examples/linked.rs"), "```")]
//!
//! The feature `web` has a server for web components:
//!
#![cfg_attr(
    feature = "web",
    doc = concat!("```no_run\n", include_str!("../examples/web_server.rs"), "```")
)]
//!
//! The types of answers are generated from the contract. Their
//! `Debug` shows all they hold, ids and payloads included: keep them out of logs.

mod answer;
mod batch;
mod builder;
mod cache;
mod cause;
mod clock;
mod contract;
mod error;
mod key;
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
pub use cause::Cause;
pub use contract::types::{
    Collected, Created, Entry, Handle, Outcome, Page, Reply, Session, Statistics, Timestamp,
    Written,
};
pub use error::Error;
pub use key::{Key, PreviousKey};
pub use linked::{Stores, StoresView, add_admin_to_linker, add_to_linker};
pub use options::{Durability, Options};
pub use sandbox::instance::COMPONENT;
pub use sessions::Sessions;

/// The README's program, compiled as it is there.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
