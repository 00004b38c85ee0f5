//! The layer between SQLite and its file system (VFS), with all `unsafe` of this
//! crate.

mod file;
mod hooks;
mod layer;
mod system_calls;

pub use file::{Done, File};
pub use hooks::{Failed, Hooks, Kind};
pub use layer::{FileSystem, PLAIN, flush};
pub use system_calls::sync_directory;
