//! A running store for the guests of a wasmtime host: components that import the
//! contract, and neither know nor care who answers.

use std::collections::BTreeMap;
#[cfg(feature = "web")]
use std::path::Path;
use std::sync::Arc;

use wasmtime::component::{HasData, Linker, Resource, ResourceTable};

use crate::contract;
use crate::{Error, Sessions};

mod admin;
mod sessions;

mod bindings {
    wasmtime::component::bindgen!({
        inline: "
            package wasi-sessions:linked;

            world linked {
                import wasi-sessions:store/sessions@0.2.0;
                import wasi-sessions:store/admin@0.2.0;
            }
        ",
        path: "wit",
        imports: { default: async | trappable },
        trappable_error_type: { "wasi-sessions:store/types.error" => wasmtime::Error },
        with: {
            "wasi-sessions:store/types": crate::contract::types,
            "wasi-sessions:store/sessions.store": super::OpenStore,
        },
    });
}

use bindings::wasi_sessions::store as contracts;

/// Which stores the guests of a host may open, and as what; cheap to clone.
///
/// A guest opens one with its name here as `location`, and with empty
/// `options`, or with such as the store was opened with. Anything else is an
/// `invalid-argument` that says what to do. No guest names a file of the host.
///
/// ```
/// # async fn opened() -> Result<(), wasi_sessions::Error> {
/// use wasi_sessions::{Builder, Stores};
///
/// let sessions = Builder::new("shop/sessions").open().await?;
/// let stores = Stores::new().with("sessions.db", sessions);
/// # Ok(())
/// # }
/// ```
///
/// It holds handles: the stores stay open as long as it, or a clone of it, is
/// there. Whatever a guest does, it closes nothing of the host's.
#[derive(Clone, Debug, Default)]
pub struct Stores(Arc<BTreeMap<String, Sessions>>);

impl Stores {
    /// No stores; a guest can open none.
    pub fn new() -> Self {
        Self::default()
    }

    /// These stores and one more, which guests open as `location`: any text. A
    /// store that had this location before is no longer offered.
    pub fn with(mut self, location: impl Into<String>, sessions: Sessions) -> Self {
        Arc::make_mut(&mut self.0).insert(location.into(), sessions);
        self
    }

    /// The directories of the stores, in which their components can write.
    #[cfg(feature = "web")]
    pub(crate) fn directories(&self) -> impl Iterator<Item = &Path> {
        self.0.values().map(Sessions::directory)
    }

    fn open(&self, location: &str, options: &str) -> Result<OpenStore, Error> {
        let Some(sessions) = self.0.get(location) else {
            return Err(Error::InvalidArgument(self.refusal(location)));
        };
        sessions.options().check(options)?;
        Ok(OpenStore(sessions.clone()))
    }

    fn refusal(&self, location: &str) -> String {
        let offered: Vec<String> = self.0.keys().map(|name| format!("`{name}`")).collect();
        let advice = match offered.as_slice() {
            [] => "it offers none".to_owned(),
            offered => format!("open {}", offered.join(" or ")),
        };
        // A guest may say anything here, of any length.
        format!("location: this host offers no store `{location:.255}`; {advice}")
    }
}

/// What the functions of a guest work on: a view into the data of its
/// [`Store`](wasmtime::Store).
pub struct StoresView<'a> {
    /// The stores that this guest may open.
    pub stores: &'a Stores,
    /// Where the guest's handles are kept.
    pub table: &'a mut ResourceTable,
}

/// A store that a guest has opened. Dropping it closes nothing of the host's.
pub struct OpenStore(Sessions);

