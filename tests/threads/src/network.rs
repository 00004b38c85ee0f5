//! No store on a server is opened here.

use std::sync::Arc;

use crate::clock::StoreClock;
use crate::contract::types::Request;
use crate::owner::Replies;
use crate::owner::blocking::Blocking;
use crate::owner::group::Budget;
use crate::request::Ending;
use crate::sandbox::instance::{Called, Keeping};
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

    pub(crate) async fn end(&self, _: Ending, _: &Blocking) -> Result<u64, Error> {
        unreachable!("no schedule has a server")
    }

    pub(crate) async fn keeping<T: Send + 'static>(
        &self,
        _: impl AsyncFnOnce(Keeping<'_>) -> Called<T> + Send + 'static,
        _: &Blocking,
    ) -> Result<T, Error> {
        unreachable!("no schedule has a server")
    }
}
