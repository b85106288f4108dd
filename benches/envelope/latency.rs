//! Delays from the change of a pod to the request that reports it.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::stats::{percentile, sorted, wide};

/// A change of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Event {
    /// When it happened and when it was written to the watch, in Unix ns. The second is 0 if it was not written.
    pub(crate) happened_at: u64,
    pub(crate) written_at: u64,
    pub(crate) deleted: bool,
    pub(crate) uid: u128,
    pub(crate) version: u64,
}

/// The arrival of an operation on one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arrival {
    /// When the head of its request arrived, in Unix ns.
    pub(crate) at: u64,
    pub(crate) uid: u128,
    /// The pod's version, if the request has it.
    pub(crate) version: Option<u64>,
    pub(crate) put: bool,
}

/// Delays in milliseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Delays {
    /// From the change.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    /// From the moment when the change was written to the watch.
    pub(crate) wire_p99: f64,
    /// Changes that a request reported, directly or by later content of the same pod.
    pub(crate) reported: u64,
    /// Changes without such a request, as of a pod that was deleted before it was reported.
    pub(crate) unreported: u64,
}

impl Delays {
    pub(crate) fn of(events: &[Event], arrivals: &[Arrival]) -> Self {
        let mut by_pod: HashMap<u128, Vec<&Arrival>> = HashMap::new();
        for arrival in arrivals {
            by_pod.entry(arrival.uid).or_default().push(arrival);
        }
        let (mut from_change, mut from_wire, mut unreported) = (Vec::new(), Vec::new(), 0);
        for event in events {
            let about = by_pod.get(&event.uid).map(Vec::as_slice).unwrap_or_default();
            let Some(arrival) = about.iter().find(|arrival| reports(arrival, event)) else {
                unreported += 1;
                continue;
            };
            from_change.push(milliseconds(event.happened_at, arrival.at));
            if event.written_at > 0 {
                from_wire.push(milliseconds(event.written_at, arrival.at));
            }
        }
        let (from_change, from_wire) = (sorted(&from_change), sorted(&from_wire));
        let at = |share| percentile(&from_change, share).unwrap_or_default();
        Self {
            p50: at(0.5),
            p99: at(0.99),
            p999: at(0.999),
            wire_p99: percentile(&from_wire, 0.99).unwrap_or_default(),
            reported: from_change.len() as u64,
            unreported,
        }
    }
}

/// Whether an operation reports a change, or a later one of the same pod.
fn reports(arrival: &Arrival, event: &Event) -> bool {
    match (arrival.put, event.deleted) {
        (true, true) => false,
        (true, false) => arrival.version.map_or(arrival.at >= event.happened_at, |version| version >= event.version),
        (false, _) => arrival.at >= event.happened_at,
    }
}

fn milliseconds(from: u64, to: u64) -> f64 {
    wide(to.saturating_sub(from)) / 1e6
}
