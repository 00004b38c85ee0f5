//! Starts the component over SQLite in a directory.

use std::sync::Arc;

use zeroize::Zeroizing;

use crate::Error;
use crate::cause::Cause;
use crate::clock::StoreClock;
use crate::sandbox::compiled::{Cache, Embedded};
use crate::sandbox::directory::Directory;
use crate::sandbox::filesystem;
use crate::sandbox::instance::{Guest, Prepared, start_error};
use crate::sandbox::state::{State, complete};
use crate::settings::Settings;

/// The component over SQLite, as the bytes of its `.wasm` file, which the build script
/// built.
///
/// It exports the contract and imports WASI 0.2. Composed with a component that imports the
/// contract (`wac plug web.wasm --plug store.wasm`), it makes one file that needs only a
/// directory. [`Builder::open`](crate::Builder::open) starts
/// this crate's own instances.
pub static COMPONENT: &[u8] = include_bytes!(env!("WASI_SESSIONS_COMPONENT_FILE"));

/// What instances are started from: the compiled component and their settings.
pub(crate) struct Launcher {
    component: Prepared,
    file_name: String,
    settings: Settings,
    clock: Arc<StoreClock>,
    options: Zeroizing<String>,
}

impl Launcher {
    /// Compiles the component, or takes it from the cache.
    pub(crate) fn new(
        file_name: &str,
        settings: Settings,
        clock: Arc<StoreClock>,
        directory: &Directory,
    ) -> Result<Self, Error> {
        let options = settings
            .options
            .to_json()
            .map_err(|error| Error::Start(Cause::new(error)))?;
        let options = Zeroizing::new(options);
        let cache = match &settings.cache_directory {
            Some(cache) => Cache::open(cache, Some(directory.path()))?,
            None => None,
        };
        let link = filesystem::add_to_linker;
        let embedded = Embedded {
            wasm: COMPONENT,
            fingerprint: env!("WASI_SESSIONS_COMPONENT_FINGERPRINT"),
        };
        let component = Prepared::new(embedded, settings.memory_limit, cache.as_ref(), link)?;
        Ok(Self {
            component,
            file_name: file_name.to_owned(),
            settings,
            clock,
            options,
        })
    }

    /// Starts an instance and opens the database in it.
    pub(crate) fn start(&self, directory: &mut Directory) -> Result<Guest, Error> {
        directory.prepare()?;
        let clock = self.clock.clone();
        let state = State::with_directory(&self.settings, clock, directory, &self.file_name);
        let state = state.map_err(start_error)?;
        let location = format!("/{}", self.file_name);
        let guest = complete(self.component.open(state, &location, &self.options))?;
        let files = guest.files();
        if !files.are_in_effect() {
            let words = "WASI opens files in another way than this host expects";
            return Err(Error::Start(Cause::new(words)));
        }
        directory.opened(files.database().as_deref())?;
        Ok(guest)
    }
}
