//! What stand-ins for registries share: a state in memory, served by the test itself.

use std::sync::Arc;

use axum::Router;
use parking_lot::{Mutex, MutexGuard};
use tokio::task::JoinHandle;

/// A registry in memory, on a free port of loopback. It stops when this is dropped.
pub(crate) struct StandIn<S> {
    pub(crate) url: String,
    state: Arc<Mutex<S>>,
    task: JoinHandle<std::io::Result<()>>,
}

impl<S: Default + Send + 'static> StandIn<S> {
    /// Begins with an empty state, which the router shares.
    pub(super) async fn serve(router: Router<Arc<Mutex<S>>>) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let state = Arc::<Mutex<S>>::default();
        let task = tokio::spawn(axum::serve(listener, router.with_state(state.clone())).into_future());
        Self { url, state, task }
    }
}

impl<S> StandIn<S> {
    pub(super) fn state(&self) -> MutexGuard<'_, S> {
        self.state.lock()
    }
}

impl<S> Drop for StandIn<S> {
    fn drop(&mut self) {
        self.task.abort();
    }
}
