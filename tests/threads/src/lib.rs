//! The host's queue, callers, cache and clock, compiled from the host's own files, with
//! three things in the place of others: `sync` has shuttle's threads, locks and atomics,
//! so that each run has an order of all steps that a seed chooses; `sandbox` has an
//! engine in memory in the place of the component; and time passes by chance.

// Empty where `--all-targets` compiles it as a test: the host's files have tests of their
// own, which need the real component.
#![cfg(not(test))]
// Parts of the host that no schedule uses, its features, which are off, and its enums, whose
// variants have other sizes here.
#![allow(dead_code, unexpected_cfgs, clippy::large_enum_variant)]

mod contract;
pub mod disk;
mod network;
mod restore;
mod sandbox;
mod schedules;
mod sync;

#[path = "../../../host/src"]
mod host {
    pub(crate) mod answer;
    pub(crate) mod batch;
    pub(crate) mod builder;
    pub(crate) mod cache;
    pub(crate) mod cause;
    pub(crate) mod clock;
    pub(crate) mod database;
    pub(crate) mod error;
    pub(crate) mod key;
    pub(crate) mod milliseconds;
    pub(crate) mod options;
    pub(crate) mod owner;
    pub(crate) mod request;
    pub(crate) mod sessions;
    pub(crate) mod settings;
}

// What the host's files find in their crate.
use host::{
    answer, cache, cause, clock, error, key, milliseconds, options, owner, request, sessions,
    settings,
};

use contract::types::{Collected, Page, Statistics, Timestamp, Written};
use key::{Key, PreviousKey};

pub use answer::Answer;
pub use contract::types::{Created, Outcome, Reply, Session};
pub use error::Error;
pub use host::batch::{NewSession, Request};
pub use host::builder::Builder;
pub use host::database::Database;
pub use options::{Durability, Options};
pub use schedules::check;
pub use sessions::Sessions;
