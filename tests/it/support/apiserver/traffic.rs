//! The requests that the server received.

use std::collections::{BTreeMap, VecDeque};

use serde_json::Value;

use super::fault::{Kind, Request};

/// The number of requests that are kept completely.
const KEPT: usize = 4_096;

/// Counts by kind, and the newest requests.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    counts: BTreeMap<Kind, u64>,
    recent: VecDeque<Request>,
    /// The objects that were applied to pods.
    pub(super) applied: Vec<Value>,
}

impl Traffic {
    pub(super) fn record(&mut self, request: Request) {
        *self.counts.entry(request.kind).or_default() += 1;
        if self.recent.len() == KEPT {
            self.recent.pop_front();
        }
        self.recent.push_back(request);
    }

    pub(super) fn count(&self, kind: Kind) -> u64 {
        self.counts.get(&kind).copied().unwrap_or(0)
    }

    pub(super) fn recent(&self) -> Vec<Request> {
        self.recent.iter().cloned().collect()
    }
}
