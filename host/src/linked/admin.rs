//! The contract's `admin`, as a guest calls it and as the handle answers.

use wasmtime::component::Resource;

use super::contracts::admin::{self as guest, Host};
use super::{OpenStore, StoresView, told};
use crate::sandbox::instance::contract::Error;
use crate::{Collected, Entry, Page, Session, Statistics};

/// The outer error traps the guest; the inner one is the contract's.
type Answered<T> = wasmtime::Result<Result<T, Error>>;

impl Host for StoresView<'_> {
    async fn list_sessions(
        &mut self,
        store: Resource<OpenStore>,
        subject: Option<String>,
        cursor: Option<String>,
        limit: u32,
    ) -> Answered<guest::Page> {
        let sessions = self.sessions(&store)?;
        let page = sessions.list_sessions(subject.as_deref(), cursor.as_deref(), limit);
        Ok(told(page.await))
    }

    async fn count_sessions(
        &mut self,
        store: Resource<OpenStore>,
        subject: Option<String>,
    ) -> Answered<u64> {
        let sessions = self.sessions(&store)?;
        Ok(told(sessions.count_sessions(subject.as_deref()).await))
    }

    async fn inspect(
        &mut self,
        store: Resource<OpenStore>,
        handle: String,
    ) -> Answered<Option<Session>> {
        Ok(told(self.sessions(&store)?.inspect(&handle).await))
    }

    async fn terminate(&mut self, store: Resource<OpenStore>, handle: String) -> Answered<bool> {
        Ok(told(self.sessions(&store)?.terminate(&handle).await))
    }

    async fn terminate_subject(
        &mut self,
        store: Resource<OpenStore>,
        subject: String,
        except: Option<String>,
    ) -> Answered<u64> {
        let sessions = self.sessions(&store)?;
        let ended = sessions.terminate_subject(&subject, except.as_deref());
        Ok(told(ended.await))
    }

    async fn clear(&mut self, store: Resource<OpenStore>) -> Answered<u64> {
        Ok(told(self.sessions(&store)?.clear().await))
    }

    async fn collect(
        &mut self,
        store: Resource<OpenStore>,
        limit: u32,
    ) -> Answered<guest::Collected> {
        Ok(told(self.sessions(&store)?.collect(limit).await))
    }

    async fn stats(&mut self, store: Resource<OpenStore>) -> Answered<guest::Statistics> {
        Ok(told(self.sessions(&store)?.stats().await))
    }

    async fn check(&mut self, store: Resource<OpenStore>) -> Answered<Vec<String>> {
        Ok(told(self.sessions(&store)?.check().await))
    }

    async fn backup(&mut self, store: Resource<OpenStore>, _: String) -> Answered<()> {
        self.sessions(&store)?;
        let reason = "backup: copies of this store are made by its host, not by a component";
        Ok(Err(Error::Other(reason.to_owned())))
    }
}

impl From<Page> for guest::Page {
    fn from(Page { entries, next }: Page) -> Self {
        let entries = entries.into_iter().map(Into::into).collect();
        Self { entries, next }
    }
}

impl From<Entry> for guest::Entry {
    fn from(entry: Entry) -> Self {
        Self {
            handle: entry.handle,
            subject: entry.subject,
            version: entry.version,
            created: entry.created,
            updated: entry.updated,
            expires: entry.expires,
            size: entry.size,
        }
    }
}

impl From<Collected> for guest::Collected {
    fn from(Collected { removed, more }: Collected) -> Self {
        Self { removed, more }
    }
}

impl From<Statistics> for guest::Statistics {
    fn from(statistics: Statistics) -> Self {
        Self {
            name: statistics.name,
            engine: statistics.engine,
            live: statistics.live,
            expired: statistics.expired,
            size: statistics.size,
            collected: statistics.collected,
        }
    }
}
