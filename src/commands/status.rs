//! The page `/status`: session, records and holds, as JSON for a person. `docs/operations.md` explains its members.

use std::sync::{Arc, OnceLock};

use serde_json::{Value, json};
use tokio::sync::watch;

use crate::{
    cli::values::LeaseName,
    model::ids::RecordOwner,
    reconcile::{
        absence::hold::HoldSummary,
        status::{ControllerStatus, FailedRenders},
    },
    telemetry::metrics::{Figures, Metrics},
};

#[derive(Clone)]
pub(super) struct StatusPage {
    metrics: Metrics,
    controller_status: watch::Receiver<ControllerStatus>,
    instance: Arc<str>,
    /// The Lease on which held deletions are approved.
    lease: Option<LeaseName>,
    owner: Arc<OnceLock<RecordOwner>>,
}

impl StatusPage {
    pub(super) fn new(
        metrics: Metrics,
        controller_status: watch::Receiver<ControllerStatus>,
        instance: &str,
        lease: Option<LeaseName>,
    ) -> Self {
        Self { metrics, controller_status, instance: instance.into(), lease, owner: Arc::default() }
    }

    /// Adds the cluster's identity, once it is known.
    pub(super) fn identified(&self, owner: &RecordOwner) {
        // The caller sets it once, so this cannot fail.
        let _ = self.owner.set(owner.clone());
    }

    pub(super) fn page(&self) -> Value {
        let Figures { pods, records, oldest_pending_seconds, first_complete_sync_seconds, watch_silence_seconds } =
            self.metrics.figures();
        let ControllerStatus { session, epoch, in_sync, holds, failed_renders, ability: _ } =
            self.controller_status.borrow().clone();
        let owner = self.owner.get();
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "instance": &*self.instance,
            "cluster": owner.map(|owner| json!({"id": owner.cluster_id, "name": owner.cluster_name})),
            "owner": owner.map(|owner| &owner.owner),
            "session": {"state": <&str>::from(session), "epoch": epoch},
            "inSync": in_sync,
            "firstCompleteSyncSeconds": Some(first_complete_sync_seconds).filter(|seconds| *seconds > 0.0),
            "pods": pods,
            "records": records.into_iter().collect::<std::collections::BTreeMap<_, _>>(),
            "oldestPendingSeconds": oldest_pending_seconds,
            "watchSilenceSeconds": watch_silence_seconds,
            "holds": holds.iter().map(|hold| self.hold(hold)).collect::<Vec<_>>(),
            "failedRenders": failed(&failed_renders),
        })
    }

    fn hold(&self, hold: &HoldSummary) -> Value {
        let HoldSummary { id, deletions, because, .. } = hold;
        let approve = self.lease.as_ref().map(|LeaseName { namespace, name }| {
            format!("pod-registrar approve {id} --approval-lease {namespace}/{name}")
        });
        json!({"id": id.to_string(), "deletions": deletions, "because": because.to_string(), "approve": approve})
    }
}

fn failed(FailedRenders { count, first }: &FailedRenders) -> Value {
    let pods = first.iter().map(|failed| json!({"uid": failed.uid, "cause": failed.cause}));
    json!({"count": count, "pods": pods.collect::<Vec<_>>()})
}
