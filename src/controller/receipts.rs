//! What the event loop tells the writer of receipts: that a registry acknowledged a record, and what it holds of a pod.
//!
//! The writer is never waited for. An acknowledgement that it has no room for is counted and dropped, because the
//! writer looks at all pods again later; only an Event is then left out.

use tokio::sync::{mpsc, oneshot};

use crate::{
    model::{moment::Moment, recent::Recent, uid::Uid},
    reconcile::{
        fault_log::Reminder,
        outcome::OperationKind,
        receipts::{Acknowledgement, ReceiptKind, ReceiptKinds, TargetRecords},
    },
    telemetry::metrics::{
        Metrics,
        labels::{Receipt, ReceiptOutcome},
    },
};

/// New records that are remembered until they are acknowledged, at least.
const NEW_KEPT: usize = 10_000;

/// Asks a loop what its registry holds of these pods.
pub struct ReceiptQuestion {
    pub pods: Vec<Uid>,
    /// Takes an answer per pod, in the same order.
    pub reply: oneshot::Sender<Vec<TargetRecords>>,
}

/// The writer of receipts, as a loop sees it.
#[derive(Clone, Debug)]
pub struct ReceiptSink {
    pub kinds: ReceiptKinds,
    pub acknowledgements: mpsc::Sender<Acknowledgement>,
}

/// The part of the loop.
pub(super) struct ReceiptNotes {
    target: &'static str,
    sink: Option<ReceiptSink>,
    metrics: Metrics,
    /// The keys of records that are new in the registry, because of a watch event.
    new: Recent<()>,
    reminder: Reminder,
}

impl ReceiptNotes {
    pub(super) fn new(target: &'static str, sink: Option<ReceiptSink>, metrics: Metrics) -> Self {
        Self { target, sink, metrics, new: Recent::default(), reminder: Reminder::default() }
    }

    /// Whether new records have to be noted.
    pub(super) fn wants_new(&self) -> bool {
        self.sink.as_ref().is_some_and(|sink| sink.kinds.event)
    }

    /// A record is sent that the registry does not have.
    pub(super) fn sent_new(&mut self, key: &Uid) {
        self.new.insert(key, (), NEW_KEPT);
    }

    /// The registry acknowledged a change of a record, which belongs to this pod.
    pub(super) fn acknowledged(&mut self, key: &Uid, kind: OperationKind, pod: Option<&Uid>, now: Moment) {
        let Some(ReceiptSink { kinds, acknowledgements }) = &self.sink else { return };
        let was_new = self.new.remove(key).is_some();
        let is_new = was_new && kind == OperationKind::Put;
        let Some(pod) = pod.filter(|_| is_new || kinds.gate || kinds.annotation) else { return };
        let told = acknowledgements.try_send(Acknowledgement { target: self.target, pod: pod.clone(), is_new });
        if told.is_ok() {
            self.reminder.over();
            return;
        }
        for kind in [ReceiptKind::Event, ReceiptKind::Gate, ReceiptKind::Annotation] {
            if kinds.contains(kind) && (is_new || kind != ReceiptKind::Event) {
                self.metrics.receipt(kind.into(), ReceiptOutcome::Dropped);
            }
        }
        if self.reminder.is_due(now) {
            tracing::warn!(
                "receipts are behind; conditions and annotations follow later, and some Events are left out"
            );
        }
    }
}

impl From<ReceiptKind> for Receipt {
    fn from(kind: ReceiptKind) -> Self {
        match kind {
            ReceiptKind::Event => Self::Event,
            ReceiptKind::Gate => Self::Gate,
            ReceiptKind::Annotation => Self::Annotation,
        }
    }
}
