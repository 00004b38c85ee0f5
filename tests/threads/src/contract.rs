//! The contract's types, as generated from `wit/`, and its `admin` over the disk.

pub(crate) use bindings::wasi_sessions::store::types;
pub(crate) use types::Error;

use types::{Collected, Page, Session, Statistics};
use wasmtime::Store;
use wasmtime::component::ResourceAny;

use crate::disk::{Disk, Done};
use crate::sandbox::instance::Called;
use crate::sandbox::state::State;

// The documentation is in `wit/`.
#[allow(missing_docs)]
mod bindings {
    wasmtime::component::bindgen!({
        inline: "
            package wasi-sessions:threads;

            world types {
                import wasi-sessions:store/types@0.2.0;
            }
        ",
        path: "../../wit",
        additional_derives: [PartialEq, Eq],
    });
}

/// What `admin` of the component is to the host.
pub(crate) struct Admin;

impl Admin {
    pub(crate) async fn call_clear(&self, store: &mut Store<State>, _: ResourceAny) -> Called<u64> {
        store.data_mut().call(|disk| disk.end_all(|_| true))
    }

    pub(crate) async fn call_terminate_subject(
        &self,
        store: &mut Store<State>,
        _: ResourceAny,
        subject: &str,
        _except: Option<&str>,
    ) -> Called<u64> {
        let is_theirs = |session: &Session| session.subject.as_deref() == Some(subject);
        store.data_mut().call(|disk| disk.end_all(is_theirs))
    }

    pub(crate) async fn call_collect(
        &self,
        store: &mut Store<State>,
        _: ResourceAny,
        _limit: u32,
    ) -> Called<Collected> {
        store.data_mut().call(Disk::collect)
    }

    pub(crate) async fn call_count_sessions(
        &self,
        store: &mut Store<State>,
        _: ResourceAny,
        _subject: Option<&str>,
    ) -> Called<u64> {
        store.data_mut().call(|disk| {
            disk.note(Done::Count);
            disk.sessions().count() as u64
        })
    }

    pub(crate) async fn call_list_sessions(
        &self,
        _: &mut Store<State>,
        _: ResourceAny,
        _subject: Option<&str>,
        _cursor: Option<&str>,
        _limit: u32,
    ) -> Called<Page> {
        unreachable!("no schedule lists sessions")
    }

    pub(crate) async fn call_inspect(
        &self,
        _: &mut Store<State>,
        _: ResourceAny,
        _handle: &str,
    ) -> Called<Option<Session>> {
        unreachable!("no schedule has a handle")
    }

    pub(crate) async fn call_terminate(
        &self,
        _: &mut Store<State>,
        _: ResourceAny,
        _handle: &str,
    ) -> Called<bool> {
        unreachable!("no schedule has a handle")
    }

    pub(crate) async fn call_stats(
        &self,
        _: &mut Store<State>,
        _: ResourceAny,
    ) -> Called<Statistics> {
        unreachable!("no schedule asks for figures")
    }

    pub(crate) async fn call_check(
        &self,
        _: &mut Store<State>,
        _: ResourceAny,
    ) -> Called<Vec<String>> {
        unreachable!("no schedule checks the database")
    }

    pub(crate) async fn call_backup(
        &self,
        _: &mut Store<State>,
        _: ResourceAny,
        _location: &str,
    ) -> Called<()> {
        unreachable!("no schedule writes a backup")
    }
}
