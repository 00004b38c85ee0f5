//! Tests of the real component on a simulated disk: power failures, faults of the disk, too
//! little memory, and damaged databases.
//!
//! `docs/testing.md` describes the disk, and how to replay a failure.

#![forbid(unsafe_code)]

mod beginnings;
mod damage;
mod disk;
mod expected;
mod fault_runs;
mod faults;
mod image;
mod memory;
mod model;
mod owners;
mod power;
mod power_cuts;
mod process;
mod random;
mod recording;
mod resources;
mod run;
mod script;
mod sealed_damage;
mod stopped;
mod stops;
mod streams;
mod wasi;
mod world;

mod scripts_run;
