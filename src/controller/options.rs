//! The options, inputs and outputs of the event loop.

use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::{explain::Question, receipts::ReceiptSink};
use crate::{
    reconcile::{
        absence::{
            ScopeChangePolicy,
            check::{Check, CheckResult},
            hold::HoldId,
        },
        activity::Activity,
        election::Leadership,
        pod_event::PodEvent,
        status::ControllerStatus,
        trace::{ChangeTrace, Sampling},
    },
    telemetry::{health::LoopHealth, metrics::target::TargetMetrics},
};

/// The usual [`ControllerOptions::backlog_window`]: several batches, and a small queue however large the backlog is.
pub const BACKLOG_WINDOW: usize = 4_096;
/// The usual [`ControllerOptions::visits_per_turn`]. A visit takes about a microsecond.
pub const VISITS_PER_TURN: usize = 5_000;

/// Who approves held deletions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Approver {
    /// An operator, with the command `approve`.
    Operator,
    /// The command that runs the loop. Its operator has already agreed to the deletions.
    Command,
}

/// How the loop works.
#[derive(Clone, Debug)]
pub struct ControllerOptions {
    /// The name of the target. Names of holds contain its hash.
    pub target: &'static str,
    /// Write requests in flight, at most.
    pub max_in_flight: usize,
    /// Records written or deleted per second, at most.
    pub max_writes_per_second: u32,
    /// The registry's client gives up a request after this time.
    pub request_timeout: Duration,
    /// Pods of the backlog that are in the queue at once, per kind.
    pub backlog_window: usize,
    /// Pods and records that one turn of the loop visits, at most. The next turns continue.
    pub visits_per_turn: usize,
    /// The interval between resyncs.
    pub resync_interval: Duration,
    /// The name of this process. No other process, not even an earlier one, may have it.
    pub instance: String,
    /// Whether the first name belongs to an earlier run of the process with the second name.
    pub is_previous_process: fn(&str, &str) -> bool,
    /// The name of the cluster for readers of the registry.
    pub cluster_name: String,
    /// The UID of the `kube-system` namespace, if it is known.
    pub cluster_uid: Option<String>,
    /// The UID of a cluster that this one replaces, as an operator confirmed.
    pub replaces_cluster_uid: Option<String>,
    /// A hash of the settings that select pods.
    pub scope: String,
    /// The namespace of each watch. Empty if one watch shows all namespaces.
    pub namespaces: Vec<String>,
    /// After a request to stop, the requests in flight and the end of the session may take this long.
    pub stop_within: Duration,
    /// What to do with records that only an earlier scope selected.
    pub on_scope_change: ScopeChangePolicy,
    /// Who approves held deletions.
    pub approver: Approver,
    /// Where the epochs of this process begin if the registry has no sessions. It grows by one per second, and has to
    /// be higher than the epochs of earlier processes.
    pub start_epoch: u64,
    /// The seed of jitter and samples.
    pub seed: u64,
}

/// What the loop receives. [`crate::controller::event_loop::EventLoop::run`] owns it.
pub struct Inputs {
    pub pod_events: mpsc::Receiver<PodEvent>,
    /// The cluster's answers to [`Outputs::checks`].
    pub check_results: mpsc::Receiver<CheckResult>,
    /// Whether this process leads. [`Leadership::Alone`] if it runs without leader election.
    pub leadership: watch::Receiver<Leadership>,
    /// Held deletions that an operator approved.
    pub approvals: mpsc::Receiver<HoldId>,
    /// Questions of people about single pods, and of the writer of receipts.
    pub questions: mpsc::Receiver<Question>,
}

/// What the loop sends and shows.
pub struct Outputs {
    /// Questions about absent pods, for the task that asks the API server.
    pub checks: mpsc::Sender<Check>,
    /// Each new number makes every watch list its pods again.
    pub relist: watch::Sender<u64>,
    /// The loop's part of `/status`. The lease and the approvals read it too.
    pub controller_status: watch::Sender<ControllerStatus>,
    /// What people see of it besides, set once per second.
    pub activity: watch::Sender<Activity>,
    /// None if no receipts are written.
    pub receipts: Option<ReceiptSink>,
    /// Where traces of changes go. None if there are none.
    pub traces: Option<TraceOutput>,
    pub metrics: TargetMetrics,
    pub health: LoopHealth,
}

/// Which changes are traced, and where their traces go.
#[derive(Clone, Debug)]
pub struct TraceOutput {
    pub sampling: Sampling,
    pub to: mpsc::Sender<ChangeTrace>,
}
