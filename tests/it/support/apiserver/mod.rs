//! The demo's API server with faults in front of it.
//!
//! The server itself answers as a healthy one. A layer around its router counts requests and applies the faults that a
//! test scripted: it answers in the server's place, or changes what the server answers.
//!
//! ```text
//! client ──> layer (traffic, script) ──> list, watch, spoil ──> the demo's router ──> its content
//! ```

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

/// The demo's API server, and what stands in front of it. Clones share everything.
#[derive(Clone)]
pub(crate) struct Api {
    content: api::Api,
    front: Arc<Front>,
}

#[derive(Default)]
struct Front {
    script: Mutex<Script>,
    traffic: Mutex<Traffic>,
    /// The names of pods that are shown in a shape that no decoder accepts.
    spoiled: Mutex<BTreeSet<String>>,
    /// Resource versions whose events no watch shows.
    lost: Mutex<Vec<RangeInclusive<u64>>>,
    /// The UID that the namespace `kube-system` is shown with.
    cluster_uid: Mutex<Option<String>>,
    /// Ends the watches that are open.
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

    /// Adds a fault to the script.
    pub(crate) fn inject(&self, fault: Fault) {
        self.front.script.lock().push(fault);
    }

    /// Drops all faults that have not struck.
    pub(crate) fn clear_faults(&self) {
        self.front.script.lock().clear();
    }

    /// How many faults are still to strike.
    pub(crate) fn pending_faults(&self) -> usize {
        self.front.script.lock().len()
    }

    /// How many requests of a kind have arrived.
    pub(crate) fn requests(&self, kind: Kind) -> u64 {
        self.front.traffic.lock().count(kind)
    }

    /// The newest requests (a few thousand), oldest first.
    pub(crate) fn seen(&self) -> Vec<Request> {
        self.front.traffic.lock().recent()
    }

    pub(crate) fn open_watches(&self) -> usize {
        self.front.open_watches.load(Ordering::SeqCst)
    }

    /// Ends every open watch, as a server that restarts.
    pub(crate) fn drop_watches(&self) {
        self.front.dropped.send_replace(());
    }

    /// From now on shows the pods of a name in a shape that no decoder accepts, in lists, watches and gets.
    pub(crate) fn spoil(&self, name: &str) {
        self.front.spoiled.lock().insert(name.to_owned());
    }

    /// Shows the pods of a name well again.
    pub(crate) fn unspoil(&self, name: &str) {
        self.front.spoiled.lock().remove(name);
    }

    /// Makes changes that no watch ever shows: events that the server lost.
    pub(crate) fn silently<T>(&self, change: impl FnOnce(&api::Api) -> T) -> T {
        // A watch looks here before it shows an event, and so waits until the change is complete.
        let mut lost = self.front.lost.lock();
        let first = self.content.resource_version() + 1;
        let changed = change(&self.content);
        lost.push(first..=self.content.resource_version());
        changed
    }

    /// Removes a pod, and no watch shows it.
    pub(crate) fn delete_silently(&self, namespace: &str, name: &str) -> Result<PodWritten, StatusError> {
        self.silently(|api| api.delete(namespace, name))
    }

    /// See [`api::Api::restore`]. Events that were lost after that moment are shown if their versions come again.
    pub(crate) fn restore(&self, to: Snapshot) {
        self.front.lost.lock().clear();
        self.content.restore(to);
    }

    /// Sets the cluster's identity: the UID of the namespace `kube-system`.
    pub(crate) fn set_cluster_uid(&self, uid: &str) {
        *self.front.cluster_uid.lock() = Some(uid.to_owned());
    }

    /// Changes a lease, as another candidate would.
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
