//! A session store for applications: a sandboxed WebAssembly component over SQLite.
//!
//! A session of a web application is a payload under an unguessable id, kept on the server
//! for as long as the user is active. This crate keeps sessions in a SQLite file that only
//! a WebAssembly component accesses, so a defect in C code or in the store's own logic
//! reaches one directory and nothing else. The component does what is easy to get wrong:
//! versions reveal lost updates, a request in flight cannot undo a log-out, ids are stored
//! only as hashes, and expired sessions are invisible at once and collected in small steps.
//!
#![doc = concat!("```no_run\n", include_str!("../examples/embed.rs"), "```")]
//!
//! This works on any executor and without one: on a plain thread write `.wait()` instead of
//! `.await`. An [`Answer`] is lazy; its documentation describes what dropping it does.
//!
//! One thread at a time uses the component over SQLite: the store's own thread, which serves a
//! bounded queue, or a caller's thread, while the queue is empty. A task of an async runtime
//! runs only small requests itself, which do not wait for the disk. A store on a server has an
//! instance of the component for each connection. [`Sessions`] is a handle that is cheap to
//! clone. The directory is locked for one process, and the operating system
//! releases the lock however that process ends. If the component crashes, the request in
//! flight fails, and the component is restarted before the next one.
//!
//! The component gets the directory, the clocks and randomness. It gets no arguments,
//! environment, standard streams or network. This crate itself reads no arguments or
//! environment, and prints nothing.
//!
//! With the feature `postgres` a store can be in a PostgreSQL database, and with the feature
//! `mariadb` in one of MariaDB or MySQL, that several machines share: [`Builder::over`] opens
//! it, behind the same handle. Its component gets TCP to the servers of the database's URL in
//! place of the directory.
//!
//! With the feature `tower-sessions` a [`Sessions`] is a `SessionStore` for axum
//! and other frameworks on tower:
//!
#![cfg_attr(
    feature = "tower-sessions",
    doc = concat!("```no_run\n", include_str!("../examples/axum.rs"), "```")
)]
//!
//! A program that embeds wasmtime can give its guests stores that it has open:
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
//! The types of answers are generated from the contract. Their `Debug` shows everything,
//! ids and payloads included: keep them out of logs.

mod answer;
mod batch;
mod builder;
mod cache;
mod cause;
mod clock;
mod contract;
mod database;
mod error;
mod key;
mod linked;
mod milliseconds;
mod network;
mod options;
mod owner;
mod request;
mod restore;
mod sandbox;
mod sessions;
mod settings;
mod sync;
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
pub use database::Database;
pub use error::Error;
pub use key::{Key, PreviousKey};
pub use linked::{Stores, StoresView, add_admin_to_linker, add_to_linker};
pub use options::{Durability, Options};
pub use sandbox::launcher::COMPONENT;
pub use sessions::Sessions;

/// Compiles the README's examples.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
