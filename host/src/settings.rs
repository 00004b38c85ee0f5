//! The settings of a store, which a [`Builder`](crate::Builder) collects and the
//! owner, the sandbox and the cache read.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::{Database, Options};

/// The time without a request after which garbage is collected.
const IDLE: Duration = Duration::from_secs(5);

pub(crate) type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;
pub(crate) type Random = Arc<dyn Fn(&mut [u8]) + Send + Sync>;

/// Where a store keeps its sessions, with the settings that only a store there has.
pub(crate) enum Place {
    Directory(Files),
    Database(Database),
}

/// A database of SQLite in a directory.
pub(crate) struct Files {
    pub(crate) directory: PathBuf,
    pub(crate) file_name: String,
    /// In bytes.
    pub(crate) read_cache: usize,
}

impl Files {
    /// The defaults.
    pub(crate) fn new(directory: PathBuf) -> Self {
        Self {
            directory,
            file_name: "sessions.db".to_owned(),
            read_cache: 32 << 20,
        }
    }
}

/// The settings of any store, each described at the function of
/// [`Builder`](crate::Builder) that sets it.
pub(crate) struct Settings {
    pub(crate) options: Options,
    pub(crate) cache_directory: Option<PathBuf>,
    /// In bytes.
    pub(crate) memory_limit: usize,
    pub(crate) clock: Clock,
    /// `None` for wasmtime's generator, which the operating system seeds.
    pub(crate) random: Option<Random>,
    /// [`IDLE`]; only tests change it.
    pub(crate) idle: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            options: Options::default(),
            cache_directory: None,
            memory_limit: 256 << 20,
            clock: Arc::new(SystemTime::now),
            random: None,
            idle: IDLE,
        }
    }
}
