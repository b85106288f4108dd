//! The latest changes. Watches read them, and lists of an earlier resource version are computed from them.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use super::object::JsonObject;

/// One change of a pod.
#[derive(Clone, Debug)]
pub(super) struct HistoryEntry {
    pub(super) resource_version: u64,
    /// None if the change created the pod.
    pub(super) before: Option<Arc<JsonObject>>,
    /// The pod after the change; its last state, with the resource version of the deletion, if the change deleted it.
    pub(super) object: Arc<JsonObject>,
    pub(super) deleted: bool,
}

/// The newest changes, in ascending order.
#[derive(Debug)]
pub(super) struct History {
    changes: VecDeque<HistoryEntry>,
    limit: usize,
    /// The resource version of the newest change that was dropped.
    dropped: u64,
    /// Requests for an earlier resource version get a 410.
    compacted: u64,
}

impl History {
    /// An empty history that starts at a resource version.
    pub(super) fn new(limit: usize, start: u64) -> Self {
        Self { changes: VecDeque::new(), limit, dropped: start, compacted: start }
    }

    /// Adds a change, and drops the oldest ones beyond the limit.
    pub(super) fn push(&mut self, change: HistoryEntry) {
        self.changes.push_back(change);
        while self.changes.len() > self.limit {
            if let Some(old) = self.changes.pop_front() {
                self.dropped = old.resource_version;
                self.compacted = self.compacted.max(old.resource_version);
            }
        }
    }

    /// From now on, requests for an earlier resource version fail. Open watches continue.
    pub(super) fn compact(&mut self, at: u64) {
        self.compacted = self.compacted.max(at);
    }

    pub(super) fn holds(&self, resource_version: u64) -> bool {
        resource_version >= self.compacted
    }

    /// At most `limit` changes after a resource version. None if some of them were dropped.
    pub(super) fn since(&self, resource_version: u64, limit: usize) -> Option<Vec<HistoryEntry>> {
        if resource_version < self.dropped {
            return None;
        }
        let start = self.changes.partition_point(|change| change.resource_version <= resource_version);
        Some(self.changes.range(start..).take(limit).cloned().collect())
    }

    /// Every key that changed after a resource version, with its state at that version.
    pub(super) fn undo(&self, resource_version: u64) -> BTreeMap<Arc<str>, Option<Arc<JsonObject>>> {
        let start = self.changes.partition_point(|change| change.resource_version <= resource_version);
        let mut then = BTreeMap::new();
        for change in self.changes.range(start..) {
            then.entry(change.object.key.clone()).or_insert_with(|| change.before.clone());
        }
        then
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(name: &str, resource_version: u64) -> Arc<JsonObject> {
        Arc::new(JsonObject::new(name.into(), resource_version, &json!({"metadata": {}})).unwrap())
    }

    fn created(name: &str, resource_version: u64) -> HistoryEntry {
        let object = object(name, resource_version);
        HistoryEntry { resource_version, before: None, object, deleted: false }
    }

    #[test]
    fn compaction_hinders_only_new_requests() {
        // A watch that asks for dropped changes notices the gap.
        let mut history = History::new(2, 10);
        for at in 11..=13 {
            history.push(created("a/a", at));
        }
        assert!(history.since(10, 9).is_none());
        assert_eq!(history.since(11, 9).unwrap().len(), 2);
        assert_eq!(history.since(11, 1).unwrap().len(), 1);
        assert!(!history.holds(10) && history.holds(11));
        history.compact(13);
        assert!(!history.holds(12) && history.holds(13));
        assert_eq!(history.since(11, 9).unwrap().len(), 2);
    }

    #[test]
    fn undo_restores_the_state_of_a_moment() {
        let mut history = History::new(9, 0);
        history.push(created("a/a", 1));
        let (first, second) = (object("a/a", 1), object("a/a", 2));
        history.push(HistoryEntry { resource_version: 2, before: Some(first), object: second.clone(), deleted: false });
        history.push(HistoryEntry {
            resource_version: 3,
            before: Some(second),
            object: object("a/a", 3),
            deleted: true,
        });
        assert_eq!(history.undo(1)["a/a"].as_ref().unwrap().resource_version, 1);
        assert_eq!(history.undo(2)["a/a"].as_ref().unwrap().resource_version, 2);
        assert!(history.undo(0)["a/a"].is_none());
        assert!(history.undo(3).is_empty());
    }
}
