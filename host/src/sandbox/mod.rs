//! The sandbox: compiled components, their instances, and the files or the network that
//! they are given.

pub(crate) mod backup;
pub(crate) mod compiled;
pub(crate) mod database_file;
pub(crate) mod descriptors;
pub(crate) mod directories;
pub(crate) mod directory;
pub(crate) mod file_lock;
mod filesystem;
pub(crate) mod guest_files;
pub(crate) mod instance;
pub(crate) mod launcher;
mod lease;
pub(crate) mod mark;
pub(crate) mod network;
pub(crate) mod reachable;
pub(crate) mod state;
pub(crate) mod wal;
