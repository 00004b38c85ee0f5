//! Open stores for the guests of a wasmtime host: components that import the contract.

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

/// The stores that the guests of a host may open, by location; cheap to clone.
///
/// A guest opens a store with its name here as `location`, and with `options` that are
/// empty or equal to the store's. Anything else is refused with an `invalid-argument` that
/// says what to do. A guest cannot name files of the host.
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
/// It holds handles, so the stores stay open until it and all its clones are dropped. A
/// guest cannot close a store of the host.
#[derive(Clone, Debug, Default)]
pub struct Stores(Arc<BTreeMap<String, Sessions>>);

impl Stores {
    /// No stores.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a store, which guests open as `location`: any text. Replaces the store that had
    /// this location before.
    pub fn with(mut self, location: impl Into<String>, sessions: Sessions) -> Self {
        Arc::make_mut(&mut self.0).insert(location.into(), sessions);
        self
    }

    /// The directories of the stores, in which their components can write.
    #[cfg(feature = "web")]
    pub(crate) fn directories(&self) -> impl Iterator<Item = &Path> {
        self.0.values().filter_map(Sessions::directory)
    }

    fn open(&self, location: &str, options: &str) -> Result<OpenStore, Error> {
        let Some(sessions) = self.0.get(location) else {
            return Err(Error::InvalidArgument(self.refusal(location)));
        };
        sessions.check_options(options)?;
        Ok(OpenStore(sessions.clone()))
    }

    fn refusal(&self, location: &str) -> String {
        let offered: Vec<String> = self.0.keys().map(|name| format!("`{name}`")).collect();
        let advice = match offered.as_slice() {
            [] => "it offers none".to_owned(),
            offered => format!("open {}", offered.join(" or ")),
        };
        // Shortened, because a guest may give a location of any length.
        format!("location: this host offers no store `{location:.255}`; {advice}")
    }
}

/// A view into the data of a guest's [`Store`](wasmtime::Store), on which the linked
/// functions work.
pub struct StoresView<'a> {
    /// The stores that this guest may open.
    pub stores: &'a Stores,
    /// The table of the guest's resources.
    pub table: &'a mut ResourceTable,
}

/// A store that a guest has opened. Dropping it does not close the host's store.
pub struct OpenStore(Sessions);

/// Links the contract's `sessions` for guests of an async linker. Many instances can use
/// the stores at once, and a waiting request does not block a thread.
///
/// A request that a guest has sent is done even if the guest is dropped; an answered write
/// is durable, as the store's option `durability` says. If the store crashes or is closed, the
/// guest gets the error `unknown-outcome`, and does not trap.
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
/// A guest's batch is refused with `invalid-argument` if it has more than 1000 requests,
/// if it might need more than half of the store's memory
/// ([`Builder::memory_limit`](crate::Builder::memory_limit)), or if it might make other
/// callers wait for more than a few tenths of a second. Each request may read or write a
/// session of `maxData` bytes, so by default a batch can hold 126 reads, 63 renewals with a
/// `ttl`, 15 merges, 32 writes of the largest payload, or 1000 small requests.
///
/// wasmtime limits the size of one call's arguments from a guest, to 128 MiB unless
/// [`set_hostcall_fuel`](wasmtime::Store::set_hostcall_fuel) sets another limit; a larger
/// payload traps the guest.
///
/// # Errors
///
/// If an interface of the same name is linked already.
pub fn add_to_linker<T: Send + 'static>(
    linker: &mut Linker<T>,
    view: fn(&mut T) -> StoresView<'_>,
) -> wasmtime::Result<()> {
    contract::types::add_to_linker::<T, HasStores>(linker, view)?;
    contracts::sessions::add_to_linker::<T, HasStores>(linker, view)
}

/// Links the contract's `admin`, too, for guests that an operator trusts: they can list,
/// read and end all sessions. A guest that imports `admin` cannot be instantiated without
/// it.
///
/// Call [`add_to_linker`] first, which links the function that opens stores. `backup` is
/// refused with `other`: only the host makes copies, with [`Sessions::backup`].
///
/// # Errors
///
/// If an interface of the same name is linked already.
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
    /// The store of a guest's handle; an invalid handle traps the guest.
    fn sessions(&self, handle: &Resource<OpenStore>) -> wasmtime::Result<Sessions> {
        Ok(self.table.get(handle)?.0.clone())
    }
}

impl From<Error> for contract::Error {
    /// The error for a guest, without the host's paths.
    fn from(error: Error) -> Self {
        match error {
            Error::Busy | Error::Unreachable { .. } => Self::Busy,
            Error::InvalidArgument(which) => Self::InvalidArgument(which),
            Error::TooLarge(limit) => Self::TooLarge(limit),
            Error::StorageFull => Self::StorageFull,
            Error::Corrupt(place) => Self::Corrupt(place),
            Error::MissingTable(place) => Self::MissingTable(place),
            Error::Crashed | Error::UnknownOutcome(_) => Self::UnknownOutcome(error.to_string()),
            Error::Other(reason) => Self::Other(reason),
            // Without the advice to open the store again, which only the host can do.
            Error::Closed => Self::UnknownOutcome("the session store is closed".to_owned()),
            // No function of a guest writes or restores one.
            Error::Backup { .. } | Error::Restore { .. } => {
                Self::Other("a backup could not be written or restored".to_owned())
            }
            Error::InUse { .. } | Error::Directory { .. } | Error::Start(_) => {
                Self::Other("the session store could not be started".to_owned())
            }
            Error::Replaced { reason, .. } => Self::UnknownOutcome(format!(
                "the database was replaced while it was open: {reason}"
            )),
            Error::LockLost { .. } => {
                Self::UnknownOutcome("the lock of the database was lost".to_owned())
            }
        }
    }
}
