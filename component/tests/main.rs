//! Tests of the session store through its public functions.

mod batches;
mod collection;
mod endings;
mod files;
mod fixture;
mod lifetimes;
mod listing;
mod model;
mod recovery;
mod sharing;
mod subjects;
mod writes;