/// Links the contract's `sessions` for guests of an async linker: many instances
/// use the stores at once, and a request waits without holding a thread.
///
/// A request that a guest has sent is done, whatever becomes of the guest; an
/// answer means that it is kept. When the store crashes or is closed, the guest
/// hears of it as `other`, and goes on.
///
/// ```
/// use wasi_sessions::{Stores, StoresView};
/// use wasmtime::Engine;
/// use wasmtime::component::{Linker, ResourceTable};
///
/// /// The data of each guest's `wasmtime::Store`.
/// struct State {
///     stores: Stores,
///     table: ResourceTable,
/// }
///
/// fn stores(state: &mut State) -> StoresView<'_> {
///     StoresView { stores: &state.stores, table: &mut state.table }
/// }
///
/// # fn main() -> wasmtime::Result<()> {
/// let mut linker = Linker::<State>::new(&Engine::default());
/// wasi_sessions::add_to_linker(&mut linker, stores)?;
/// # Ok(())
/// # }
/// ```
///
/// A guest's batch is refused with `invalid-argument` when it has more than 1000
/// requests, or might need more than half of the store's memory
/// ([`Builder::memory_limit`](crate::Builder::memory_limit)), or might make others
/// wait for more than some tenths of a second. Each request may read or write a
/// session of `maxData` bytes, so by default a batch can hold 126 reads, 63
/// renewals with a `ttl`, 15 merges, 32 writes of the largest payload, or 1000
/// small requests.
///
/// wasmtime limits what one call may bring from a guest, to 128 MiB as long as
/// [`set_hostcall_fuel`](wasmtime::Store::set_hostcall_fuel) says nothing else; a
/// larger payload traps the guest.
///
/// # Errors
///
/// When something of these names is linked already.
pub fn add_to_linker<T: Send + 'static>(
    linker: &mut Linker<T>,
    view: fn(&mut T) -> StoresView<'_>,
) -> wasmtime::Result<()> {
    contract::types::add_to_linker::<T, HasStores>(linker, view)?;
    contracts::sessions::add_to_linker::<T, HasStores>(linker, view)
}

/// Links the contract's `admin`, too, for guests that an operator trusts: they
/// can list, read and end the sessions of everybody. A guest that imports it
/// where it is not linked cannot be instantiated.
///
/// It comes after [`add_to_linker`], which opens the stores. `backup` is refused
/// with `other`: copies are the host's, see [`Sessions::backup`].
///
/// # Errors
///
/// When something of this name is linked already.
pub fn add_admin_to_linker<T: Send + 'static>(
    linker: &mut Linker<T>,
    view: fn(&mut T) -> StoresView<'_>,
) -> wasmtime::Result<()> {
    contracts::admin::add_to_linker::<T, HasStores>(linker, view)
}

struct HasStores;

impl HasData for HasStores {
    type Data<'a> = StoresView<'a>;
}

impl contract::types::Host for StoresView<'_> {
    /// The contract's error for the guest; any other error traps it.
    fn convert_error(&mut self, error: wasmtime::Error) -> wasmtime::Result<contract::Error> {
        error.downcast::<Error>().map(Into::into)
    }
}

impl StoresView<'_> {
    /// The store behind a guest's handle; one that is none traps the guest.
    fn sessions(&self, handle: &Resource<OpenStore>) -> wasmtime::Result<Sessions> {
        Ok(self.table.get(handle)?.0.clone())
    }
}

impl From<Error> for contract::Error {
    /// The error as a guest gets it, without the host's paths.
    fn from(error: Error) -> Self {
        match error {
            Error::Busy => Self::Busy,
            Error::InvalidArgument(which) => Self::InvalidArgument(which),
            Error::TooLarge(limit) => Self::TooLarge(limit),
            Error::StorageFull => Self::StorageFull,
            Error::Corrupt(place) => Self::Corrupt(place),
            Error::MissingTable(place) => Self::MissingTable(place),
            Error::Crashed | Error::Closed | Error::Other(_) => Self::Other(error.to_string()),
            Error::InUse { .. } | Error::Directory { .. } | Error::Start(_) => {
                Self::Other("the session store could not be started".to_owned())
            }
            Error::Replaced { reason, .. } => Self::Other(format!(
                "the database is no longer what was opened: {reason}"
            )),
        }
    }
}
