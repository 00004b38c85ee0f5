//! The visitor's session: all calls of the store, as an example of how a component uses
//! it.
//!
//! The component does not know which engine keeps the sessions, or where. An instance
//! lives for one request and opens the store in it, which is cheap if the host keeps the
//! store open.

use std::env;

use serde_json::json;
use wasi_sessions::store::admin;
use wasi_sessions::store::sessions::Store;
use wasi_sessions::store::types::{MergeRequest, Outcome, Reply, Request, RotateRequest, Session};

use crate::secrets;
use crate::throttle;
use crate::times;
use crate::visit::Visit;

pub use wasi_sessions::store::types::{Error, Statistics};

wit_bindgen::generate!({
    path: "../wit",
    inline: "
        package web-demo:site;
        world site {
            import wasi-sessions:store/sessions@0.2.0;
            import wasi-sessions:store/admin@0.2.0;
        }
    ",
    generate_all,
});

/// The most sessions that a user is shown.
const LONGEST_LIST: u32 = 100;

/// The most rows that one collection step removes.
const STEP: u32 = 100;

/// The most collection steps of one request.
const STEPS: u32 = 100;

/// The life of a session after a visitor's first request, which may be a crawler's, in
/// milliseconds. Each later request renews it by the store's `browserSessionLifetime`.
const FIRST_LIFE: u64 = 15 * 60_000;

/// The environment variable with the store's location, for a store that is composed with
/// this component and is not a file.
const LOCATION: &str = "SESSION_STORE";

/// The id of the session that counts the tries of the operator's token. A cookie with
/// this id is ignored, since it does not have the form of the store's ids.
const TRIES: &str = "tries of the operator's token";

/// The store.
pub struct Sessions(Store);

/// The live session of a visitor.
pub struct Current {
    /// The id, which is a secret of the visitor.
    pub id: String,
    /// The user who is logged in, if any.
    pub user: Option<String>,
    /// The payload.
    pub visit: Visit,
}

/// A session of a user, in the list of all of theirs.
pub struct Listed {
    /// Its handle, which is not a secret: only the id gives access to the session.
    pub handle: String,
    /// When it was last written, in milliseconds since the epoch.
    pub updated: u64,
    /// The payload.
    pub visit: Visit,
}

impl Sessions {
    /// Opens the store with its defaults.
    pub fn open() -> Result<Self, Error> {
        let location = env::var(LOCATION);
        let location = location.as_deref().unwrap_or("sessions.db");
        Store::open(location, "").map(Self)
    }

    /// Starts a session under a new id. It never uses an id that a visitor sends, since
    /// others may know it (session fixation).
    pub fn start(&self, visits: u64) -> Result<Current, Error> {
        let visit = Visit::new(visits);
        let created = self.0.create(&visit.to_json(), Some(FIRST_LIFE), None)?;
        Ok(Current {
            id: created.id,
            user: None,
            visit,
        })
    }

    /// Finds the session and renews it. If the renewal fails, on a full disk for
    /// example, the session can still be shown and ended.
    pub fn find(&self, id: &str) -> Result<Option<Current>, Error> {
        let Some(session) = self.0.get(id)? else {
            return Ok(None);
        };
        if let Err(error) = self.0.touch(id, None) {
            eprintln!("a session was not renewed: {error}");
        }
        Ok(current(id, session))
    }

    /// Counts a visit. If another request has written the session meanwhile
    /// (compare-and-swap by the version), retries with what that one wrote, so that no
    /// visit is lost. Each retry means that another request has succeeded.
    pub fn count_visit(&self, id: &str) -> Result<Option<Current>, Error> {
        let mut found = self.0.get(id)?;
        while let Some(session) = found {
            let version = session.version;
            let Some(mut current) = current(id, session) else {
                return Ok(None);
            };
            current.visit.visits += 1;
            let data = current.visit.to_json();
            match self.0.update(id, &data, None, Some(version))? {
                Outcome::Written(_) => return Ok(Some(current)),
                Outcome::Stale(newer) => found = Some(newer),
                Outcome::Gone => return Ok(None),
            }
        }
        Ok(None)
    }

    /// Logs a user in: writes the browser and a new token for the forms, rotates the id
    /// and binds the user, in one transaction. Returns the new id; `None` when the
    /// session is gone.
    pub fn log_in(&self, id: &str, name: &str, browser: &str) -> Result<Option<String>, Error> {
        let token = secrets::token();
        let patch = json!({ "browser": browser, "since": times::now(), "token": token });
        self.promote(id, patch.to_string(), Some(name))
    }

    /// Makes this the session of an operator; returns its new id.
    pub fn make_operator(&self, id: &str) -> Result<Option<String>, Error> {
        let patch = json!({ "operator": true, "token": secrets::token() });
        self.promote(id, patch.to_string(), None)
    }

