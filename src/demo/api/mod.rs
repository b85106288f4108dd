//! An API server in memory, as an axum [`Router`](axum::Router): pods, namespaces, leases and events.
//!
//! ```text
//! routes ── others, pods, list, watch ──> store (State) ──> history, object
//! handle (changes from Rust) ──────────────┘
//! ```
//!
//! It answers as a healthy server does. Tests that need faults wrap the router with a layer of their own.

mod discovery;
pub mod handle;
mod history;
mod list;
mod object;
mod others;
mod pods;
mod query;
mod routes;
mod selector;
pub mod status;
pub mod store;
mod watch;

use std::{sync::Arc, time::Duration};

use parking_lot::{Mutex, MutexGuard};

use store::ApiState;

#[derive(Clone, Debug)]
pub struct ApiOptions {
    /// Seed of UIDs, generated names and default timeouts.
    pub seed: u64,
    /// The number of changes that are kept. A watch from an earlier resource version gets a 410.
    pub history: usize,
    /// The interval of bookmarks.
    pub bookmark_every: Duration,
}

impl Default for ApiOptions {
    fn default() -> Self {
        Self { seed: 1, history: 10_000, bookmark_every: Duration::from_secs(60) }
    }
}

/// The server. Cheap to clone; all clones share their content.
#[derive(Clone, Debug)]
pub struct Api {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    options: ApiOptions,
    state: Mutex<ApiState>,
    /// Wakes the watches.
    changed: tokio::sync::watch::Sender<()>,
}

impl Api {
    /// A server with the namespaces `default` and `kube-system` and no pods.
    pub fn new(options: ApiOptions) -> Self {
        let state = Mutex::new(ApiState::new(options.seed, options.history));
        Self { shared: Arc::new(Shared { options, state, changed: tokio::sync::watch::Sender::new(()) }) }
    }

    fn state(&self) -> MutexGuard<'_, ApiState> {
        self.shared.state.lock()
    }

    /// Changes the content, and wakes the watches.
    fn change<T>(&self, change: impl FnOnce(&mut ApiState) -> T) -> T {
        let out = change(&mut self.state());
        self.shared.changed.send_replace(());
        out
    }
}
