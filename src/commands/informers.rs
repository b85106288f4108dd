//! Starts the informers that the settings of a cluster and a scope ask for.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};

use super::tasks::Tasks;
use crate::{
    cli::flags::{ClusterSettings, ScopeSettings},
    clock::Clock,
    kubernetes::{
        client::{self, ClusterConnection, PodSelection},
        kubeconfig::{Environment, Search},
        receipts::board::ReceiptBoard,
        watch::informer::{Informer, SharedByWatches, WatchSetup},
    },
    model::{digest::Digest, pod::to_record::Rule},
    reconcile::pod_event::PodEvent,
    store::View,
    telemetry::{health::Health, metrics::Metrics},
};

/// Pod events that wait for an event loop. When the queue is full, the watches wait.
pub(super) const POD_EVENTS_WAITING: usize = 4_096;

/// Silence after which a watch is probed. An API server sends bookmarks about as often.
const PROBE_AFTER: Duration = Duration::from_secs(60);

/// Finds the cluster by the settings and the environment, as kubectl does.
pub(super) fn cluster(settings: ClusterSettings, environment: Environment) -> Result<ClusterConnection, client::Error> {
    let ClusterSettings { kubeconfig, context } = settings;
    ClusterConnection::find(&Search { kubeconfig, context, environment })
}

pub(super) fn scope(settings: ScopeSettings) -> PodSelection {
    let ScopeSettings { namespace, exclude_namespace, label_selector, field_selector } = settings;
    PodSelection { namespaces: namespace, excluded_namespaces: exclude_namespace, label_selector, field_selector }
}

/// A hash of a scope, and of what a target selects in it. The session declares it, so that the controller notices when
/// one of them changes.
pub(super) fn scope_hash(scope: &PodSelection, select: Option<&Value>) -> String {
    let PodSelection { namespaces, excluded_namespaces, label_selector, field_selector } = scope;
    let (mut namespaces, mut excluded) = (namespaces.clone(), excluded_namespaces.clone());
    namespaces.sort();
    excluded.sort();
    let mut whole = vec![json!(namespaces), json!(excluded), json!(label_selector), json!(field_selector)];
    whole.extend(select.cloned());
    let whole = Value::from(whole);
    Digest::of_canonical(whole.to_string().as_bytes()).hex()
}

/// The number of watches of a scope: one per namespace, or one for all namespaces.
pub(super) fn watches(scope: &PodSelection) -> usize {
    scope.namespaces.len().max(1)
}

pub(super) struct InformerParts {
    pub(super) scope: PodSelection,
    pub(super) rule: Rule,
    pub(super) relist_interval: Duration,
    pub(super) clock: Clock,
    pub(super) metrics: Metrics,
    pub(super) health: Health,
    /// Where pods show their receipts, if some are written.
    pub(super) receipts: Option<ReceiptBoard>,
}

/// The running informers, as a command uses them.
pub(super) struct Watching {
    pub(super) view: View,
    pub(super) pod_events: mpsc::Receiver<PodEvent>,
    pub(super) relist: watch::Sender<u64>,
}

/// Starts one informer per watch.
pub(super) fn start(cluster: &ClusterConnection, parts: InformerParts, tasks: &mut Tasks) -> Watching {
    let InformerParts { scope, rule, relist_interval, clock, metrics, health, receipts } = parts;
    let (sender, pod_events) = mpsc::channel(POD_EVENTS_WAITING);
    let (relist, relist_requests) = watch::channel(0);
    let namespaces: Vec<Option<String>> = match scope.namespaces.as_slice() {
        [] => vec![None],
        namespaces => namespaces.iter().cloned().map(Some).collect(),
    };
    let setup = WatchSetup {
        scope,
        rule: Arc::new(rule),
        relist_interval,
        probe_after: PROBE_AFTER,
        pod_events: sender,
        relist: relist_requests,
        common: SharedByWatches::default(),
        clock,
        metrics,
        health,
        receipts,
    };
    let mut stores = Vec::new();
    for (watch, namespace) in namespaces.iter().enumerate() {
        let informer = Informer::new(watch, namespace.as_deref(), cluster, setup.clone());
        stores.push(informer.store());
        tasks.spawn("watch", async move { Ok(informer.run().await?) });
    }
    Watching { view: View::new(stores), pod_events, relist }
}