    /// Patches a session that gains rights and rotates its id, since others may know the
    /// old one. Returns the new id. If the patch is refused, for example as too large, the
    /// session ends: each request of a batch succeeds or fails alone, so its id was rotated.
    fn promote(
        &self,
        id: &str,
        patch: String,
        subject: Option<&str>,
    ) -> Result<Option<String>, Error> {
        let replies = self.0.batch(&[
            Request::Merge(MergeRequest {
                id: id.to_owned(),
                patch,
                ttl: None,
            }),
            Request::Rotate(RotateRequest {
                id: id.to_owned(),
                subject: subject.map(str::to_owned),
            }),
        ])?;
        let (mut promoted, mut refused) = (None, None);
        for reply in replies {
            match reply {
                Ok(Reply::Rotated(created)) => promoted = created.map(|created| created.id),
                Ok(_) => {}
                Err(error) => refused = Some(error),
            }
        }
        let Some(error) = refused else {
            return Ok(promoted);
        };
        if let Some(id) = promoted {
            self.log_out(&id)?;
        }
        Err(error)
    }

    /// Ends the session. Requests in flight cannot bring it back.
    pub fn log_out(&self, id: &str) -> Result<(), Error> {
        self.0.destroy(id).map(drop)
    }

    /// The sessions of a user, at most [`LONGEST_LIST`], and whether there are more.
    pub fn list(&self, user: &str) -> Result<(Vec<Listed>, bool), Error> {
        let (mut sessions, mut left) = (vec![], LONGEST_LIST);
        let mut cursor: Option<String> = None;
        loop {
            let page = admin::list_sessions(&self.0, Some(user), cursor.as_deref(), left)?;
            left -= page.entries.len() as u32;
            for entry in page.entries {
                // The session may have ended since.
                let Some(session) = admin::inspect(&self.0, &entry.handle)? else {
                    continue;
                };
                sessions.extend(Visit::parse(&session.data).map(|visit| Listed {
                    handle: entry.handle,
                    updated: session.updated,
                    visit,
                }));
            }
            cursor = page.next;
            if cursor.is_none() || left == 0 {
                return Ok((sessions, cursor.is_some()));
            }
        }
    }

    /// Ends the session with this handle, if it is one of this user's.
    pub fn end(&self, user: &str, handle: &str) -> Result<(), Error> {
        let session = admin::inspect(&self.0, handle)?;
        if session.and_then(|session| session.subject).as_deref() == Some(user) {
            admin::terminate(&self.0, handle)?;
        }
        Ok(())
    }

    /// Ends all sessions of a user except the one with this id.
    pub fn end_others(&self, user: &str, id: &str) -> Result<(), Error> {
        admin::terminate_subject(&self.0, user, Some(id)).map(drop)
    }

    /// The figures for the operator's page.
    pub fn statistics(&self) -> Result<Statistics, Error> {
        admin::stats(&self.0)
    }

    /// Takes one of the tries of the operator's token, which all visitors share; false
    /// when none is left for now. Concurrent requests are counted by compare-and-swap, as
    /// visits are.
    pub fn take_try(&self) -> Result<bool, Error> {
        let mut found = self.0.get(TRIES)?;
        loop {
            let kept = found.as_ref().map_or(&[][..], |session| &session.data);
            let full = String::from_utf8_lossy(kept).parse().unwrap_or(0);
            let Some(full) = throttle::take(full, times::now()) else {
                return Ok(false);
            };
            // Version 0 creates the session.
            let version = found.as_ref().map_or(0, |session| session.version);
            let data = full.to_string().into_bytes();
            let life = Some(throttle::MEMORY);
            match self.0.update(TRIES, &data, life, Some(version))? {
                Outcome::Written(_) => return Ok(true),
                Outcome::Stale(newer) => found = Some(newer),
                // The session has expired since it was read.
                Outcome::Gone if version > 0 => found = None,
                // An administrator ended the session less than a minute ago.
                Outcome::Gone => return Ok(false),
            }
        }
    }

    /// Collects in small steps, between which other requests are served; returns how many
    /// rows were removed.
    pub fn collect(&self) -> Result<u64, Error> {
        let mut removed = 0;
        for _ in 0..STEPS {
            let step = admin::collect(&self.0, STEP)?;
            removed += step.removed;
            if !step.more {
                break;
            }
        }
        Ok(removed)
    }
}

/// The session; `None` if this site did not write its payload.
fn current(id: &str, session: Session) -> Option<Current> {
    Some(Current {
        id: id.to_owned(),
        user: session.subject,
        visit: Visit::parse(&session.data)?,
    })
}
