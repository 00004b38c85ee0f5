//! No store on a server is opened here.

use std::sync::Arc;

use wasmtime::Store;
use wasmtime::component::ResourceAny;

use crate::answer::Blocking;
use crate::clock::StoreClock;
use crate::contract::Admin;
use crate::contract::types::Request;
use crate::owner::Replies;
use crate::owner::group::Budget;
use crate::sandbox::instance::Called;
use crate::sandbox::state::State;
use crate::settings::Settings;
use crate::{Database, Error};

pub(crate) struct Connections {
    pub(crate) budget: Budget,
    pub(crate) servers: String,
}

impl Connections {
    pub(crate) async fn open(_: Database, _: Settings, _: Arc<StoreClock>) -> Result<Self, Error> {
        unreachable!("no schedule has a server")
    }

    pub(crate) async fn batch(&self, _: Vec<Request>, _: &Blocking) -> Result<Replies, Error> {
        unreachable!("no schedule has a server")
    }

    pub(crate) async fn admin<T: Send + 'static>(
        &self,
        _: impl AsyncFnOnce(&Admin, &mut Store<State>, ResourceAny) -> Called<T> + Send + 'static,
        _: &Blocking,
    ) -> Result<T, Error> {
        unreachable!("no schedule has a server")
    }
}
