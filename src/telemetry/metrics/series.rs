//! The metrics by name: each is declared once, with its help text, and registered with every value of its labels.

use std::sync::atomic::AtomicU64;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Metric, Registry, Unit},
};

use super::labels::{
    DriftKind, Label, Operation, OperationOutcome, RecordState, RelistReason, Request, RequestOutcome,
};
use crate::telemetry::stderr::LINES_DROPPED;

const PREFIX: &str = "pod_registrar";

/// From a registry next door to one that is overwhelmed, in seconds.
const ACKNOWLEDGEMENT_BUCKETS: [f64; 15] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// A label's name and value.
type Pair = (&'static str, &'static str);

pub(super) fn one(label: impl Label) -> [Pair; 1] {
    [pair(label)]
}

pub(super) fn two(first: impl Label, second: impl Label) -> [Pair; 2] {
    [pair(first), pair(second)]
}

fn pair<L: Label>(label: L) -> Pair {
    (L::NAME, label.value())
}

/// Seconds, as a gauge.
pub(super) type Seconds = Gauge<f64, AtomicU64>;

/// Every metric of the program, except what is constant.
pub(super) struct Series {
    pub(super) pods: Gauge,
    pub(super) records: Family<[Pair; 1], Gauge>,
    pub(super) pending: Gauge,
    pub(super) oldest_pending_age: Seconds,
    pub(super) requests: Family<[Pair; 2], Counter>,
    pub(super) operations: Family<[Pair; 2], Counter>,
    pub(super) change_to_acknowledgement: Histogram,
    pub(super) watch_silence: Seconds,
    pub(super) relists: Family<[Pair; 1], Counter>,
    pub(super) watch_errors: Counter,
    pub(super) undecodable_pods: Counter,
    pub(super) first_complete_sync: Seconds,
    pub(super) leader: Gauge,
    pub(super) lease_failures: Counter,
    pub(super) writer: Gauge,
    pub(super) fenced: Gauge,
    pub(super) deletions_held: Gauge,
    pub(super) repeats: Counter,
    pub(super) remembered: Gauge,
    pub(super) queue_entries: Gauge,
    pub(super) drift_repaired: Family<[Pair; 1], Counter>,
}

impl Series {
    /// The metrics and the registry that encodes them. Counters gain `_total` and units their suffix when encoded.
    pub(super) fn register() -> (Self, Registry) {
        let mut to = Registry::with_prefix(PREFIX);
        let buckets = Histogram::new(ACKNOWLEDGEMENT_BUCKETS);
        let series = Self {
            pods: plain(&mut to, "pods", "Pods in the store"),
            records: labelled(
                &mut to,
                "records",
                "Records by where they stand with the registry",
                &ones::<RecordState>(),
            ),
            pending: plain(&mut to, "pending", "Pods whose record waits for its turn to be sent"),
            oldest_pending_age: seconds(&mut to, "oldest_pending_age", "How long the oldest pending pod has waited"),
            requests: labelled(&mut to, "requests", "Requests to the registry", &twos::<Request, RequestOutcome>()),
            operations: labelled(
                &mut to,
                "operations",
                "Operations on single records, sent alone or in a batch",
                &twos::<Operation, OperationOutcome>(),
            ),
            change_to_acknowledgement: timed(
                &mut to,
                "change_to_acknowledgement",
                "From a change being seen to the registry acknowledging it",
                buckets,
            ),
            watch_silence: seconds(&mut to, "watch_silence", "Since the most silent watch last showed life"),
            relists: labelled(
                &mut to,
                "relists",
                "Complete lists of pods, by what caused them",
                &ones::<RelistReason>(),
            ),
            watch_errors: plain(&mut to, "watch_errors", "Lists and watches of pods that failed"),
            undecodable_pods: plain(&mut to, "undecodable_pods", "Pods from the API server that could not be decoded"),
            first_complete_sync: seconds(
                &mut to,
                "first_complete_sync",
                "From the start of the process until the registry first equalled the cluster; 0 until then",
            ),
            leader: plain(&mut to, "leader", "1 when this process holds the lease, or needs none"),
            lease_failures: plain(
                &mut to,
                "lease_failures",
                "Reads and writes of the Lease that failed; raise an alert when this grows for minutes",
            ),
            writer: plain(&mut to, "writer", "1 when this process may write to the registry"),
            fenced: plain(&mut to, "fenced", "1 when another writer took the session over"),
            deletions_held: plain(&mut to, "deletions_held", "Deletions inferred from absence that the brake holds"),
            repeats: plain(
                &mut to,
                "repeats",
                "Operations that were sent again unchanged, as nothing acknowledged them",
            ),
            remembered: plain(&mut to, "remembered", "Pods of which it is kept in memory what the registry may hold"),
            queue_entries: plain(&mut to, "queue_entries", "Entries of the queue, with those that are passed over"),
            drift_repaired: labelled(
                &mut to,
                "drift_repaired",
                "Records of the registry that a resync found to differ, by how",
                &ones::<DriftKind>(),
            ),
        };
        let build: Family<[Pair; 1], Gauge> = Family::default();
        build.get_or_create(&[("version", env!("CARGO_PKG_VERSION"))]).set(1);
        // The thread that writes standard error counts for the whole process.
        let help = "Log lines dropped because standard error did not take them; raise an alert when this grows";
        to.register("log_lines_dropped", help, LINES_DROPPED.clone());
        to.register("build_info", "The version of the program", build);
        (series, to)
    }
}

fn ones<L: Label>() -> Vec<[Pair; 1]> {
    L::ALL.iter().map(|label| one(*label)).collect()
}

fn twos<A: Label, B: Label>() -> Vec<[Pair; 2]> {
    A::ALL.iter().flat_map(|a| B::ALL.iter().map(|b| two(*a, *b))).collect()
}

fn plain<M: Metric + Clone + Default>(to: &mut Registry, name: &str, help: &str) -> M {
    let metric = M::default();
    to.register(name, help, metric.clone());
    metric
}

fn seconds(to: &mut Registry, name: &str, help: &str) -> Seconds {
    timed(to, name, help, Seconds::default())
}

fn timed<M: Metric + Clone>(to: &mut Registry, name: &str, help: &str, metric: M) -> M {
    to.register_with_unit(name, help, Unit::Seconds, metric.clone());
    metric
}

fn labelled<S, M>(to: &mut Registry, name: &str, help: &str, labels: &[S]) -> Family<S, M>
where
    S: EncodeLabelSet + Clone + std::hash::Hash + Eq + Send + Sync + std::fmt::Debug + 'static,
    M: Default + Clone + Send + Sync + std::fmt::Debug + 'static,
    Family<S, M>: Metric,
{
    let family = Family::<S, M>::default();
    for label in labels {
        drop(family.get_or_create(label));
    }
    to.register(name, help, family.clone());
    family
}
