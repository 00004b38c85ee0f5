//! Starts the component over a database on a server.

use std::sync::Arc;

use zeroize::Zeroizing;

use super::location::{Kind, show};
use crate::clock::StoreClock;
use crate::sandbox::compiled::{Cache, Embedded};
use crate::sandbox::instance::{Guest, Prepared};
use crate::sandbox::network;
use crate::sandbox::reachable::Server;
use crate::sandbox::state::State;
use crate::settings::Settings;
use crate::{Database, Error};

/// The settings of instances, before the component is compiled. Creating it does not block.
pub(crate) struct Plan {
    kind: &'static Kind,
    component: Embedded,
    servers: Vec<Server>,
    database: Database,
    options: Zeroizing<String>,
    settings: Settings,
    clock: Arc<StoreClock>,
}

impl Plan {
    /// Checks the settings, and the URL as far as the host can without the component.
    pub(crate) fn new(
        database: Database,
        settings: Settings,
        clock: Arc<StoreClock>,
    ) -> Result<Self, Error> {
        database.check()?;
        let kind = Kind::of(&database.url)?;
        Kind::check(&database.url)?;
        let options = settings
            .options
            .to_server_json(database.tls_roots.as_deref())?;
        Ok(Self {
            kind,
            component: kind.component()?,
            servers: kind.servers(&database.url),
            database,
            options: Zeroizing::new(options),
            settings,
            clock,
        })
    }

    /// The servers as text, without a password.
    pub(crate) fn servers(&self) -> String {
        show(&self.servers)
    }

    /// Compiles the component, or takes it from the cache.
    pub(crate) fn prepare(self) -> Result<Launcher, Error> {
        let cache = match &self.settings.cache_directory {
            Some(cache) => Cache::open(cache, None::<&str>)?,
            None => None,
        };
        let link = network::add_to_linker;
        let limit = self.settings.memory_limit;
        let component = Prepared::new(self.component, limit, cache.as_ref(), link)?;
        Ok(Launcher {
            component,
            plan: self,
        })
    }
}

/// Starts instances: the compiled component, and the settings of its instances.
pub(crate) struct Launcher {
    component: Prepared,
    plan: Plan,
}

impl Launcher {
    /// Starts an instance, which connects to a server; [`Error::Unreachable`] if none is ready
    /// in time.
    pub(crate) async fn start(&self) -> Result<Guest, Error> {
        let plan = &self.plan;
        let password = plan.database.password.as_deref();
        let environment = password.map(|password| (plan.kind.password, password.as_str()));
        let clock = plan.clock.clone();
        let state = State::with_network(&plan.settings, clock, &plan.servers, environment);
        let opened = self
            .component
            .open(state, &plan.database.url, &plan.options);
        match opened.await {
            Err(Error::Busy) => Err(Error::Unreachable {
                servers: plan.servers(),
            }),
            done => done,
        }
    }
}
