//! The metrics by name.
//!
//! Each metric is declared once, with its help text. Every series exists from the start and has a rate: those of the
//! process when it is declared, those of a target when the target is added.

use std::sync::atomic::AtomicU64;

use prometheus_client::{
    metrics::{counter::Counter, exemplar::HistogramWithExemplars, family::Family, gauge::Gauge},
    registry::{Metric, Registry, Unit},
};
use strum::VariantArray as _;

use super::labels::{
    DriftKind, ExportOutcome, Label, Operation, OperationOutcome, Receipt, ReceiptOutcome, RecordState, RelistReason,
    RequestKind, RequestOutcome, Signal,
};
use crate::telemetry::stderr::LINES_DROPPED;

const PREFIX: &str = "pod_registrar";

/// In seconds: from a registry on the same network to an overloaded one.
const ACKNOWLEDGEMENT_BUCKETS: [f64; 15] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// The name and the value of a label.
type Pair = (&'static str, &'static str);

/// The label of a target.
pub(super) fn target(name: &'static str) -> [Pair; 1] {
    [("target", name)]
}

pub(super) fn one(label: impl Label) -> [Pair; 1] {
    [pair(label)]
}

pub(super) fn two(first: impl Label, second: impl Label) -> [Pair; 2] {
    [pair(first), pair(second)]
}

pub(super) fn target_and(name: &'static str, label: impl Label) -> [Pair; 2] {
    [("target", name), pair(label)]
}

pub(super) fn target_and_two(name: &'static str, first: impl Label, second: impl Label) -> [Pair; 3] {
    [("target", name), pair(first), pair(second)]
}

fn pair<L: Label>(label: L) -> Pair {
    (L::NAME, label.into())
}

pub(super) type Seconds = Gauge<f64, AtomicU64>;

