//! Tests of the session store through its public functions.

mod adoption;
mod backups;
mod batches;
mod collection;
mod endings;
mod files;
mod fixture;
mod full_disk;
mod lifetimes;
mod listing;
mod model;
mod recovery;
mod refusals;
mod sharing;
mod space;
mod subjects;
mod writes;
