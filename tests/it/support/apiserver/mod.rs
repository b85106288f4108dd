//! The demo's API server with faults in front of it.
//!
//! The server itself is healthy. A layer around its router counts requests and applies scripted faults: it answers
//! instead of the server, or changes the server's answers.
//!
//! ```text
//! client ──> layer (traffic, script) ──> list, watch, spoil, apply ──> the demo's router ──> its content
//! ```

mod apply;
mod fault;
mod layer;
mod list;
mod server;
mod spoil;
mod traffic;
mod watch;

use std::{
    collections::BTreeSet,
    ops::{Deref, RangeInclusive},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{
    body::Body,
    http::{Request as HttpRequest, StatusCode},
};
use parking_lot::Mutex;
use pod_registrar::demo::api::{self, handle::PodWritten, status::StatusError, store::Snapshot};
use serde_json::Value;
use tokio::sync::watch::Sender;
use tower::ServiceExt as _;

use self::{fault::Script, traffic::Traffic};
pub(crate) use self::{
    fault::{Fault, Kind, Request},
    server::Server,
};

/// The demo's API server with its faults. Clones share their state.
#[derive(Clone)]
pub(crate) struct Api {
    content: api::Api,
    front: Arc<Front>,
}

#[derive(Default)]
struct Front {
    script: Mutex<Script>,
    traffic: Mutex<Traffic>,
    /// The names of pods that are shown in a form that cannot be decoded.
    spoiled: Mutex<BTreeSet<String>>,
    /// Resource versions whose events no watch shows.
    lost: Mutex<Vec<RangeInclusive<u64>>>,
    /// The UID that the namespace `kube-system` is shown with.
    cluster_uid: Mutex<Option<String>>,
    /// Ends the open watches.
    dropped: Sender<()>,
    open_watches: AtomicUsize,
}

impl Deref for Api {
    type Target = api::Api;

    fn deref(&self) -> &api::Api {
        &self.content
    }
}

impl Api {
    pub(crate) fn new(options: api::ApiOptions) -> Self {
        Self { content: api::Api::new(options), front: Arc::default() }
    }

    /// The server itself, without faults.
    pub(crate) fn content(&self) -> api::Api {
        self.content.clone()
    }

    pub(crate) fn inject(&self, fault: Fault) {
        self.front.script.lock().push(fault);
    }

    /// Drops all faults that have not been applied.
    pub(crate) fn clear_faults(&self) {
        self.front.script.lock().clear();
    }

    /// The number of faults that still apply.
    pub(crate) fn pending_faults(&self) -> usize {
        self.front.script.lock().len()
    }

    /// The number of requests of a kind.
    pub(crate) fn requests(&self, kind: Kind) -> u64 {
        self.front.traffic.lock().count(kind)
    }

    /// The newest requests (a few thousand), oldest first.
    pub(crate) fn seen(&self) -> Vec<Request> {
        self.front.traffic.lock().recent()
    }

    /// The objects that were applied to pods, oldest first.
    pub(crate) fn applied(&self) -> Vec<Value> {
        self.front.traffic.lock().applied.clone()
    }

    pub(crate) fn open_watches(&self) -> usize {
        self.front.open_watches.load(Ordering::SeqCst)
    }

    /// Ends every open watch, as a restart of the server does.
    pub(crate) fn drop_watches(&self) {
        self.front.dropped.send_replace(());
    }

    /// Shows the pods with this name in a form that cannot be decoded, in lists, watches and gets.
    pub(crate) fn spoil(&self, name: &str) {
        self.front.spoiled.lock().insert(name.to_owned());
    }

    /// Shows the pods with this name in a valid form again.
    pub(crate) fn unspoil(&self, name: &str) {
        self.front.spoiled.lock().remove(name);
    }

    /// Makes changes that no watch shows: the server loses their events.
    pub(crate) fn silently<T>(&self, change: impl FnOnce(&api::Api) -> T) -> T {
        // A watch takes this lock before it shows an event, so it waits until the changes are complete.
        let mut lost = self.front.lost.lock();
        let first = self.content.resource_version() + 1;
        let changed = change(&self.content);
        lost.push(first..=self.content.resource_version());
        changed
    }

    /// Removes a pod without an event.
    pub(crate) fn delete_silently(&self, namespace: &str, name: &str) -> Result<PodWritten, StatusError> {
        self.silently(|api| api.delete(namespace, name))
    }

    /// See [`api::Api::restore`]. Events that were lost after that moment are shown if their versions occur again.
    pub(crate) fn restore(&self, to: Snapshot) {
        self.front.lost.lock().clear();
        self.content.restore(to);
    }

    /// Sets the identity of the cluster: the UID of the namespace `kube-system`.
    pub(crate) fn set_cluster_uid(&self, uid: &str) {
        *self.front.cluster_uid.lock() = Some(uid.to_owned());
    }

    /// Changes a Lease, as another candidate would.
    pub(crate) async fn edit_lease(&self, namespace: &str, name: &str, change: impl Fn(&mut Value)) {
        loop {
            let mut lease = self.lease(namespace, name).unwrap();
            change(&mut lease);
            let path = format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/{name}");
            let request = HttpRequest::put(path).body(Body::from(lease.to_string())).unwrap();
            match self.content.router().oneshot(request).await.unwrap().status() {
                StatusCode::OK => return,
                // Its holder renewed it in between.
                status => assert_eq!(status, StatusCode::CONFLICT),
            }
        }
    }
}