/// One series per target.
pub(super) type PerTarget<M> = Family<[Pair; 1], M>;
/// A histogram whose buckets each show the last trace in them.
type Traced = HistogramWithExemplars<[(&'static str, String); 1]>;
pub(super) type Delays = Family<[Pair; 1], Traced, fn() -> Traced>;

/// The label of exemplars, as Grafana expects it.
pub(super) const TRACE_LABEL: &str = "trace_id";

/// Declares metrics: the field of a metric, its type, the function that adds it, and its help text. Encoding adds
/// `_total` to counters, and units.
macro_rules! series {
    ($($name:ident: $type:ty = $add:ident, $help:literal;)+) => {
        /// All metrics but the constant ones.
        pub(super) struct Series {
            $(pub(super) $name: $type,)+
        }

        impl Series {
            fn declared(to: &mut Registry) -> Self {
                Self { $($name: $add(to, stringify!($name), $help),)+ }
            }
        }
    };
}

series! {
    pods: Gauge = plain,
        "Pods that the watches report; a sudden drop means that pods were deleted or that a permission is gone";
    records: Family<[Pair; 2], Gauge> = plain,
        "Records per state; see the log if parked, held or uncertain stays above 0";
    pending: PerTarget<Gauge> = plain,
        "Records with a change that the registry has not acknowledged, without parked ones; alert when it grows for minutes";
    oldest_pending_age: PerTarget<Seconds> = seconds,
        "Wait of the oldest pending record, 0 if none is pending; alert when it exceeds 300 seconds";
    requests: Family<[Pair; 3], Counter> = plain,
        "Requests to the registry; alert when outcomes other than ok prevail";
    operations: Family<[Pair; 3], Counter> = plain,
        "Operations on single records, sent alone or in a batch; alert when parked grows";
    change_to_acknowledgement: Delays = delays,
        "Time from a watch reporting a change to the registry acknowledging it; alert when it exceeds your target";
    watch_silence: Seconds = seconds,
        "Time since the most silent watch last reported anything; alert when it exceeds 60 seconds for 5 minutes";
    relists: Family<[Pair; 1], Counter> = plain,
        "Complete lists of pods per cause; see the log if causes other than start and interval are frequent";
    watch_errors: Counter = plain,
        "Lists and watches of pods that failed; alert when it grows for minutes";
    undecodable_pods: Counter = plain,
        "Pods from the API server that could not be decoded; alert on any increase";
    first_complete_sync: PerTarget<Seconds> = seconds,
        "Time from the start of the process until the registry first equalled the cluster; 0 until then and on a standby; alert when it stays 0 on the leader";
    leader: Gauge = plain,
        "1 if this process holds the Lease, or needs none; alert when the sum over all replicas is not 1 for minutes";
    exports: Family<[Pair; 2], Counter> = plain,
        "Traces and log lines for the collector; alert when dropped or refused grows";
    lease_failures: Counter = plain,
        "Reads and writes of the Lease that failed; alert when it grows for minutes";
    writer: PerTarget<Gauge> = plain,
        "1 if this process may write to the registry; alert when no replica has 1 for minutes";
    fenced: PerTarget<Gauge> = plain,
        "1 if another writer took over the session; alert when it stays 1: two controllers share a cluster id and owner";
    deletions_held: PerTarget<Gauge> = plain,
        "Inferred deletions that the absence guard holds; alert when it is above 0 for 15 minutes: /status shows how to approve them";
    retries: PerTarget<Counter> = plain,
        "Operations sent again because the registry did not acknowledge them; alert when it exceeds 5 % of operations_total";
    ledger_entries: PerTarget<Gauge> = plain,
        "Entries in the in-memory ledger, one per pod that the registry may hold; alert when it far exceeds pods";
    queue_entries: PerTarget<Gauge> = plain,
        "Entries in the queue of pod UIDs, including outdated ones that will be skipped; alert when it grows for minutes";
    drift_repaired: Family<[Pair; 2], Counter> = plain,
        "Records that a resync found different and repaired; alert when it grows at each resync: something else writes to the registry";
    receipts: Family<[Pair; 2], Counter> = plain,
        "Events, conditions and annotations of pods that --receipts asks for; see the log if refused or failed grow";
}

impl Series {
    /// The metrics, and the registry that encodes them.
    pub(super) fn register() -> (Self, Registry) {
        let mut to = Registry::with_prefix(PREFIX);
        let series = Self::declared(&mut to);
        for reason in RelistReason::VARIANTS {
            drop(series.relists.get_or_create(&one(*reason)));
        }
        for kind in Receipt::VARIANTS {
            for outcome in ReceiptOutcome::VARIANTS {
                drop(series.receipts.get_or_create(&two(*kind, *outcome)));
            }
        }
        for signal in Signal::VARIANTS {
            for outcome in ExportOutcome::VARIANTS {
                drop(series.exports.get_or_create(&two(*signal, *outcome)));
            }
        }
        let build: Family<[Pair; 1], Gauge> = Family::default();
        build.get_or_create(&[("version", env!("CARGO_PKG_VERSION"))]).set(1);
        let help = "Log lines dropped because standard error was blocked; alert on any increase";
        to.register("log_lines_dropped", help, LINES_DROPPED.clone());
        to.register("build_info", "Version of the program, as a label; always 1", build);
        (series, to)
    }

    /// Makes every series of a target, so that each has a rate from the start.
    pub(super) fn add_target(&self, name: &'static str) {
        let label = &target(name);
        for gauge in
            [&self.pending, &self.writer, &self.fenced, &self.deletions_held, &self.ledger_entries, &self.queue_entries]
        {
            drop(gauge.get_or_create(label));
        }
        for seconds in [&self.oldest_pending_age, &self.first_complete_sync] {
            drop(seconds.get_or_create(label));
        }
        drop(self.change_to_acknowledgement.get_or_create(label));
        drop(self.retries.get_or_create(label));
        for state in RecordState::VARIANTS {
            drop(self.records.get_or_create(&target_and(name, *state)));
        }
        for kind in DriftKind::VARIANTS {
            drop(self.drift_repaired.get_or_create(&target_and(name, *kind)));
        }
        fill::<RequestKind, RequestOutcome>(&self.requests, name);
        fill::<Operation, OperationOutcome>(&self.operations, name);
    }
}

fn fill<A: Label, B: Label>(family: &Family<[Pair; 3], Counter>, name: &'static str) {
    for a in A::VARIANTS {
        for b in B::VARIANTS {
            drop(family.get_or_create(&target_and_two(name, *a, *b)));
        }
    }
}

fn plain<M: Metric + Clone + Default>(to: &mut Registry, name: &str, help: &str) -> M {
    let metric = M::default();
    to.register(name, help, metric.clone());
    metric
}

fn seconds<M: Metric + Clone + Default>(to: &mut Registry, name: &str, help: &str) -> M {
    let metric = M::default();
    to.register_with_unit(name, help, Unit::Seconds, metric.clone());
    metric
}

fn delays(to: &mut Registry, name: &str, help: &str) -> Delays {
    let delays = Delays::new_with_constructor(|| Traced::new(ACKNOWLEDGEMENT_BUCKETS.into_iter()));
    to.register_with_unit(name, help, Unit::Seconds, delays.clone());
    delays
}
