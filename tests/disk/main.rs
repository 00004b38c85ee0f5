//! The real component on a simulated disk: what is left after a loss of power, what a
//! faulty disk or too little memory does, and what becomes of a damaged database.
//!
//! `docs/testing.md` says what the disk is like and how to replay a failure.

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
mod power;
mod power_cuts;
mod process;
mod random;
mod recording;
mod run;
mod script;
mod streams;
mod wasi;
mod world;

mod scripts_run;
