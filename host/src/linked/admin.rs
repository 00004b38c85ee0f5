//! The contract's `admin` for guests: each function calls the one of [`Sessions`] with the
//! same name.
//!
//! [`Sessions`]: crate::Sessions

use wasmtime::Result;
use wasmtime::component::Resource;

use super::contracts::admin::Host;
use super::{OpenStore, StoresView};
use crate::{Collected, Error, Page, Session, Statistics};

impl Host for StoresView<'_> {
    async fn list_sessions(
        &mut self,
        store: Resource<OpenStore>,
        subject: Option<String>,
        cursor: Option<String>,
        limit: u32,
    ) -> Result<Page> {
        let sessions = self.sessions(&store)?;
        let page = sessions.list_sessions(subject.as_deref(), cursor.as_deref(), limit);
        Ok(page.await?)
    }

    async fn count_sessions(
        &mut self,
        store: Resource<OpenStore>,
        subject: Option<String>,
    ) -> Result<u64> {
        let sessions = self.sessions(&store)?;
        Ok(sessions.count_sessions(subject.as_deref()).await?)
    }

    async fn inspect(
        &mut self,
        store: Resource<OpenStore>,
        handle: String,
    ) -> Result<Option<Session>> {
        Ok(self.sessions(&store)?.inspect(&handle).await?)
    }

    async fn terminate(&mut self, store: Resource<OpenStore>, handle: String) -> Result<bool> {
        Ok(self.sessions(&store)?.terminate(&handle).await?)
    }

    async fn terminate_subject(
        &mut self,
        store: Resource<OpenStore>,
        subject: String,
        except: Option<String>,
    ) -> Result<u64> {
        let sessions = self.sessions(&store)?;
        let ended = sessions.terminate_subject(&subject, except.as_deref());
        Ok(ended.await?)
    }

    async fn clear(&mut self, store: Resource<OpenStore>) -> Result<u64> {
        Ok(self.sessions(&store)?.clear().await?)
    }

    async fn collect(&mut self, store: Resource<OpenStore>, limit: u32) -> Result<Collected> {
        Ok(self.sessions(&store)?.collect(limit).await?)
    }

    async fn stats(&mut self, store: Resource<OpenStore>) -> Result<Statistics> {
        Ok(self.sessions(&store)?.stats().await?)
    }

    async fn check(&mut self, store: Resource<OpenStore>) -> Result<Vec<String>> {
        Ok(self.sessions(&store)?.check().await?)
    }

    async fn backup(&mut self, store: Resource<OpenStore>, _: String) -> Result<()> {
        self.sessions(&store)?;
        let reason = "backup: copies of this store are made by its host, not by a component";
        Err(Error::Other(reason.to_owned()).into())
    }
}
