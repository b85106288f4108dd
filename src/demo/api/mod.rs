//! The stand-in API server: what it holds, and the handle by which Rust code changes it and looks at what was asked.
//!
//! ```text
//! routes ── others, pods, list, watch ──> store (State) ──> history, object
//!    └── fault (what goes wrong), traffic (what was asked)
//! ```

mod discovery;
mod fault;
mod handle;
mod history;
mod list;
mod object;
mod others;
mod pods;
mod query;
mod routes;
mod selector;
mod server;
mod spoil;
mod status;
mod store;
mod traffic;
mod watch;

use std::{
    sync::{Arc, atomic::AtomicUsize},
    time::Duration,
};

use parking_lot::{Mutex, MutexGuard};

pub(super) use self::store::random_suffix;
use self::{fault::Script, spoil::Spoiled, store::State, traffic::Traffic};
pub use self::{
    fault::{Fault, Kind, Request},
    handle::Written,
    server::Server,
    status::Failure,
    store::Snapshot,
};

/// How a stand-in behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// The seed of UIDs, names and timeouts.
    pub seed: u64,
    /// How many changes are remembered; a watch from an earlier one is answered with 410.
    pub history: usize,
    /// How often a watch that asks for bookmarks gets one.
    pub bookmark_every: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { seed: 1, history: 10_000, bookmark_every: Duration::from_secs(60) }
    }
}

/// A stand-in for the Kubernetes API server. Cheap to clone: all clones are the same server.
#[derive(Clone, Debug)]
pub struct Api {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    options: Options,
    state: Mutex<State>,
    script: Mutex<Script>,
    spoiled: Mutex<Spoiled>,
    traffic: Mutex<Traffic>,
    /// Wakes the watches.
    changed: tokio::sync::watch::Sender<()>,
    open_watches: AtomicUsize,
}

impl Api {
    /// A server with the namespaces `default` and `kube-system` and no pods.
    pub fn new(options: Options) -> Self {
        let state = State::new(options.seed, options.history);
        Self {
            shared: Arc::new(Shared {
                options,
                state: Mutex::new(state),
                script: Mutex::default(),
                spoiled: Mutex::default(),
                traffic: Mutex::default(),
                changed: tokio::sync::watch::Sender::new(()),
                open_watches: AtomicUsize::new(0),
            }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock()
    }

    /// Changes the content and wakes the watches.
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let out = change(&mut self.state());
        self.shared.changed.send_replace(());
        out
    }

    fn spoiled(&self) -> Spoiled {
        self.shared.spoiled.lock().clone()
    }
}
