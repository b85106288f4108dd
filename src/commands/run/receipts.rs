//! Receipts of a running controller: the writer, and its questions to all event loops.

use std::{sync::Arc, time::Duration};

use futures::future::join_all;
use kube::Client;
use tokio::sync::{mpsc, oneshot, watch};

use super::targets::RunningTarget;
use crate::{
    clock::Clock,
    commands::tasks::Tasks,
    controller::{
        explain::Question,
        receipts::{ReceiptQuestion, ReceiptSink},
    },
    kubernetes::{
        client::PodSelection,
        receipts::{
            board::ReceiptBoard,
            writer::{AskTargets, ReceiptParts, ReceiptWriter},
        },
    },
    model::uid::Uid,
    reconcile::{
        election::Leadership,
        receipts::{Acknowledgement, ReceiptKinds, TargetRecords},
    },
    store::View,
    telemetry::metrics::Metrics,
};

/// Acknowledgements that wait for the writer.
const ACKNOWLEDGEMENTS_WAITING: usize = 4_096;
/// What a busy loop does not answer in time is not known.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// The writer's part of the process, before the pods are watched.
pub(super) struct Receipts {
    kinds: ReceiptKinds,
    pub(super) board: ReceiptBoard,
    pub(super) sink: ReceiptSink,
    acknowledged: mpsc::Receiver<Acknowledgement>,
}

/// What the writer shares with the rest of the process.
pub(super) struct ReceiptSurroundings<'a> {
    pub(super) client: Client,
    pub(super) scope: &'a PodSelection,
    pub(super) targets: &'a [RunningTarget],
    pub(super) instance: String,
    pub(super) view: View,
    pub(super) leadership: watch::Receiver<Leadership>,
    pub(super) clock: Clock,
    pub(super) metrics: Metrics,
}

impl Receipts {
    /// None if the settings ask for no receipts.
    pub(super) fn new(kinds: ReceiptKinds) -> Option<Self> {
        let (acknowledgements, acknowledged) = mpsc::channel(ACKNOWLEDGEMENTS_WAITING);
        let sink = ReceiptSink { kinds, acknowledgements };
        (!kinds.is_empty()).then(|| Self { kinds, board: ReceiptBoard::new(kinds), sink, acknowledged })
    }

    /// Starts the task that writes receipts.
    pub(super) fn start(self, surroundings: ReceiptSurroundings<'_>, tasks: &mut Tasks) {
        let Self { kinds, board, sink: _, acknowledged } = self;
        let ReceiptSurroundings { client, scope, targets, instance, view, leadership, clock, metrics } = surroundings;
        let writer = ReceiptWriter::new(ReceiptParts {
            client,
            kinds,
            targets: targets.iter().map(|target| target.settings.name).collect(),
            instance,
            rights_by_namespace: !scope.namespaces.is_empty(),
            board,
            view,
            leadership,
            clock,
            metrics,
            ask: asking(targets),
            rng: fastrand::Rng::new(),
        });
        tasks.spawn("receipts", async move {
            writer.run(acknowledged).await;
            Ok(())
        });
    }
}

fn asking(targets: &[RunningTarget]) -> AskTargets {
    let targets: Arc<[RunningTarget]> = targets.into();
    Box::new(move |pods| {
        let targets = targets.clone();
        Box::pin(async move { join_all(targets.iter().map(|target| of_target(target, pods.clone()))).await })
    })
}

/// What a target says about each pod. Nothing is known of a target that stopped.
async fn of_target(target: &RunningTarget, pods: Vec<Uid>) -> Vec<TargetRecords> {
    let (reply, answer) = oneshot::channel();
    let asked = async {
        target.questions.send(Question::Receipts(ReceiptQuestion { pods, reply })).await.ok()?;
        answer.await.ok()
    };
    tokio::time::timeout(ANSWER_WITHIN, asked).await.ok().flatten().unwrap_or_default()
}
