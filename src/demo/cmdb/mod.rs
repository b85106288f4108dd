//! A small configuration management database (CMDB), as organisations have them: an ordinary REST API over systems of
//! any form, with a web page. It knows nothing of pods or of protocol v1, and keeps its systems in memory.
//!
//! | request | answer |
//! | --- | --- |
//! | `GET /api/systems?owner=&limit=&after=` | `{"results", "total", "next"}`; `next` is an address or null |
//! | `POST /api/systems` | 201; the server assigns the id, unless the body has one; 409 if it exists |
//! | `GET`, `PUT`, `PATCH`, `DELETE /api/systems/ID` | PUT creates or replaces, PATCH is a JSON merge patch |
//! | `GET /` | the page: a table with a column for each member that the systems have |
//!
//! The server adds `id` and `revision` to each system, and answers with the revision as `ETag`. Writes obey `If-Match`
//! and `If-None-Match: *`. Bodies, requests, answers and the systems together are bounded.

mod auth;
mod error;
mod html;
mod page;
mod query;
mod request;
mod routes;
mod store;

use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use secrecy::SecretString;

use auth::Gate;
use store::SystemStore;

#[derive(Clone, Debug)]
pub struct CmdbOptions {
    /// The bearer token that every request needs. A browser asks for it as the password. None admits everyone.
    pub token: Option<SecretString>,
    /// The size of all systems. More are refused.
    pub bytes: usize,
}

impl Default for CmdbOptions {
    fn default() -> Self {
        Self { token: None, bytes: 128 << 20 }
    }
}

/// The server. Cheap to clone; all clones share their systems.
#[derive(Clone, Debug)]
pub struct Cmdb {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    gate: Gate,
    store: Mutex<SystemStore>,
}

impl Cmdb {
    /// A server without systems.
    pub fn new(options: CmdbOptions) -> Self {
        let CmdbOptions { token, bytes } = options;
        let gate = Gate::new(token.as_ref());
        Self { shared: Arc::new(Shared { gate, store: Mutex::new(SystemStore::new(bytes)) }) }
    }

    fn gate(&self) -> &Gate {
        &self.shared.gate
    }

    fn store(&self) -> MutexGuard<'_, SystemStore> {
        self.shared.store.lock()
    }
}
