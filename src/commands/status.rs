//! The page `/status`: session, records and holds, as JSON for the operator. `docs/operations.md` explains its members.

use std::sync::{Arc, OnceLock};

use serde_json::{Map, Value, json};

use super::run::targets::RunningTarget;
use crate::{
    cli::values::LeaseName,
    model::{ids::RecordOwner, label::RecordLabel},
    reconcile::{
        absence::hold::HoldSummary,
        status::{ControllerStatus, FailedRenders, FailedResync},
    },
    telemetry::metrics::{Figures, Metrics, target::TargetFigures},
};

#[derive(Clone)]
pub(super) struct StatusPage {
    metrics: Metrics,
    targets: Arc<[RunningTarget]>,
    instance: Arc<str>,
    /// The Lease on which held deletions are approved.
    lease: Option<LeaseName>,
    owner: Arc<OnceLock<RecordOwner>>,
}

impl StatusPage {
    pub(super) fn new(metrics: Metrics, targets: Vec<RunningTarget>, instance: &str, lease: Option<LeaseName>) -> Self {
        Self { metrics, targets: targets.into(), instance: instance.into(), lease, owner: Arc::default() }
    }

    /// Adds the cluster's identity, once it is known.
    pub(super) fn identified(&self, owner: &RecordOwner) {
        // The caller sets it once, so this cannot fail.
        let _ = self.owner.set(owner.clone());
    }

    /// The members beside `targets` are those of all targets together.
    pub(super) fn page(&self) -> Value {
        let Figures { pods, watch_silence_seconds } = self.metrics.figures();
        let statuses: Vec<ControllerStatus> =
            self.targets.iter().map(|target| target.status.borrow().clone()).collect();
        let figures: Vec<TargetFigures> = self.targets.iter().map(|target| target.metrics.figures()).collect();
        let parts = self.targets.iter().zip(&statuses).zip(&figures);
        let targets: Vec<Value> =
            parts.map(|((target, status), figures)| self.target(target, status, figures)).collect();
        let owner = self.owner.get();
        let mut page = self.state(&ControllerStatus::of_all(&statuses), &sum(figures));
        page.extend([
            ("version".to_owned(), env!("CARGO_PKG_VERSION").into()),
            ("instance".to_owned(), (*self.instance).into()),
            (
                "cluster".to_owned(),
                owner.map(|owner| json!({"id": owner.cluster_id, "name": owner.cluster_name})).into(),
            ),
            ("owner".to_owned(), owner.map(|owner| owner.owner.clone()).into()),
            ("pods".to_owned(), pods.into()),
            ("watchSilenceSeconds".to_owned(), watch_silence_seconds.into()),
            ("targets".to_owned(), targets.into()),
        ]);
        page.into()
    }

    fn target(&self, target: &RunningTarget, status: &ControllerStatus, figures: &TargetFigures) -> Value {
        let mut shown = self.state(status, figures);
        shown.insert("name".to_owned(), target.settings.name.into());
        shown.insert("kind".to_owned(), target.settings.kind_name().into());
        shown.insert("stopped".to_owned(), target.stopped.get().cloned().into());
        shown.into()
    }

    /// The members that a target has and the process, too.
    fn state(&self, status: &ControllerStatus, figures: &TargetFigures) -> Map<String, Value> {
        let ControllerStatus { session, epoch, in_sync, holds, failed_renders, failed_resync, ability: _ } = status;
        let TargetFigures { records, oldest_pending_seconds, first_complete_sync_seconds } = figures;
        let records: Map<_, _> = records.iter().map(|(state, count)| ((*state).to_owned(), (*count).into())).collect();
        let first_sync = Some(*first_complete_sync_seconds).filter(|seconds| *seconds > 0.0);
        Map::from_iter([
            ("session".to_owned(), json!({"state": <&str>::from(*session), "epoch": epoch})),
            ("inSync".to_owned(), (*in_sync).into()),
            ("firstCompleteSyncSeconds".to_owned(), first_sync.into()),
            ("records".to_owned(), records.into()),
            ("oldestPendingSeconds".to_owned(), (*oldest_pending_seconds).into()),
            ("holds".to_owned(), holds.iter().map(|hold| self.hold(hold)).collect::<Vec<_>>().into()),
            ("failedRenders".to_owned(), failed(failed_renders)),
            ("failedResync".to_owned(), failed_resync.as_ref().map(resync).into()),
        ])
    }

    fn hold(&self, hold: &HoldSummary) -> Value {
        let HoldSummary { id, target, deletions, because, first, former: _ } = hold;
        let approve = self.lease.as_ref().map(|LeaseName { namespace, name }| {
            format!("pod-registrar approve {id} --approval-lease {namespace}/{name}")
        });
        let (id, because) = (id.to_string(), because.to_string());
        let record = |label: &RecordLabel| json!({"id": label.id_or_key(), "uid": label.uid, "pod": label.pod});
        let records: Vec<Value> = first.iter().map(record).collect();
        json!({
            "id": id, "target": target, "deletions": deletions, "because": because, "records": records,
            "approve": approve,
        })
    }
}

fn failed(FailedRenders { count, first }: &FailedRenders) -> Value {
    let pods = first.iter().map(|failed| json!({"uid": failed.uid, "pod": failed.pod, "cause": failed.cause}));
    json!({"count": count, "pods": pods.collect::<Vec<_>>()})
}

fn resync(FailedResync { seconds, tries, cause }: &FailedResync) -> Value {
    json!({"seconds": seconds, "tries": tries, "cause": cause})
}

/// The figures of all targets together. The first complete sync is that of the last target.
fn sum(targets: Vec<TargetFigures>) -> TargetFigures {
    let add = |mut all: TargetFigures, target: TargetFigures| {
        all.records.iter_mut().zip(target.records).for_each(|(sum, (_, count))| sum.1 += count);
        all.oldest_pending_seconds = all.oldest_pending_seconds.max(target.oldest_pending_seconds);
        all.first_complete_sync_seconds = match (all.first_complete_sync_seconds, target.first_complete_sync_seconds) {
            (all, target) if all > 0.0 && target > 0.0 => all.max(target),
            _ => 0.0,
        };
        all
    };
    let none = TargetFigures { records: Vec::new(), oldest_pending_seconds: 0.0, first_complete_sync_seconds: 0.0 };
    targets.into_iter().reduce(add).unwrap_or(none)
}
