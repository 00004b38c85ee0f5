//! Resources of WASI in memory, and the store of a call that uses them.

use wasmtime::component::{LinkerInstance, Resource, ResourceType};
use wasmtime::{Result, StoreContextMut};

use crate::world::World;

/// The store of a call.
pub type Of<'a> = StoreContextMut<'a, World>;

/// An event to wait for, which has already happened.
pub struct Pollable;

/// Links a resource and its drop.
pub fn resource<R: Send + 'static>(to: &mut LinkerInstance<World>, name: &str) -> Result<()> {
    to.resource(name, ResourceType::host::<R>(), |mut of: Of, number| {
        let dropped = Resource::<R>::new_own(number);
        of.data_mut().table.delete(dropped)?;
        Ok(())
    })
}
