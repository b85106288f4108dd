//! From changes and arrivals to delays: how long after a pod's change did a request about it begin.

use std::collections::HashMap;

use super::stats::{percentile, sorted, wide};

/// A change of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    /// When it happened and when it was handed to the watch, in unix ns; 0 where it never was.
    pub(crate) happened_at: u64,
    pub(crate) told_at: u64,
    /// Whether the pod was deleted.
    pub(crate) deleted: bool,
    pub(crate) uid: u128,
    pub(crate) version: u64,
}

/// One operation on one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arrival {
    /// When the head of its request was there, in unix ns.
    pub(crate) at: u64,
    /// The pod.
    pub(crate) uid: u128,
    /// The pod's version, where the request tells it.
    pub(crate) version: Option<u64>,
    /// Whether it is a put, not a delete.
    pub(crate) put: bool,
}

/// Delays in milliseconds, and what has none.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Delays {
    /// From the change.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    /// From the moment when the change was handed to the watch's socket.
    pub(crate) wire_p99: f64,
    /// Changes that a request told of.
    pub(crate) told: u64,
    /// Changes that no request told of by themselves: an arrival of later content stood for them, or none did.
    pub(crate) untold: u64,
}

impl Delays {
    /// Of all changes of a run.
    pub(crate) fn of(events: &[Event], arrivals: &[Arrival]) -> Self {
        let mut by_pod: HashMap<u128, Vec<&Arrival>> = HashMap::new();
        for arrival in arrivals {
            by_pod.entry(arrival.uid).or_default().push(arrival);
        }
        let (mut from_change, mut from_wire, mut untold) = (Vec::new(), Vec::new(), 0);
        for event in events {
            let about = by_pod.get(&event.uid).map(Vec::as_slice).unwrap_or_default();
            let Some(arrival) = about.iter().find(|arrival| tells(arrival, event)) else {
                untold += 1;
                continue;
            };
            from_change.push(milliseconds(event.happened_at, arrival.at));
            if event.told_at > 0 {
                from_wire.push(milliseconds(event.told_at, arrival.at));
            }
        }
        let (from_change, from_wire) = (sorted(&from_change), sorted(&from_wire));
        let at = |share| percentile(&from_change, share).unwrap_or_default();
        Self {
            p50: at(0.5),
            p99: at(0.99),
            p999: at(0.999),
            wire_p99: percentile(&from_wire, 0.99).unwrap_or_default(),
            told: from_change.len() as u64,
            untold,
        }
    }
}

/// Whether an operation tells the registry of a change, or of a later one of the same pod.
fn tells(arrival: &Arrival, event: &Event) -> bool {
    match (arrival.put, event.deleted) {
        (true, true) => false,
        (true, false) => arrival.version.map_or(arrival.at >= event.happened_at, |version| version >= event.version),
        (false, _) => arrival.at >= event.happened_at,
    }
}

fn milliseconds(from: u64, to: u64) -> f64 {
    wide(to.saturating_sub(from)) / 1e6
}
