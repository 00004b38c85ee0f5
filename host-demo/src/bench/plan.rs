//! The options of `bench`: what is measured, with how many sessions and for how long.

use std::time::Duration;

use clap::{Args, ValueEnum};
use native_stores::Layout;

use crate::location::at_least;

/// The options of `bench`.
#[derive(Debug, Args)]
pub struct Plan {
    /// Sessions in the store; twenty times as many for `collect`
    #[arg(long, value_name = "N", default_value_t = 10_000,
          value_parser = clap::value_parser!(u32).range(64..=1_000_000))]
    pub sessions: u32,
    /// Sessions in the large store, for reads, updates, start and memory; 0 skips it [default: 1000000]
    #[arg(long, value_name = "N")]
    large: Option<u32>,
    /// Rounds, in each of which both sides are measured; medians are printed
    #[arg(long, value_name = "N", default_value_t = 5,
          value_parser = clap::value_parser!(u32).range(1..))]
    pub rounds: u32,
    /// The time for each side in a round, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 200, value_parser = at_least::<1>)]
    milliseconds: u64,
    /// How the native side uses SQLite [default: tuned]
    #[arg(long, value_name = "LAYOUT")]
    native: Option<Layout>,
    /// Measure only this workload; may be given several times. On a server: read, set or mix
    #[arg(long, value_name = "NAME")]
    only: Vec<Name>,
}

/// The names of workloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Name {
    Read,
    Create,
    Update,
    Set,
    Touch,
    Mix,
    Collect,
    Start,
    Memory,
}

impl Plan {
    /// The time for each side in a round.
    pub fn slice(&self) -> Duration {
        Duration::from_millis(self.milliseconds)
    }

    /// The number of sessions in the large store.
    pub fn large(&self) -> u32 {
        self.large.unwrap_or(1_000_000)
    }

    /// How the native side uses SQLite.
    pub fn native(&self) -> Layout {
        self.native.unwrap_or(Layout::Tuned)
    }

    /// Why the plan is not for a database on a server, or not for one in a directory.
    pub fn contradiction(&self, on_server: bool) -> Option<&'static str> {
        let are_measured = self.only.iter().all(|name| match name {
            Name::Read | Name::Mix => true,
            Name::Set => on_server,
            _ => !on_server,
        });
        match on_server {
            true if self.large.is_some() => Some("--large belongs to a database in a directory"),
            true if self.native.is_some() => Some("--native belongs to a database in a directory"),
            true if !are_measured => Some("only read, set and mix are measured on a server"),
            false if !are_measured => Some("set is measured on a server only"),
            _ => None,
        }
    }

    /// Whether the plan includes this workload.
    pub fn has(&self, name: Name) -> bool {
        self.only.is_empty() || self.only.contains(&name)
    }
}
