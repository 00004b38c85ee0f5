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
    /// Sessions in the large store, for reads, updates and memory; 0 skips it
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    pub large: u32,
    /// Rounds, in each of which both sides are measured; medians are printed
    #[arg(long, value_name = "N", default_value_t = 5,
          value_parser = clap::value_parser!(u32).range(1..))]
    pub rounds: u32,
    /// The time for each side in a round, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 200, value_parser = at_least::<1>)]
    milliseconds: u64,
    /// How the native side uses SQLite
    #[arg(long, value_name = "LAYOUT", default_value = "tuned")]
    pub native: Layout,
    /// Measure only this workload; may be given several times
    #[arg(long, value_name = "NAME")]
    only: Vec<Name>,
}

/// The names of workloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Name {
    Read,
    Create,
    Update,
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

    /// Whether the plan includes this workload.
    pub fn has(&self, name: Name) -> bool {
        self.only.is_empty() || self.only.contains(&name)
    }
}
