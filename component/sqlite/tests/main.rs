//! Tests of the session store over SQLite through its public functions.

#[path = "../../tests/contract.rs"]
mod contract;

mod adoption;
mod backups;
mod counting;
mod engine;
mod files;
mod fixture;
mod full_disk;
mod recovery;
mod refusals;
mod sealing;
mod sharing;
mod space;
